"""Loads for the benchmark: wrk for single requests, threads for batches."""

from __future__ import annotations

import http.client
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

VARIED_VISITORS = """
local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end
local n = 0
local base
function init(args) base = wrk.path end
function request()
  n = n + 1
  return wrk.format("GET", base .. "&visitor=v" .. (n % 5000) .. "-" .. number)
end
function done(summary, latency)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read
  local rate = summary.requests / (summary.duration / 1e6)
  io.write("RATE " .. rate .. " P50 " .. latency:percentile(50) / 1000)
  io.write(" P99 " .. latency:percentile(99) / 1000 .. " BAD " .. bad)
end
"""


@dataclass(frozen=True)
class Load:
    """What a load generator saw: requests a second, latencies in ms, answers that were not 2xx."""

    rate: float
    p50: float
    p99: float
    bad: int


def wrk(url: str, *, connections: int, seconds: int) -> Load:
    """Keep-alive GETs with a different visitor each."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(VARIED_VISITORS)
        script.flush()
        threads = min(2, connections)
        result = subprocess.run(
            ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "-s", script.name, url],
            capture_output=True,
            text=True,
            check=True,
        )
    match = re.search(r"RATE (\S+) P50 (\S+) P99 (\S+) BAD (\d+)", result.stdout)
    assert match, result.stdout
    return Load(float(match[1]), float(match[2]), float(match[3]), int(match[4]))


def post_all(port: int, path: str, key: str, bodies: Sequence[bytes], connections: int) -> float:
    """Seconds to post every body over keep-alive connections; each answer must be 200."""
    queue = list(bodies)
    failures: list[str] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Authorization": f"Bearer {key}"}
        while queue:
            try:
                body = queue.pop()
            except IndexError:
                break
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200 or b'"rejected":[]' not in text:
                failures.append(text[:300].decode())
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - started
    assert not failures, failures[:3]
    return taken


def data_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that the embedded server's own user can reach too."""
    folder = tempfile.TemporaryDirectory(prefix="kompas-bench-")
    Path(folder.name).chmod(0o755)
    return folder
