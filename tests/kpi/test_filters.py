from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.dimensions import DIMENSIONS
from service.errors import InvalidError
from service.kpi.filters import MOST_CONDITIONS, parse


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        (None, ()),
        ("", ()),
        ("  ", ()),
        ("campaign:spring", (("campaign", ("spring",)),)),
        ("campaign:spring,channel:Email", (("channel", ("Email",)), ("campaign", ("spring",)))),
        (
            "channel: Paid Search , campaign :x",
            (("channel", ("Paid Search",)), ("campaign", ("x",))),
        ),
        ("campaign:a,campaign:b,campaign:a", (("campaign", ("a", "b")),)),
        ("campaign:", (("campaign", ("",)),)),
        (r"campaign:spring\, late", (("campaign", ("spring, late",)),)),
        (r"campaign:a\:b", (("campaign", ("a:b",)),)),
        ("campaign:a:b", (("campaign", ("a:b",)),)),
        (r"campaign:a\\b", (("campaign", ("a\\b",)),)),
        ("campaign:a\\", (("campaign", ("a\\",)),)),
        ("campaign:a\x00b", (("campaign", ("a\ufffdb",)),)),
        ("campaign:two\nlines", (("campaign", ("two\nlines",)),)),
    ],
)
def test_filters_are_read(text: str | None, filters: object) -> None:
    assert parse(text) == filters


@pytest.mark.parametrize(
    "text", ["spring", "campaign:a,", ",campaign:a", "campaign:a,b", r"campaign\:a"]
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        parse(text)
    assert refused.value.code == "invalid_filter"
    assert refused.value.detail["field"] == "where"


def test_an_unknown_dimension_names_the_nearest() -> None:
    with pytest.raises(InvalidError) as refused:
        parse("campain:spring")
    assert refused.value.code == "unknown_dimension"
    assert refused.value.detail == {"field": "where", "nearest": ["campaign"]}


def test_the_number_of_conditions_is_bounded() -> None:
    most = ",".join(f"term:{n}" for n in range(MOST_CONDITIONS))
    assert len(parse(most)[0][1]) == MOST_CONDITIONS
    with pytest.raises(InvalidError, match="at most 50"):
        parse(f"{most},campaign:one-too-many")


conditions = st.dictionaries(
    st.sampled_from(DIMENSIONS),
    st.lists(st.text("ab\\,: é").map(str.strip), min_size=1, max_size=3, unique=True),
    min_size=1,
)


@given(conditions)
def test_escaped_values_come_back(values: dict[str, list[str]]) -> None:
    def escaped(value: str) -> str:
        return value.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")

    text = ",".join(f"{name}:{escaped(v)}" for name, some in values.items() for v in some)
    assert {name: list(some) for name, some in parse(text)} == values
