"""Each rule of the catalogue is reached by an entry that breaks it, and says what is wrong."""

from __future__ import annotations

import copy
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.measures import Measure
from service.kpi import rules
from service.kpi.definition import Entry, build
from service.kpi.formula import QUANTITY_BY_LABEL, Term
from service.kpi.rules import problems_of

SOUND: dict[str, Any] = {
    "id": "cost_per_post",
    "title": {"en": "Cost per post", "da": "Pris pr. opslag"},
    "about": {"en": "Spend per post.", "da": "Forbrug pr. opslag."},
    "edge": {"en": "No posts: no value.", "da": "Ingen opslag: ingen værdi."},
    "unit": "currency",
    "direction": "down",
    "kind": "ratio",
    "additivity": "none",
    "numerator": {"spend": 1},
    "denominator": {"posts": 1},
    "breakdowns": ["campaign"],
    "default_window": "last_30_days",
    "source": "a book",
    "owner": "brand",
    "version": 1,
    "status": "stable",
}
SHARE: dict[str, Any] = {
    **SOUND,
    "unit": "fraction",
    "numerator": {"bounces": 1},
    "denominator": {"visits": 1},
    "interval": "wilson",
    "bounded": True,
}
SCORE: dict[str, Any] = {
    **SOUND,
    "unit": "points",
    "numerator": {"nps_promoters": 1, "nps_detractors": -1},
    "denominator": {"nps_responses": 1},
    "scale": 100,
    "interval": "nps",
}
SUM: dict[str, Any] = {**SOUND, "kind": "simple", "additivity": "full", "denominator": {}}
DISTINCT: dict[str, Any] = {
    **SOUND,
    "unit": "count",
    "kind": "distinct",
    "numerator": {"distinct_visitors": 1},
    "denominator": {},
}
VIEWS: dict[str, Any] = {
    **{key: value for key, value in SHARE.items() if key not in {"numerator", "denominator"}},
    "views": {
        "cohort": {"numerator": {"leads_converted": 1}, "denominator": {"leads_identified": 1}},
        "period": {"numerator": {"customers_from_leads": 1}, "denominator": {"leads": 1}},
    },
    "default_view": "cohort",
}
# No key for an empty side: that is how the shipped files write sums.
for plain in (SUM, DISTINCT):
    del plain["denominator"]


def entry(base: dict[str, Any], **changes: Any) -> Entry:
    """A sound entry with some keys changed, or left out where the change is None."""
    data = {**copy.deepcopy(base), **changes}
    data = {key: value for key, value in data.items() if value is not None}
    return Entry("brand.toml", str(data.get("id", "?")), data)


def view(**changes: Any) -> dict[str, Any]:
    """Two views, of which the period one is changed."""
    views = copy.deepcopy(VIEWS["views"])
    return {**views, "period": {**views["period"], **changes}}


@pytest.mark.parametrize("base", [SOUND, SHARE, SCORE, SUM, DISTINCT, VIEWS])
def test_sound_entries_have_no_problems(base: dict[str, Any]) -> None:
    assert problems_of([entry(base)]) == []


LINE = "must be one line of at most 300 characters"
NO_FILTER = {"weight": 1, "where": "x"}

