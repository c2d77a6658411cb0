"""The harness checks itself: a Kompas that breaks its promise must be found out."""

from __future__ import annotations

from tests.torture.kill import killed
from tests.torture.power import powerless
from tests.torture.report import Line

PROGRAM = ("-m", "tests.torture.sabotaged")


async def run(short: bool) -> Line:
    """Power cuts without syncs, and kills of a service that answers too early."""
    cycles = 2 if short else 6
    unsynced = await powerless(cycles, PROGRAM, KOMPAS_SABOTAGE="sync")
    early = await killed(2 * cycles, PROGRAM, KOMPAS_SABOTAGE="early")
    found = not unsynced.holds and not early.holds
    result = f"without syncs: {unsynced.result}; answered early: {early.result}"
    return Line("sabotage", "losses are reported", result, found)
