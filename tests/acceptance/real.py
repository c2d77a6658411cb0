"""Real files and the answers that were computed from them independently; both lie outside.

Counts and money agree to the last digit, ratios to 1e-9 relative.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.running import Service

SHARED = Path(__file__).parents[3] / "shared"
needs_data = pytest.mark.skipif(
    not SHARED.is_dir(), reason="the real data sets (../shared) are not on this machine"
)


def answers(name: str) -> Any:
    return json.loads((SHARED / "answers" / f"{name}.json").read_text())


def close(value: Decimal | float | None, expected: float) -> bool:
    assert value is not None
    return float(value) == pytest.approx(expected, rel=1e-9)


def between(interval: Any, expected: list[float], method: str) -> bool:
    """Whether an interval of an answer is the expected one."""
    assert interval is not None
    assert interval["method"] == method
    return close(interval["low"], expected[0]) and close(interval["high"], expected[1])


def send(service: Service, path: str, events: Iterable[Any], size: int = 1000) -> tuple[int, int]:
    """Accepted and rejected counts over all batches."""
    accepted = rejected = 0
    rest = iter(events)
    while batch := list(islice(rest, size)):
        answer = service.post(path, batch)
        assert answer.status in {200, 422}, answer.body
        accepted += answer.json["accepted"]
        rejected += len(answer.json["rejected"])
    return accepted, rejected