BAD: tuple[tuple[str, dict[str, Any], dict[str, Any], str], ...] = (
    # rule, sound entry, what is changed, the problem
    ("known_keys", SOUND, {"directon": "up"}, "key 'directon' does not exist; meant direction?"),
    ("known_keys", SOUND, {"zzz": 1}, "key 'zzz' does not exist"),
    ("known_keys", VIEWS, {"views": view(owner="me")}, "key of a view 'owner' does not exist"),
    ("required_keys", SOUND, {"owner": None}, "'owner' is missing"),
    ("required_keys", SOUND, {"numerator": None}, "'numerator' is missing"),
    ("required_keys", VIEWS, {"views": {"cohort": {}}}, "'numerator' is missing"),
    ("types", SOUND, {"version": "1"}, "'version' must be of type int"),
    ("types", SOUND, {"version": True}, "'version' must be of type int"),
    ("types", SOUND, {"id": 7}, "'id' must be of type str"),
    ("types", SOUND, {"title": "Cost"}, "'title' must be of type dict"),
    ("types", SOUND, {"bounded": 1}, "'bounded' must be of type bool"),
    ("types", SOUND, {"numerator": ["spend"]}, "'numerator' must be of type dict"),
    ("types", SOUND, {"requires": "orders"}, "'requires' must be of type dict"),
    ("types", VIEWS, {"views": {"cohort": 1}}, "the view 'cohort' must be of type dict"),
    ("types", VIEWS, {"views": view(scale="1")},
     "'scale' of the view 'period' must be of type int"),
    ("words", SOUND, {"unit": "dkk"}, "unit 'dkk' does not exist"),
    ("words", SOUND, {"direction": "UP"}, "direction 'UP' does not exist; meant up?"),
    ("words", SOUND, {"direction": "upp"}, "direction 'upp' does not exist; meant up?"),
    ("words", SOUND, {"kind": "sum"}, "kind 'sum' does not exist"),
    ("words", SOUND, {"additivity": "semi"}, "additivity 'semi' does not exist"),
    ("words", SOUND, {"status": "beta"}, "status 'beta' does not exist"),
    ("words", SHARE, {"interval": "wilsonn"}, "interval 'wilsonn' does not exist; meant wilson?"),
    ("words", VIEWS, {"interval": "wilsonn"}, "interval 'wilsonn' does not exist; meant wilson?"),
    ("words", SOUND, {"default_window": "last_30_day"},
     "default_window 'last_30_day' does not exist; meant last_30_days or last_90_days"
     " or last_365_days?"),
    ("quantities", SOUND, {"numerator": {"spent": 1}},
     "measure of the numerator 'spent' does not exist; meant spend?"),
    ("quantities", VIEWS, {"views": view(denominator={"leeds": 1})},
     "measure of the denominator 'leeds' does not exist; meant leads?"),
    ("weights", SOUND, {"numerator": {}}, "the numerator has no terms"),
    ("weights", SOUND, {"denominator": {}}, "the denominator has no terms"),
    *(("weights", SOUND, {"numerator": {"spend": weight}},
       "the weight of 'spend' must be a number other than 0")
      for weight in (0, True, "1", Decimal("NaN"), Decimal("Infinity"), {"weight": 0})),
    ("weights", SOUND, {"numerator": {"spend": {"weigth": 1}}},
     "the term 'spend' has keys other than weight and where"),
    ("weights", SOUND, {"numerator": {"spend": NO_FILTER}},
     "the where of 'spend' must be a table of texts"),
    ("weights", SOUND, {"numerator": {"spend": {"where": {"campaign": 1}}}},
     "the where of 'spend' must be a table of texts"),
    ("dimensions", SOUND, {"breakdowns": ["chanel"]},
     "dimension 'chanel' does not exist; meant channel?"),
    ("dimensions", SOUND, {"breakdowns": [["campaign"]]},
     "dimension '['campaign']' does not exist; meant campaign?"),
    ("dimensions", SOUND, {"numerator": {"spend": {"where": {"country": "DK"}}}},
     "dimension 'country' does not exist"),
    *(("requirements", SOUND, {"requires": requires},
       "'requires' needs equal = [measure, measure] and a reason")
      for requires in ({}, {"equal": ["orders", "orders"]}, {"equal": ["orders"], "reason": "x"},
                       {"equal": "orders", "reason": "x"}, {"equal": [["x"], 1], "reason": "x"},
                       {"equal": ["orders", "orders"], "reason": 1})),
    ("requirements", SOUND, {"requires": {"equal": ["orders", "order"], "reason": "x"}},
     "measure of requires 'order' does not exist; meant orders or orders_with_cost?"),
    ("identifier", SOUND, {"id": "CostPerPost"}, "the id must be snake_case"),
    ("identifier", SOUND, {"id": "cost__per_post"}, "the id must be snake_case"),
    ("identifier", SOUND, {"id": "cost_per_post\n"}, "the id must be snake_case"),
    ("texts", SOUND, {"title": {"en": "Cost"}},
     "'title' must have the languages en and da, and no others"),
    ("texts", SOUND, {"about": {"en": "Cost", "da": "Pris", "de": "Preis"}},
     "'about' must have the languages en and da, and no others"),
    ("texts", SOUND, {"edge": {"en": "one\ntwo", "da": "en"}}, f"'edge.en' {LINE}"),
    ("texts", SOUND, {"edge": {"en": "one", "da": " "}}, f"'edge.da' {LINE}"),
    ("texts", SOUND, {"title": {"en": "x" * 301, "da": "en"}}, f"'title.en' {LINE}"),
    ("texts", SOUND, {"title": {"en": 1, "da": "en"}}, f"'title.en' {LINE}"),
    ("origin", SOUND, {"source": " "}, "'source' must not be empty"),
    ("origin", SOUND, {"owner": ""}, "'owner' must not be empty"),
    ("origin", SOUND, {"version": 0}, "'version' starts at 1"),
    ("views", VIEWS, {"default_view": "week"}, "'default_view' must name one of the views"),
    ("views", VIEWS, {"default_view": None}, "'default_view' must name one of the views"),
    ("views", SOUND, {"default_view": "cohort"}, "'default_view' must name one of the views"),
    ("views", VIEWS, {"views": {}}, "'default_view' must name one of the views"),
    ("kind", SOUND, {"kind": "distinct"},
     "kind 'distinct' is for formulas of distinct counts only, and they need it"),
    ("kind", DISTINCT, {"kind": "simple", "additivity": "full"},
     "kind 'distinct' is for formulas of distinct counts only, and they need it"),
    ("kind", DISTINCT, {"numerator": {"distinct_visitors": 1, "visits": 1}},
     "kind 'distinct' is for formulas of distinct counts only, and they need it"),
    ("kind", SUM, {"denominator": {"posts": 1}}, "kind 'simple' has no denominator"),
    ("kind", SOUND, {"denominator": None}, "kind 'ratio' needs a denominator"),
    ("additivity", SOUND, {"additivity": "full"},
     "additivity is 'full' for kind 'simple' and 'none' for the others"),
    ("additivity", SUM, {"additivity": "none"},
     "additivity is 'full' for kind 'simple' and 'none' for the others"),
    ("sides", SOUND, {"numerator": {"spend": 1, "posts": 1}},
     "the numerator mixes amounts and counts"),
    ("unit", SOUND, {"unit": "factor"}, "the formula does not give the unit 'factor'"),
    ("unit", SOUND, {"numerator": {"clicks": 1}}, "the formula does not give the unit 'currency'"),
    ("unit", SUM, {"unit": "count"}, "the formula does not give the unit 'count'"),
    ("unit", SHARE, {"scale": 100, "interval": None},
     "only points and amounts are scaled; ratios are fractions of 1"),
    ("unit", SOUND, {"scale": 0}, "'scale' must be 1 or more"),
    ("interval", SHARE, {"bounded": False},
     "interval 'wilson' needs a bounded fraction of counts with weights 1"),
    ("interval", SHARE, {"numerator": {"bounces": 2}},
     "interval 'wilson' needs a bounded fraction of counts with weights 1"),
    ("interval", SHARE, {"numerator": {"spend": 1}, "denominator": {"gross_revenue": 1}},
     "interval 'wilson' needs a bounded fraction of counts with weights 1"),
    ("interval", SCORE, {"scale": 1},
     "interval 'nps' needs one term of weight 1, one of -1, and scale 100"),
    ("interval", SCORE, {"numerator": {"nps_promoters": 1}},
     "interval 'nps' needs one term of weight 1, one of -1, and scale 100"),
    ("bounded", SOUND, {"bounded": True}, "'bounded' is for fractions"),
)  # fmt: skip


