"""`make bench`: the hot paths beside their floors, as ratios of one run.

`--short` takes under a minute (CI); the full run is the one whose figures count.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.batch import batch_door
from tests.bench.kpis import kpi_latency
from tests.bench.pixel import pixel_door
from tests.bench.sizes import FULL, SHORT, Sizes


@dataclass(frozen=True)
class Figure:
    """One line of the result: what was measured, its floor, and the least that is sane."""

    name: str
    measure: Callable[[Sizes], None]


def main() -> None:
    """Print every figure; the exit code says nothing about speed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="small sizes, for CI")
    parser.add_argument("--only", choices=["pixel", "batch", "kpis"], help="one figure")
    parser.add_argument("--events", type=int, help="events in the log of the KPIs")
    parser.add_argument("--data", type=Path, help="a folder that keeps that log for the next run")
    options = parser.parse_args()
    sizes = SHORT if options.short else FULL
    sizes = replace(sizes, events=options.events or sizes.events, data=options.data)
    figures = {
        "pixel": lambda: pixel_door(sizes),
        "batch": lambda: asyncio.run(batch_door(sizes)),
        "kpis": lambda: asyncio.run(kpi_latency(sizes)),
    }
    for name, measure in figures.items():
        if options.only in {None, name}:
            measure()


main()
