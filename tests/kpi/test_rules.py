"""Each rule of the catalogue is reached by an entry that breaks it, and says what is wrong."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.measures import Measure
from service.kpi import rules
from service.kpi.definition import Entry
from service.kpi.formula import QUANTITY_BY_LABEL, Term
from service.kpi.rules import problems_of
from service.kpi.rules.words import unknown
from tests.kpi.entries import (
    BESIDE,
    DERIVED,
    DISTINCT,
    SCORE,
    SHARE,
    SOUND,
    SUM,
    VIEWS,
    entry,
    kpi_of,
    told,
    view,
)


@pytest.mark.parametrize("base", [SOUND, SHARE, SCORE, SUM, DISTINCT, VIEWS])
def test_sound_entries_have_no_problems(base: dict[str, Any]) -> None:
    assert told(entry(base)) == []


def test_a_sound_derived_entry_has_no_problems() -> None:
    assert told(BESIDE, entry(DERIVED)) == []


LINE = "must be one line of at most 300 characters"
ID = "the id must be snake_case, of at most 64 characters"
KEYS = (
    "id, title, about, edge, unit, direction, kind, additivity, breakdowns, default_window, source,"
    " owner, version, status, theme, views, default_view, bounded, also_visible, numerator,"
    " denominator, scale, interval, requires, factors, weight, plus"
)
DIMENSIONS = (
    "channel, source, medium, campaign, content, term, survey, event, landing_page, page, country,"
    " device"
)
WEIGHT = "must be a number other than 0"
WILSON = "interval 'wilson' needs a bounded fraction of counts with weights 1"
DELTA = "interval 'delta' needs kind 'ratio' or 'cohort', and no distinct counts"
DEFAULT_VIEW = "'default_view' must name one of the views"
MANY = "has 51 entries, and may have 50"
NAMES = [f"x{number}" for number in range(51)]
REQUIRES = "'requires' needs equal = [measure, measure]"
NO_FILTER = {"weight": 1, "where": "x"}

BAD: tuple[tuple[str, dict[str, Any], dict[str, Any], str], ...] = (
    # rule, sound entry, what is changed, the problem
    ("lengths", SOUND, dict.fromkeys(NAMES[len(SOUND):], 1), f"the KPI {MANY}"),
    ("lengths", SOUND, {"breakdowns": NAMES}, f"'breakdowns' {MANY}"),
    ("lengths", SOUND, {"also_visible": NAMES}, f"'also_visible' {MANY}"),
    ("lengths", SOUND, {"denominator": dict.fromkeys(NAMES, 1)}, f"'denominator' {MANY}"),
    ("lengths", SOUND, {"numerator": {"spend": {"where": dict.fromkeys(NAMES, "x")}}},
     f"the where of 'spend' {MANY}"),
    ("lengths", DERIVED, {"factors": dict.fromkeys(NAMES, 1)}, f"'factors' {MANY}"),
    ("lengths", VIEWS, {"views": dict.fromkeys(NAMES, VIEWS["views"]["period"])},
     f"'views' {MANY}"),
    ("lengths", VIEWS, {"views": view(**dict.fromkeys(NAMES[2:], 1))},
     f"the view 'period' {MANY}"),
    ("lengths", VIEWS, {"views": view(numerator=dict.fromkeys(NAMES, 1))}, f"'numerator' {MANY}"),
    ("known_keys", SOUND, {"directon": "up"}, "key 'directon' does not exist; meant direction?"),
    ("known_keys", SOUND, {"zzz": 1}, f"key 'zzz' does not exist; there is {KEYS}"),
    ("known_keys", VIEWS, {"views": view(owner="me")},
     f"key of a view 'owner' does not exist; there is {KEYS[KEYS.index('numerator'):]}"),
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
    ("types", DERIVED, {"weight": "2"}, "'weight' must be of type number"),
    ("one_id", SOUND, {"id": "other"},
     "the id is 'other' inside and 'cost_per_post' in the address"),
    ("view_names", VIEWS, {"views": {**VIEWS["views"], "weekly": VIEWS["views"]["period"]}},
     "view 'weekly' does not exist; there is cohort, period"),
    ("parts_of_kind", DERIVED, {"numerator": {"spend": 1}}, "kind 'derived' has no numerator"),
    ("parts_of_kind", DERIVED, {"interval": "delta"}, "kind 'derived' has no interval"),
    ("parts_of_kind", SOUND, {"weight": 2}, "'weight' is for kind 'derived'"),
    ("required_keys", DERIVED, {"factors": None}, "'factors' is missing"),
    ("factors", DERIVED, {"factors": {}}, "there must be 1 to 6 factors"),
    ("factors", DERIVED, {"factors": {f"x{n}": 1 for n in range(7)}},
     "there must be 1 to 6 factors"),
    *(("factors", DERIVED, {"factors": {"price": power}},
       "the power of 'price' must be 1 or -1")
      for power in (2, 0, True, "1", None, Decimal("1.0"), Decimal(-1), 1.0)),
    *(("factors", DERIVED, {"weight": weight}, f"'weight' {WEIGHT}")
      for weight in (0, Decimal("NaN"), 10**15)),
    ("factors", DERIVED, {"plus": Decimal("1E-16")}, "'plus' must be a number"),
    ("words", SOUND, {"unit": "dkk"},
     "unit 'dkk' does not exist; there is fraction, currency, count, factor, points"),
    ("words", SOUND, {"direction": "UP"}, "direction 'UP' does not exist; meant up?"),
    ("words", SOUND, {"direction": "upp"}, "direction 'upp' does not exist; meant up?"),
    ("words", SOUND, {"kind": "sum"},
     "kind 'sum' does not exist; there is simple, ratio, derived, distinct, cohort"),
    ("words", SOUND, {"additivity": "semi"},
     "additivity 'semi' does not exist; there is full, none"),
    ("words", SOUND, {"status": "beta"},
     "status 'beta' does not exist; there is stable, experimental, deprecated, superseded"),
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
       f"the weight of 'spend' {WEIGHT}")
      for weight in (0, True, "1", Decimal("NaN"), Decimal("Infinity"), {"weight": 0},
                     Decimal("1E+15"), Decimal("1E-16"), 1.5)),
    ("weights", SOUND, {"numerator": {"spend": {"where": {"campaign": "x\0"}}}},
     "the where of 'spend' must be a table of texts"),
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
    ("dimensions", SOUND, {"breakdowns": ["props.plan"]},
     "dimension 'props.plan' does not exist; meant props?"),
    ("dimensions", SOUND, {"breakdowns": ["campaign", "term", "campaign"]},
     "the breakdown 'campaign' is there twice"),
    *(("dimensions", SOUND, {"numerator": {"spend": {"where": {name: "x"}}}},
       f"dimension '{name}' does not exist; there is {DIMENSIONS}")
      for name in ("product", "props", "props.P'", "zz")),
    *(("requirements", SOUND, {"requires": {"equal": equal, "reason": "x"}}, REQUIRES)
      for equal in (None, ["orders"], "orders", [["x"], 1])),
    *(("requirements", SOUND, {"requires": {"equal": ["orders", "orders"], "reason": reason}},
       "'requires' needs a reason in snake_case")
      for reason in (None, 1, "", "No cost", "x\n")),
    ("requirements", SOUND, {"requires": {"equal": ["orders", "order"], "reason": "x"}},
     "measure of requires 'order' does not exist; meant orders or orders_with_cost"
     " or refunds_by_order?"),
    ("requirements", SOUND, {"requires": {"equal": ["orders", "orders"], "reason": "x", "y": 1}},
     "'requires' has keys other than equal and reason"),
    ("identifier", SOUND, {"id": "CostPerPost"}, ID),
    ("identifier", SOUND, {"id": "cost__per_post"}, ID),
    ("identifier", SOUND, {"id": "cost_per_post\n"}, ID),
    ("texts", SOUND, {"title": {"en": "Cost"}},
     "'title' must have the languages en and da, and no others"),
    ("texts", SOUND, {"about": {"en": "Cost", "da": "Pris", "de": "Preis"}},
     "'about' must have the languages en and da, and no others"),
    ("texts", SOUND, {"edge": {"en": "one\ntwo", "da": "en"}}, f"'edge.en' {LINE}"),
    ("texts", SOUND, {"edge": {"en": "one", "da": " "}}, f"'edge.da' {LINE}"),
    ("texts", SOUND, {"title": {"en": "x" * 301, "da": "en"}}, f"'title.en' {LINE}"),
    ("texts", SOUND, {"title": {"en": 1, "da": "en"}}, f"'title.en' {LINE}"),
    ("identifier", SOUND, {"id": "x" * 65}, ID),
    ("origin", SOUND, {"source": " "}, f"'source' {LINE}"),
    ("origin", SOUND, {"owner": ""}, f"'owner' {LINE}"),
    ("origin", SOUND, {"theme": "\ud800"}, f"'theme' {LINE}"),
    *(("origin", SOUND, {"version": version}, "'version' must be from 1 to 10000")
      for version in (0, -1, 10_001, 10**30)),
    ("default_view", VIEWS, {"default_view": "week"}, DEFAULT_VIEW),
    ("default_view", VIEWS, {"default_view": None}, DEFAULT_VIEW),
    ("default_view", SOUND, {"default_view": "cohort"}, DEFAULT_VIEW),
    ("default_view", VIEWS, {"kind": "ratio", "views": {}}, DEFAULT_VIEW),
    ("kind", SOUND, {"kind": "distinct"},
     "kind 'distinct' is for distinct counts only, and they need it"),
    ("kind", DISTINCT, {"kind": "simple", "additivity": "full"},
     "kind 'distinct' is for distinct counts only, and they need it"),
    ("kind", DISTINCT, {"numerator": {"distinct_visitors": 1, "visits": 1}},
     "a formula is of distinct counts or of measures, not of both"),
    ("kind", VIEWS, {"unit": "count", "bounded": None, "interval": None,
                     "views": {"cohort": {"numerator": {"leads_converted": 1}}}},
     "kind 'cohort' needs a denominator"),
    ("cohort", VIEWS, {"kind": "ratio"}, "a view 'cohort' needs kind 'cohort'"),
    ("cohort", SHARE, {"kind": "cohort"}, "kind 'cohort' needs a view 'cohort'"),
    ("cohort", VIEWS, {"views": {"cohort": VIEWS["views"]["period"]}},
     "a cohort's numerator is booked at its origin: emails_bounced, emails_clicked,"
     " emails_complained, emails_delivered, emails_opened, emails_opened_human,"
     " emails_unsubscribed, leads_converted, retained_customers"),
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
    *(("unit", SOUND, {"scale": scale}, "'scale' must be from 1 to 1000000")
      for scale in (0, 1_000_001)),
    *(("unit", DERIVED, {"unit": unit}, f"the formula does not give the unit '{unit}'")
      for unit in ("count", "factor", "fraction", "points")),
    ("unit", DERIVED, {"factors": {"price": -1}},
     "the formula does not give the unit 'currency'"),
    ("unit", DERIVED, {"plus": 1}, "'plus' has no currency, so no amount can be added to"),
    ("interval", SHARE, {"bounded": False}, WILSON),
    ("interval", SHARE, {"numerator": {"bounces": 2}}, WILSON),
    ("interval", SHARE, {"numerator": {"spend": 1}, "denominator": {"gross_revenue": 1}}, WILSON),
    ("interval", SUM, {"interval": "delta"}, DELTA),
    ("interval", DISTINCT, {"unit": "factor", "denominator": {"distinct_customers": 1},
                            "interval": "delta"}, DELTA),
    ("interval", SCORE, {"scale": 1},
     "interval 'nps' needs one term of weight 1, one of -1, and scale 100"),
    ("interval", SCORE, {"numerator": {"nps_promoters": 1}},
     "interval 'nps' needs one term of weight 1, one of -1, and scale 100"),
    ("bounded", SOUND, {"bounded": True}, "'bounded' is for fractions"),
    *(("breakdowns", SOUND, {"breakdowns": [name]}, f"posts cannot be broken down by {name}")
      for name in ("country", "props", "landing_page")),
    ("breakdowns", SHARE, {"breakdowns": ["product"]}, "bounces cannot be broken down by product"),
    ("breakdowns", DERIVED, {"breakdowns": ["device"]}, "posts cannot be broken down by device"),
    *(("filters", SOUND, {"numerator": {"spend": {"where": {"source": "x", name: "x"}}}},
       f"spend cannot be filtered by {name}")
      for name in ("page", "landing_page", "country", "device", "props.plan")),
    ("filters", SOUND, {"denominator": {"posts": {"where": {"device": "phone"}}}},
     "posts cannot be filtered by device"),
    ("filters", SOUND, {"numerator": {"emails_sent": {"where": {"page": "/"}}}, "unit": "factor"},
     "emails_sent cannot be filtered by page"),
    ("filters", VIEWS, {"views": view(denominator={"brand_searches": {"where": {"page": "/"}}}),
                        "interval": None},
     "brand_searches cannot be filtered by page"),
)  # fmt: skip


OF_ONE = {
    rule.__name__: rule for rule in (*rules.FORM_RULES, *rules.SHAPE_RULES, *rules.MEANING_RULES)
}


@pytest.mark.parametrize(("rule", "base", "changes", "problem"), BAD)
def test_a_bad_entry_gets_its_exact_problem(
    rule: str, base: dict[str, Any], changes: dict[str, Any], problem: str
) -> None:
    bad = entry(base, **changes)
    if rule == "one_id":
        bad = replace(bad, id=base["id"])
    assert told(BESIDE, bad) == [f"brand.toml: {bad.id}: {problem}"]
    check: Any = OF_ONE[rule]
    subject = kpi_of(bad) if check in rules.MEANING_RULES else bad
    assert problem in [text for _, text in check(subject)]


def test_every_rule_is_broken_above() -> None:
    assert set(OF_ONE) == {rule for rule, *_ in BAD}


def test_what_is_known_of_a_quantity_filters_it() -> None:
    where = {"where": {"page": "/", "props.plan": "pro"}}
    assert told(entry(SHARE, numerator={"bounces": where}, denominator={"visits": where})) == []


def test_a_problem_names_its_key() -> None:
    views = view(interval="wilsonn", numerator={"leads": 0})
    (first, second) = problems_of([entry(VIEWS, views=views)])
    assert (first.field, second.field) == ("views.period.interval", "views.period.numerator")
    (shared,) = problems_of([entry(VIEWS, interval="wilsonn")])
    assert shared.field == "interval"
    assert (first.file, first.line, first.kpi) == ("brand.toml", None, "cost_per_post")


def test_all_problems_are_reported_at_once() -> None:
    first = entry(SOUND, owner=None, colour="red", version="1")
    second = Entry(
        "web.toml", "bounces", {**SHARE, "id": "bounces", "unit": "x", "breakdowns": ["y"]}
    )
    third = entry(SHARE, id="Bounce", owner=" ", additivity="full")
    fourth = entry(SOUND, also_visible=["nothing"])
    assert told(first, second, third, fourth) == [
        "brand.toml: cost_per_post: key 'colour' does not exist; there is " + KEYS,
        "brand.toml: cost_per_post: 'owner' is missing",
        "brand.toml: cost_per_post: 'version' must be of type int",
        "web.toml: bounces: unit 'x' does not exist;"
        " there is fraction, currency, count, factor, points",
        f"web.toml: bounces: dimension 'y' does not exist; there is {DIMENSIONS}, product, props",
        f"brand.toml: Bounce: {ID}",
        f"brand.toml: Bounce: 'owner' {LINE}",
        "brand.toml: Bounce: additivity is 'full' for kind 'simple' and 'none' for the others",
        "brand.toml: cost_per_post: KPI in also_visible 'nothing' does not exist;"
        " there is Bounce, bounces, cost_per_post",
    ]


def test_a_long_list_of_words_ends() -> None:
    names = [f"name_{number}" for number in range(102)]
    assert unknown("word", "zz", names[:100]).endswith(", name_99")
    assert unknown("word", "zz", names).endswith(", name_99 and 2 more")


def test_a_term_is_a_weight_or_a_table() -> None:
    numerator = {"spend": Decimal("0.1"), "refunds": {"weight": -2, "where": {"source": "x"}}}
    formula = kpi_of(entry(SUM, numerator=numerator)).views[""]
    assert formula.numerator == (
        Term(Measure.SPEND, Fraction(1, 10)),
        Term(Measure.REFUNDS, Fraction(-2), (("source", "x"),)),
    )
    assert formula.has_money


def test_views_share_what_the_entry_says_for_all() -> None:
    shared = {**VIEWS, "denominator": {"leads": 1}, "views": {
        name: {"numerator": part["numerator"]} for name, part in VIEWS["views"].items()
    }}  # fmt: skip
    assert told(entry(shared)) == []
    views = kpi_of(entry(shared)).views
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
                [
                    "en",
                    "da",
                    "weight",
                    "where",
                    "equal",
                    "reason",
                    "numerator",
                    "spend",
                    "channel",
                    "cost_per_post",
                    "factors",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([SOUND, SHARE, SCORE, SUM, DISTINCT, VIEWS, DERIVED]),
    st.dictionaries(
        st.sampled_from(sorted({*SOUND, *SCORE, *VIEWS, *DERIVED, "plus", "requires"})),
        VALUES,
        max_size=2,
    ),
)
def test_whatever_somebody_writes_is_sound_or_gets_a_problem(
    base: dict[str, Any], changes: dict[str, Any]
) -> None:
    """No entry breaks the checker itself; what it lets pass can be built."""
    odd = entry(base, **{**changes, "id": "odd"})
    if not problems_of([BESIDE, odd]):
        kpi = kpi_of(odd)
        assert kpi.default_view in kpi.views
        assert all(formula.keys for formula in kpi.views.values())