@pytest.mark.parametrize(("rule", "base", "changes", "problem"), BAD)
def test_a_bad_entry_gets_its_exact_problem(
    rule: str, base: dict[str, Any], changes: dict[str, Any], problem: str
) -> None:
    bad = entry(base, **changes)
    assert problems_of([bad]) == [f"brand.toml: {bad.id}: {problem}"]
    subject: Any = build(bad) if rules.__dict__[rule] in rules.MEANING_RULES else bad
    assert problem in list(rules.__dict__[rule](subject))


def test_every_rule_is_broken_above() -> None:
    of_one = [*rules.FORM_RULES, *rules.SHAPE_RULES, *rules.MEANING_RULES]
    assert {rule.__name__ for rule in of_one} == {rule for rule, *_ in BAD}


def test_an_id_names_one_kpi() -> None:
    problems = problems_of([entry(SOUND), entry(SHARE)])
    assert problems == ["brand.toml: cost_per_post: the id is used more than once"] * 2


def test_what_stays_visible_is_another_kpi_of_the_catalogue() -> None:
    shown = ["cost_per_post", "cost_per_click", ["spend"]]
    assert problems_of([entry(SOUND, also_visible=shown)]) == [
        f"brand.toml: cost_per_post: KPI in also_visible '{name}' does not exist"
        + ("; meant cost_per_post?" if "cost" in name else "")
        for name in ("cost_per_post", "cost_per_click", "['spend']")
    ]
    other = entry(SUM, id="spend")
    assert problems_of([entry(SOUND, also_visible=["spend"]), other]) == []


