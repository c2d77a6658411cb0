from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from service.domain.measures import Measure
from service.kpi.document import readable, render
from service.kpi.formula import Distinct, Formula, Term
from tests.kpi.world import CATALOGUE

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


def test_the_page_tells_all_of_every_kpi() -> None:
    page = render()
    for kpi in CATALOGUE:
        part = page.split(f"### {kpi.id}\n")[1].split("\n### ")[0]
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
