"""Intervals against vectors: our own, and the reference's where they are on this machine."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kpi.intervals import Z, adjusted_wald, wilson

VECTORS = Path(__file__).parents[3] / "shared/answers/vectors.json"
reference = pytest.mark.skipif(
    not VECTORS.is_file(), reason="the reference vectors (../shared) are not on this machine"
)


def vectors(name: str) -> Any:
    return json.loads(VECTORS.read_text())[name]


@reference
def test_wilson_agrees_with_the_reference() -> None:
    rows = vectors("wilson95")
    assert len(rows) > 10
    for row in rows:
        found = wilson(row["k"], row["n"])
        assert found is not None
        assert found.low == pytest.approx(row["low"], abs=1e-12, rel=1e-9)
        assert found.high == pytest.approx(row["high"], abs=1e-12, rel=1e-9)


@reference
def test_adjusted_wald_agrees_with_the_reference() -> None:
    rows = [row for row in vectors("nps").values() if row.get("adj_wald")]
    assert len(rows) >= 4
    for row in rows:
        found = adjusted_wald(row["promoters"], row["detractors"], row["n"])
        assert found is not None
        assert (found.low, found.high) == pytest.approx(row["adj_wald"]["ci95"], rel=1e-12)


# Solved by hand from the definition: the bounds are the two roots of (p - k/n)^2 = z^2 p(1-p)/n.
@pytest.mark.parametrize(("k", "n"), [(1, 2), (3, 10), (99, 100), (1, 1000), (500, 1000)])
def test_wilson_bounds_are_the_roots_of_its_equation(k: int, n: int) -> None:
    found = wilson(k, n)
    assert found is not None
    for bound in (found.low, found.high):
        assert (bound - k / n) ** 2 == pytest.approx(Z * Z * bound * (1 - bound) / n, rel=1e-9)
    assert found.low < k / n < found.high


def test_five_promoters_of_five() -> None:
    found = adjusted_wald(5, 0, 5)
    assert found is not None
    assert found.low == pytest.approx(100 * (0.625 - Z * sqrt((0.8125 - 0.625**2) / 8)))
    assert found.high == 100
    assert found.method == "adjusted_wald"


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_what_is_no_share_has_no_interval(k: int, n: int) -> None:
    assert wilson(k, n) is None


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 0, 5), (0, -1, 5), (3, 3, 5)])
def test_what_is_no_score_has_no_interval(counts: tuple[int, int, int]) -> None:
    assert adjusted_wald(*counts) is None


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_an_interval_holds_its_share(k: int, n: int) -> None:
    found = wilson(min(k, n), n)
    assert found is not None
    assert 0 <= found.low <= min(k, n) / n <= found.high <= 1


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_score_stays_on_its_scale(promoters: int, passives: int, detractors: int) -> None:
    answers = promoters + passives + detractors
    found = adjusted_wald(promoters, detractors, answers)
    if answers:
        assert found is not None
        assert -100 <= found.low < found.high <= 100