def test_all_problems_are_reported_at_once() -> None:
    first = entry(SOUND, owner=None, colour="red", version="1")
    second = Entry(
        "web.toml", "bounces", {**SHARE, "id": "bounces", "unit": "x", "breakdowns": ["y"]}
    )
    third = entry(SHARE, id="Bounce", owner=" ", additivity="full")
    fourth = entry(SOUND, also_visible=["nothing"])
    assert problems_of([first, second, third, fourth]) == [
        "brand.toml: cost_per_post: key 'colour' does not exist",
        "brand.toml: cost_per_post: 'owner' is missing",
        "brand.toml: cost_per_post: 'version' must be of type int",
        "web.toml: bounces: unit 'x' does not exist",
        "web.toml: bounces: dimension 'y' does not exist",
        "brand.toml: Bounce: the id must be snake_case",
        "brand.toml: Bounce: 'owner' must not be empty",
        "brand.toml: Bounce: additivity is 'full' for kind 'simple' and 'none' for the others",
        "brand.toml: cost_per_post: KPI in also_visible 'nothing' does not exist",
    ]


def test_a_term_is_a_weight_or_a_table() -> None:
    numerator = {"spend": Decimal("0.1"), "refunds": {"weight": -2, "where": {"source": "x"}}}
    formula = build(entry(SUM, numerator=numerator)).views[""]
    assert formula.numerator == (
        Term(Measure.SPEND, Fraction(1, 10)),
        Term(Measure.REFUNDS, Fraction(-2), (("source", "x"),)),
    )
    assert formula.has_money


def test_views_share_what_the_entry_says_for_all() -> None:
    shared = {**VIEWS, "denominator": {"leads": 1}, "views": {
        name: {"numerator": part["numerator"]} for name, part in VIEWS["views"].items()
    }}  # fmt: skip
    assert problems_of([entry(shared)]) == []
    views = build(entry(shared)).views
    assert {formula.denominator for formula in views.values()} == {
        (Term(Measure.LEADS, Fraction(1)),)
    }


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.decimals(allow_nan=True)
    | st.sampled_from(
        ["", "x", "en", "da", "weight", "where", "equal", "reason", "spend", "cohort"]
    )
    | st.sampled_from(sorted(QUANTITY_BY_LABEL)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["en", "da", "weight", "where", "equal", "reason", "numerator", "spend", "channel"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([SOUND, SHARE, SCORE, SUM, DISTINCT, VIEWS]),
    st.dictionaries(
        st.sampled_from(sorted({*SOUND, *SCORE, *VIEWS, "requires"})), VALUES, max_size=2
    ),
)
def test_whatever_somebody_writes_is_sound_or_gets_a_problem(
    base: dict[str, Any], changes: dict[str, Any]
) -> None:
    """No entry breaks the checker itself; what it lets pass can be built."""
    odd = entry(base, **changes)
    if not problems_of([odd]):
        kpi = build(odd)
        assert kpi.default_view in kpi.views
        assert all(formula.keys for formula in kpi.views.values())
