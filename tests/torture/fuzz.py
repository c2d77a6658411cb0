"""A hundred thousand hostile requests: never a 5xx, never a hang, and the service lives on."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from urllib.parse import quote_from_bytes

from service.edge.doors import DOORS
from tests.torture.ledger import Ledger
from tests.torture.load import Connection, Load
from tests.torture.report import Line
from tests.torture.stack import Stack

CONNECTIONS = 16

SEEDS: tuple[object, ...] = (
    {"kind": "conversion", "order": "A-1", "value": "749.50", "currency": "DKK",
     "items": [{"product": "x", "quantity": 2, "price": 1.5}], "occurred_at": "2026-05-04T10:15Z"},
    {"kind": "page_view", "url": "https://shop.example/a?utm_source=b", "visitor": "v", "id": "1"},
    {"kind": "survey_answer", "survey": "nps", "score": 9, "respondent": "r", "text": "æøå"},
    {"kind": "ad_spend", "source": "google", "from": "2026-05-01", "to": "2026-05-31",
     "cost": 400, "currency": "EUR", "impressions": 10**6, "clicks": 12},
    {"kind": "email_opened", "message": "m", "recipient": "r", "props": {"a": [1, None, True]}},
    [{"lead": "l", "customer": "c", "campaign": "spring"}, {"refund": True}, 3, "x", None],
)  # fmt: skip

NASTY: tuple[bytes, ...] = (
    b"\\u0000", b"\\ud800", b"1e400", b"NaN", b"-0", b"9" * 40, b"[" * 30, b"{" * 30, b'"' * 3,
    b"\xff\xfe", b"\x00", b"\r\n", b"2026-02-30", b"0001-01-01T00:00:00+14:00", b"9999-12-31",
    b"' OR 1=1 --", b"<script>", b"../../etc/passwd", b"%00", b"=cmd|' /C calc'!A0",
    "🧭".encode() * 50, b"a" * 5000, b"null", b"true", b"{}", b"[]", b"-1", b"0.1e-70",
)  # fmt: skip


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """The seed with up to four places cut, doubled, exchanged or made nasty."""
    found = bytearray(seed)
    for _ in range(max(0, chance.randint(-4, 4))):
        at, size = chance.randrange(len(found) + 1), chance.randint(0, 12)
        new = {
            "cut": b"",
            "nasty": chance.choice(NASTY),
            "twice": bytes(found[at : at + size] * 2),
            "noise": chance.randbytes(size),
        }
        found[at : at + size] = new[chance.choice(list(new))]
    return bytes(found)


def request(key: str, chance: random.Random) -> bytes:
    """One request, to any door, with anything in it."""
    if chance.random() < 0.4:
        return _question(key, chance)
    payload = mutated(json.dumps(chance.choice(SEEDS)).encode(), chance)
    headers = f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    if chance.random() < 0.1:
        payload = mutated(gzip.compress(payload), chance)
        headers += "Content-Encoding: gzip\r\n"
    path = chance.choice(DOORS).path
    headers += f"Content-Length: {len(payload)}\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: t\r\n{headers}\r\n"
    return head.encode() + payload


def _question(key: str, chance: random.Random) -> bytes:
    """A GET: a pixel, or a KPI."""
    words = b"url title visitor t consent id window by where tz grain from to compare model".split()
    values = [b"https://a.example/b", b"last_7_days", b"campaign", b"2026-05-01", b"DKK", b"day"]
    query = "&".join(
        f"{quote_from_bytes(mutated(chance.choice(words), chance)[:200])}"
        f"={quote_from_bytes(mutated(chance.choice(values), chance)[:2000])}"
        for _ in range(chance.randint(0, 4))
    )
    path = chance.choice(["/v1/pixel.gif", "/v1/kpis/roas", "/v1/kpis/visitors", "/v1/kpis"])
    target = f"{path}?k={key}&{query}"[:8_000]
    return f"GET {target} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


async def run(short: bool) -> Line:
    """All of them, or two thousand."""
    cases = 2_000 if short else 100_000
    with tempfile.TemporaryDirectory(prefix="kompas-fuzz-", dir="/var/tmp") as name:
        async with Stack(Path(name)) as stack:
            await stack.start()
            key = stack.key()
            outcomes: Counter[str] = Counter()
            shares = [range(first, cases, CONNECTIONS) for first in range(CONNECTIONS)]
            await asyncio.gather(*(_try(stack.port, key, share, outcomes) for share in shares))
            is_alive = stack.service.poll() is None
            ledger = Ledger()
            async with Load(stack.port, key, ledger, 50, 400).running():
                await asyncio.sleep(2)
            await stack.drained()
            verdict = await stack.verdict_of_sent(ledger)
            await stack.stop()
    bad = sum(n for outcome, n in outcomes.items() if outcome[0] in "5n")
    result = f"{cases:,} cases, {dict(sorted(outcomes.items()))}; afterwards {verdict}"
    holds = not bad and is_alive and verdict.holds
    return Line("fuzz", "no 5xx, no hang", result, holds)


async def _try(port: int, key: str, cases: range, outcomes: Counter[str]) -> None:
    connection = Connection(port)
    for case in cases:
        try:
            status, _ = await connection.exchange(request(key, random.Random(case)))
        except OSError:
            outcomes["none"] += 1
        else:
            outcomes[str(status)] += 1
