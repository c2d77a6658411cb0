from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from service.kit.nearest import nearest

KPIS = ["roas", "romi", "cpa", "cpc", "orders", "new_customers", "new_customer_rate", "nps", "enps"]


def test_the_closest_spelling_comes_first() -> None:
    assert nearest("roaz", KPIS)[0] == "roas"
    assert nearest("order", KPIS)[0] == "orders"
    assert nearest("new_customer", KPIS)[0] in {"new_customers", "new_customer_rate"}


def test_names_that_contain_the_word_come_after_those_spelled_alike() -> None:
    assert nearest("customer", KPIS) == ["new_customers", "new_customer_rate"]
    assert nearest("enpss", KPIS) == ["enps", "nps"]
    assert nearest("rate", ["bounce_rate", "rates", "irate"]) == ["rates", "irate", "bounce_rate"]


def test_letter_case_does_not_matter_but_names_keep_theirs() -> None:
    assert (
        nearest("europe/copenhagen", ["Europe/Copenhagen", "Europe/Oslo"])[0] == "Europe/Copenhagen"
    )
    assert nearest("ROAS", KPIS)[0] == "roas"


def test_nothing_alike_is_nothing() -> None:
    assert nearest("zzzzzz", KPIS) == []
    assert nearest("", KPIS) == []
    assert nearest("a", KPIS) == []  # one letter is in everything
    assert nearest("roas", []) == []


NAMES = st.lists(st.text("abcdef_", min_size=1, max_size=12), max_size=12)


@settings(deadline=None)
@given(st.text(max_size=30), NAMES, st.integers(1, 5))
def test_a_few_distinct_names_of_those_there_are(word: str, names: list[str], limit: int) -> None:
    found = nearest(word, names, limit)
    assert len(found) <= limit
    assert len({name.lower() for name in found}) == len(found)
    assert set(found) <= set(names)
    # The order in which they are given changes nothing.
    assert nearest(word, reversed(names), limit) == found


@settings(deadline=None)
@given(NAMES.filter(bool))
def test_a_name_is_nearest_to_itself(names: list[str]) -> None:
    assert nearest(names[0], names)[0] == names[0]


def test_a_long_text_is_not_searched_for() -> None:
    assert nearest("roas" * 10_000, KPIS) == ["roas"]
