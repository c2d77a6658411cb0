from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from service.domain.measures import Measure
from service.kpi.catalogue import Catalogue, load_catalogue
from service.kpi.document import readable, render
from service.kpi.formula import Distinct, Factor, Formula, IntervalMethod, KpiKind, Status, Term

CATALOGUE = load_catalogue()
PAGE = Path(__file__).parents[2] / "docs/reference/kpis.md"


def test_formulas_are_readable() -> None:
    spend, orders = Term(Measure.SPEND, Fraction(1)), Term(Measure.ORDERS, Fraction(1))
    lost = Term(Measure.REFUNDS, Fraction(-1))
    assert readable(Formula((spend,))) == "spend"
    assert readable(Formula((spend, lost))) == "spend - refunds"
    assert readable(Formula((spend, lost), (orders,))) == "(spend - refunds) / orders"
    assert readable(Formula((spend,), (orders,), scale=1000)) == "1000 * spend / orders"
    half = Term(Distinct.VISITORS, Fraction(1, 2), (("channel", "Email"),))
    assert readable(Formula((half,))) == "0.5 * distinct_visitors[channel = Email]"
    assert readable(Formula((lost,))) == "-refunds"
    twice = replace(orders, weight=Fraction(2))
    assert readable(Formula((twice,), (twice,))) == "2 * orders / (2 * orders)"
    assert readable(Formula((spend,), (replace(twice, weight=Fraction(-2)),))) == (
        "spend / (-2 * orders)"
    )
    assert readable(Formula((spend,), (lost,))) == "spend / -refunds"


def test_derived_formulas_are_readable() -> None:
    part = Formula((Term(Measure.ORDERS, Fraction(1)),))
    a, b, below = Factor("a", 1, part), Factor("b", 1, part), Factor("c", -1, part)
    one = Fraction(1)
    assert readable(Formula(factors=(a, b))) == "a * b"
    assert readable(Formula(factors=(a, below, b))) == "a * b / c"
    assert readable(Formula(factors=(below,))) == "1 / c"
    assert readable(Formula(factors=(a,), weight=Fraction(5, 2))) == "2.5 * a"
    assert readable(Formula(factors=(below,), weight=-one)) == "-1 / c"
    assert readable(Formula(factors=(a,), weight=-one)) == "-a"
    assert readable(Formula(factors=(a,), weight=-one, plus=one)) == "1 - a"
    assert readable(Formula(factors=(a,), weight=Fraction(2), plus=-one)) == "-1 + 2 * a"


def _part(page: str, kpi_id: str) -> str:
    return page.split(f"### {kpi_id}\n")[1].split("\n### ", maxsplit=1)[0]


def test_the_page_explains_what_is_derived_what_grows_and_what_is_uncertain() -> None:
    page = render()
    value = _part(page, "clv_simple")
    assert "where [`aov`](#aov) is `(gross_revenue - refunds) / orders`" in value
    assert "kind: derived" in value
    for kpi in CATALOGUE:
        part = _part(page, kpi.id)
        assert ("takes a horizon" in part) == (kpi.kind is KpiKind.COHORT), kpi.id
        methods = {formula.interval for formula in kpi.views.values()}
        assert ("interval: delta method" in part) == (IntervalMethod.DELTA in methods), kpi.id
        assert ("interval: Wilson" in part) == (IntervalMethod.WILSON in methods), kpi.id
    assert "delta method, with the day as unit, flagged below 30" in _part(page, "cpl")
    assert "unit, flagged" not in _part(page, "roas")


def test_older_versions_stand_below_the_newest() -> None:
    newest = replace(CATALOGUE.get("aov"), version=2)
    old = replace(CATALOGUE.get("gross_revenue"), id="aov", status=Status.SUPERSEDED)
    part = _part(render(Catalogue({"aov": newest}, (old,))), "aov")
    assert "version 2; stable\n- version 1 (superseded): `gross_revenue`\n" in part


def test_the_page_tells_all_of_every_kpi() -> None:
    page = render()
    for kpi in CATALOGUE:
        part = _part(page, kpi.id)
        texts = [
            *kpi.title.values(),
            *kpi.about.values(),
            *kpi.edge.values(),
            kpi.source,
            kpi.owner,
        ]
        for text in [*texts, *kpi.breakdowns, kpi.default_window, f"version {kpi.version}"]:
            assert text in part, (kpi.id, text)
        for formula in kpi.views.values():
            assert readable(formula) in part


def test_the_committed_page_is_current() -> None:
    assert PAGE.read_text() == render()
