from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.dimensions import DETAILS, DIMENSIONS
from service.errors import InvalidError
from service.kpi.filters import MOST_CONDITIONS, NAMES, Condition, Filters, parse, parse_by

PROPS = ("plan", "tier_2")


def has(name: str, *values: str) -> Condition:
    return Condition(name, values)


def begins(name: str, *prefixes: str, negated: bool = False) -> Condition:
    return Condition(name, (), prefixes, negated)


def lacks(name: str, *values: str) -> Condition:
    return Condition(name, values, negated=True)


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        (None, ()),
        ("", ()),
        ("  ", ()),
        ("campaign:spring", (has("campaign", "spring"),)),
        ("campaign:spring,channel:Email", (has("channel", "Email"), has("campaign", "spring"))),
        (
            "channel: Paid Search , campaign :x",
            (has("channel", "Paid Search"), has("campaign", "x")),
        ),
        ("campaign:a,campaign:b,campaign:a", (has("campaign", "a", "b"),)),
        ("campaign:", (has("campaign", ""),)),
        (r"campaign:spring\, late", (has("campaign", "spring, late"),)),
        (r"campaign:a\:b", (has("campaign", "a:b"),)),
        ("campaign:a:b", (has("campaign", "a:b"),)),
        (r"campaign:a\\b", (has("campaign", "a\\b"),)),
        ("campaign:a\\", (has("campaign", "a\\"),)),
        ("campaign:a\x00b", (has("campaign", "a\ufffdb"),)),
        ("campaign:two\nlines", (has("campaign", "two\nlines"),)),
        # A star at the end stands for any rest, unless a backslash says otherwise.
        ("campaign:spring*", (begins("campaign", "spring"),)),
        ("campaign: spring * ", (begins("campaign", "spring "),)),
        (r"campaign:spring\*", (has("campaign", "spring*"),)),
        (r"campaign:spring\**", (begins("campaign", "spring*"),)),
        (r"campaign:spring\\*", (begins("campaign", "spring\\"),)),
        ("campaign:a*b", (has("campaign", "a*b"),)),
        ("campaign:a*,campaign:b,campaign:c*", (Condition("campaign", ("b",), ("a", "c")),)),
        # An exclamation mark before it: none of these.
        ("!campaign:spring", (lacks("campaign", "spring"),)),
        ("! campaign:a , !campaign:b", (lacks("campaign", "a", "b"),)),
        ("!campaign:", (lacks("campaign", ""),)),
        ("!campaign:old*", (begins("campaign", "old", negated=True),)),
        ("campaign:!a", (has("campaign", "!a"),)),
        (
            "!campaign:spring-1,term:x,campaign:spring*",
            (begins("campaign", "spring"), lacks("campaign", "spring-1"), has("term", "x")),
        ),
        ("device:mobile,country:DK", (has("country", "DK"), has("device", "mobile"))),
        (
            "props.tier_2:b,product:p,props.plan:a,landing_page:/x*",
            (
                begins("landing_page", "/x"),
                has("product", "p"),
                has("props.plan", "a"),
                has("props.tier_2", "b"),
            ),
        ),
    ],
)
def test_filters_are_read(text: str | None, filters: Filters) -> None:
    assert parse(text, PROPS) == filters


@pytest.mark.parametrize(
    "text",
    ["spring", "campaign:a,", ",campaign:a", "campaign:a,b", r"campaign\:a", "!", r"\!campaign"],
)
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="write dimension:value") as refused:
        parse(text)
    assert refused.value.code == "invalid_filter"
    assert refused.value.detail["field"] == "where"


def test_a_star_alone_says_nothing() -> None:
    with pytest.raises(InvalidError, match=r"write !campaign: for those with a value") as refused:
        parse("campaign:*")
    assert refused.value.code == "invalid_filter"


