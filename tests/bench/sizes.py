"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sizes:
    """Seconds of load, batches of 500 events, events in the log, repetitions of a query.

    `data` is a folder that keeps the log of the KPIs' benchmark, so that it is made once.
    """

    seconds: int
    batches: int
    events: int
    repeats: int
    data: Path | None = None


FULL = Sizes(seconds=10, batches=600, events=1_000_000, repeats=15)
SHORT = Sizes(seconds=2, batches=40, events=50_000, repeats=3)
