"""Events for the benchmark, the same in every run."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

CAMPAIGNS = [f"campaign-{n}" for n in range(20)]
SOURCES = ["google", "facebook", "newsletter", "bing", "partner.example"]


def mixed_events(count: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Mostly page views, with orders, leads and e-mail events; ids as UUIDv7 would be."""
    rng = random.Random(seed)
    now = datetime.now(UTC)
    for number in range(count):
        at = now - timedelta(seconds=rng.randrange(900))  # senders buffer for some minutes
        event: dict[str, Any] = {
            "id": str(UUID(int=(0x01990000 << 96) + (seed << 64) + number)),
            "occurred_at": at.isoformat(),
            "source": rng.choice(SOURCES),
            "campaign": rng.choice(CAMPAIGNS),
        }
        draw = rng.random()
        if draw < 0.7:
            event |= {
                "kind": "page_view",
                "url": f"https://shop.example/p/{rng.randrange(500)}?utm_medium=cpc",
                "visitor": f"v{rng.randrange(20_000)}",
                "consent": True,
            }
        elif draw < 0.8:
            event |= {"kind": "email_opened", "message": f"m{rng.randrange(50_000)}"}
        elif draw < 0.9:
            event |= {"kind": "lead", "lead": f"l{rng.randrange(50_000)}"}
        else:
            event |= {
                "kind": "conversion",
                "order": f"o{seed}-{number}",
                "value": f"{rng.randrange(10_000) / 100:.2f}",
                "currency": "DKK",
                "customer": f"c{rng.randrange(9_000)}",
                "visitor": f"v{rng.randrange(20_000)}",
                "consent": True,
            }
        yield event


def bodies(batches: int, size: int, seed: int = 1) -> list[bytes]:
    """Ready-made JSON bodies of `size` events each."""
    events = mixed_events(batches * size, seed)
    return [json.dumps([next(events) for _ in range(size)]).encode() for _ in range(batches)]
