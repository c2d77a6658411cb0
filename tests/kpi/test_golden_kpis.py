"""The SQL of every KPI of the catalogue over the last 30 days, as one file to review.

`UPDATE_GOLDEN=1 pytest tests/kpi/test_golden_kpis.py` writes it again.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from service.kpi import run
from tests.kpi.world import CATALOGUE, World

Make = Callable[..., Awaitable[World]]

GOLDEN = Path(__file__).parent / "golden" / "every_kpi.txt"


async def test_every_kpi_runs_the_statements_that_were_reviewed(make_world: Make) -> None:
    """Of a site without any data: nothing is left out because it was found already."""
    found = _written(await _statements(await make_world()))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(found)
    assert GOLDEN.read_text() == found


async def _statements(world: World) -> dict[str, list[run.Ran]]:
    found = {}
    for kpi in CATALOGUE:
        listener = run.Listener(world.clock)
        token = run.LISTENER.set(listener)
        try:
            await world.ask(kpi.id, window="last_30_days")
        finally:
            run.LISTENER.reset(token)
        assert listener.ran, kpi.id
        found[kpi.id] = listener.ran
    return found


def _written(statements: Mapping[str, list[run.Ran]]) -> str:
    """Each KPI with the numbers of its statements and their measures; each text once."""
    numbers: dict[str, int] = {}
    lines = []
    for kpi, ran in statements.items():
        used = [f"{numbers.setdefault(one.sql, len(numbers) + 1)}{_of(one.values)}" for one in ran]
        lines.append(f"{kpi}: {', '.join(used)}")
    texts = [f"\n-- {number}\n{sql}" for sql, number in numbers.items()]
    return "\n".join([*lines, *texts]) + "\n"


def _of(values: Mapping[str, Any]) -> str:
    measures = values.get("measures")
    return "" if measures is None else f" of measures {' '.join(map(str, map(int, measures)))}"
