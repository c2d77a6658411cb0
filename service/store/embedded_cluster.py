"""A database cluster on disk: its settings, its version, its pid file, the processes on it."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from service.kit.sync import sync
from service.store.embedded_host import MAJOR, PORT, Account, EmbeddedError

NAME = "kompas"  # of the superuser and of the database

_LOG_SECONDS = 6 * 86400

# For a small machine that the service itself runs on as well.
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "50",
    "shared_buffers": "128MB",
    "huge_pages": "off",  # a container may see huge pages and be killed for touching them
    "synchronous_commit": "on",
    "fsync": "on",
    "wal_compression": "off",
    "max_wal_size": "2GB",
    "checkpoint_completion_target": "0.9",
    "max_parallel_workers_per_gather": "0",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A file for each day of the week, each emptied when its day comes round.
    "logging_collector": "on",
    "log_directory": "log",
    "log_filename": "postgres-%a.log",
    "log_truncate_on_rotation": "on",
    "log_rotation_age": "1d",
    "log_rotation_size": "0",
    # The client that caused an ERROR is told, and logs it without values; here it would only
    # write personal data (DETAIL: Key (email)=…) to a file that grows as fast as errors come.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


def check_version(cluster: Path) -> None:
    """Raise `EmbeddedError` for a cluster that another major version made."""
    try:
        made_by = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        return
    if made_by != str(MAJOR):
        raise EmbeddedError(
            f"{cluster} was made by Postgres {made_by}; this Kompas carries Postgres"
            f" {MAJOR}: move it over with pg_upgrade or with a dump, or set"
            f" KOMPAS_DATABASE_URL to a Postgres {made_by} that serves it."
        )


def write_settings(folder: Path, account: Account, settings: Mapping[str, str]) -> None:
    """Write `kompas.conf`, which the cluster's `postgresql.conf` includes, in one step."""
    lines = ["# Rewritten by Kompas at each start.\n"]
    for name, value in settings.items():
        escaped = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{escaped}'\n")
    text, target = "".join(lines), folder / "kompas.conf"
    with suppress(FileNotFoundError):
        if target.read_text(encoding="utf-8", errors="surrogateescape") == text:
            return  # so that a full disk does not keep a server from being taken over
    # mkstemp never follows a link that the server's account may have put there for root.
    handle, path = tempfile.mkstemp(prefix="kompas.conf.", dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    account.own(Path(path))
    sync(Path(path))
    Path(path).rename(target)


@dataclass(frozen=True)
class PidFile:
    """What a postmaster says of itself in `postmaster.pid`."""

    pid: int
    socket: Path
    ready: bool

    @classmethod
    def read(cls, cluster: Path) -> Self | None:
        """None where there is no file, or only the beginning of one."""
        try:
            lines = os.fsdecode((cluster / "postmaster.pid").read_bytes()).splitlines()
            return cls(int(lines[0]), Path(lines[4]), lines[7].strip() == "ready")
        except (FileNotFoundError, IndexError, ValueError):
            return None


def server_processes(cluster: Path, name: str) -> dict[int, bool]:
    """Process ids of the servers on this cluster; true for a postmaster, false for a child.

    A server is known by its command line, which anybody may read (root in a container without
    SYS_PTRACE may not follow /proc/N/cwd). Zombies have none, and so are left out.
    """
    children = f"postgres: {name}:"
    found = {}
    for pid, command in _command_lines():
        if command.startswith(children):
            found[pid] = False
        elif command.rstrip().endswith(f"{os.sep}postgres -D {cluster}"):
            found[pid] = True
    return found


def _command_lines() -> Iterator[tuple[int, str]]:
    processes = Path("/proc")
    if not (processes / "self" / "cmdline").exists():
        yield from _command_lines_of_ps()
        return
    for entry in processes.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                raw = (entry / "cmdline").read_bytes()
                yield int(entry.name), os.fsdecode(raw.replace(b"\0", b" "))


def _command_lines_of_ps() -> Iterator[tuple[int, str]]:
    # macOS has no /proc and always has ps.
    listed = subprocess.run(
        ["/bin/ps", "-axww", "-o", "pid=,command="], capture_output=True, check=True
    )
    for line in os.fsdecode(listed.stdout).splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command.lstrip()


def drop_old_logs(cluster: Path) -> None:
    """Remove the server logs of last week: Postgres empties a day's file only while it runs."""
    for path in (cluster / "log").glob("*.log"):
        if time.time() - path.stat().st_mtime > _LOG_SECONDS:
            path.unlink()