@pytest.mark.parametrize("text", ["campain:spring", "!campain:spring", "term:x,campain:a*"])
def test_an_unknown_dimension_names_the_nearest(text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        parse(text)
    assert refused.value.code == "unknown_dimension"
    assert refused.value.detail == {"field": "where", "nearest": ["campaign"]}


@pytest.mark.parametrize(
    ("name", "props", "nearest"),
    [
        ("props.plam", PROPS, ["props.plan"]),
        ("plan", PROPS, ["props.plan"]),
        ("props.plan", (), []),
        ("landingpage", (), ["landing_page"]),
        # Whatever a site declared: nothing else may come near the text of a statement.
        ("props.a'b", ("a'b",), ["props.a'b"]),
    ],
)
def test_a_prop_must_be_declared(name: str, props: tuple[str, ...], nearest: list[str]) -> None:
    with pytest.raises(InvalidError) as refused:
        parse_by(name, props)
    assert refused.value.code == "unknown_dimension"
    assert refused.value.detail["field"] == "by"
    assert refused.value.detail["nearest"][:1] == nearest
    assert ("must be declared" in refused.value.message) == name.startswith("props.")


def test_the_number_of_conditions_is_bounded() -> None:
    most = ",".join(f"term:{n}" for n in range(MOST_CONDITIONS))
    assert len(parse(most)[0].values) == MOST_CONDITIONS
    with pytest.raises(InvalidError, match="at most 50"):
        parse(f"{most},!campaign:one-too-many")


@pytest.mark.parametrize(
    ("text", "by"),
    [
        (None, ()),
        (" ", ()),
        ("campaign", ("campaign",)),
        ("device, channel ,props.plan", ("device", "channel", "props.plan")),
        ("product", ("product",)),
    ],
)
def test_breakdowns_are_read(text: str | None, by: tuple[str, ...]) -> None:
    assert parse_by(text, PROPS) == by


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("campaign,campaign", "once"),
        ("channel,source,medium,campaign,term", "at most 4"),
        ("product,campaign", "where="),
    ],
)
def test_dimensions_that_cannot_stand_together(text: str, said: str) -> None:
    with pytest.raises(InvalidError, match=said) as refused:
        parse_by(text)
    assert (refused.value.code, refused.value.detail["field"]) == ("invalid_breakdown", "by")


def test_an_empty_name_is_no_dimension() -> None:
    with pytest.raises(InvalidError) as refused:
        parse_by("channel,,source")
    assert refused.value.code == "unknown_dimension"


# --- What is written is read again -------------------------------------------------------------


def escaped(value: str) -> str:
    return "".join(f"\\{letter}" if letter in "\\,:* \n!" else letter for letter in value)


def rendered(filters: Filters) -> str:
    return ",".join(
        ("!" if condition.negated else "") + f"{condition.name}:{escaped(value)}{star}"
        for condition in filters
        for star, values in (("", condition.values), ("*", condition.prefixes))
        for value in values
    )


texts = st.text("ab\\,:*!\n é")
every = [*DIMENSIONS, *DETAILS, "product", *(f"props.{prop}" for prop in PROPS)]


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(every), st.booleans()),
        st.tuples(
            st.lists(texts, max_size=3, unique=True),
            st.lists(texts.filter(bool), max_size=3, unique=True),
        ).filter(any),
        max_size=6,
    )
)
def test_what_is_rendered_is_read(
    drawn: dict[tuple[str, bool], tuple[list[str], list[str]]],
) -> None:
    filters = tuple(
        Condition(name, tuple(drawn[name, negated][0]), tuple(drawn[name, negated][1]), negated)
        for name, negated in sorted(drawn, key=lambda key: (every.index(key[0]), key[1]))
    )
    assert parse(rendered(filters), PROPS) == filters


@given(st.text("ab\\,:*! campign", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    filters: Filters = ()
    code = ""
    try:
        filters = parse(text)
    except InvalidError as refused:
        code = refused.code
    assert code in {"", "invalid_filter", "unknown_dimension"}
    assert all(c.name in NAMES and (c.values or c.prefixes) for c in filters)
