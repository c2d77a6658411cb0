from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.domain.dimensions import DIMENSIONS, Dimension, dimension_id

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x1f"), max_size=8)
SOME = st.builds(Dimension, *[TEXTS] * len(DIMENSIONS))


def test_the_names_are_the_fields() -> None:
    assert Dimension._fields == DIMENSIONS
    assert Dimension() == ("",) * len(DIMENSIONS)


def test_ids_are_stored_and_never_change() -> None:
    """A table of stored numbers: another hash would orphan every row that there is."""
    spring = Dimension("Paid Search", "google", "cpc", "spring")
    stored = {
        Dimension(): 0,
        spring: -4286585700916436916,
        Dimension("Direct"): -8687142874313879449,
        Dimension(campaign="Forår"): 6015430669819470286,
        Dimension(survey="nps"): -2382701095455773677,
    }
    assert {dimension: dimension_id(dimension) for dimension in stored} == stored


@given(SOME, SOME)
def test_different_combinations_have_different_ids(one: Dimension, other: Dimension) -> None:
    assert (dimension_id(one) == dimension_id(other)) == (one == other)


@given(SOME)
def test_ids_fit_into_a_bigint_and_only_the_empty_one_is_0(dimension: Dimension) -> None:
    number = dimension_id(dimension)
    assert -(2**63) <= number < 2**63
    assert (number == 0) == (not any(dimension))


@given(st.lists(TEXTS.filter(bool), min_size=2, max_size=2, unique=True))
def test_the_same_words_in_other_places_are_another_combination(words: list[str]) -> None:
    first, second = words
    ids = {
        dimension_id(Dimension(source=first, medium=second)),
        dimension_id(Dimension(source=second, medium=first)),
        dimension_id(Dimension(source=first + second)),
        dimension_id(Dimension(medium=first, campaign=second)),
    }
    assert len(ids) == 4
