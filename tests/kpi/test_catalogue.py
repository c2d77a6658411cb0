"""The shipped catalogue: ids, formulas and texts, and how a folder of files becomes one."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from service.domain.measures import Measure
from service.errors import InvalidError, NotFoundError, StartupError
from service.kpi.catalogue import FOLDER, Catalogue, CatalogueError, load_catalogue, read_entries
from service.kpi.definition import Kpi
from service.kpi.formula import (
    EVIDENCE,
    MONEY,
    QUANTITY_BY_LABEL,
    Distinct,
    Formula,
    IntervalMethod,
    KpiKind,
    Term,
    evidence,
    label,
)

CATALOGUE = load_catalogue()

FIXED = (
    "spend impressions clicks cpa cac cpl cost_per_order cpc cpm ctr roas romi mer poas "
    "orders revenue aov new_customers new_customer_rate repeat_purchase_rate leads "
    "lead_to_customer conversion_rate visits visitors organic_visits organic_share "
    "bounce_rate email_open_rate email_open_rate_delivered email_open_rate_human "
    "email_click_rate ctor unsubscribe_rate nps enps csat ces awareness_aided "
    "awareness_unaided share_of_search engagement_rate"
)
"""The ids of the contract: others build against them."""

EXTRA = "page_views gross_revenue refunds engagement_by_reach email_bounce_rate spam_complaint_rate"
"""What we publish beside them."""


def test_the_ids_are_those_of_the_contract_and_our_declared_extras() -> None:
    assert sorted(CATALOGUE.kpis) == sorted(FIXED.split() + EXTRA.split())
    assert [kpi.id for kpi in CATALOGUE] == list(CATALOGUE.kpis)


def _side(terms: tuple[Term, ...]) -> str:
    parts = []
    for term in terms:
        sign = "-" if term.weight < 0 else "+"
        amount = "" if abs(term.weight) == 1 else f"{abs(term.weight)} "
        where = "".join(f"[{name}={value}]" for name, value in term.where)
        parts.append(f"{sign} {amount}{label(term.quantity)}{where}")
    return " ".join(parts).removeprefix("+ ")


def _written(formula: Formula) -> str:
    text = _side(formula.numerator)
    if formula.denominator:
        text = f"({text})" if len(formula.numerator) > 1 else text
        below = _side(formula.denominator)
        text += f" / ({below})" if len(formula.denominator) > 1 else f" / {below}"
    scale = f"{formula.scale} * " if formula.scale != 1 else ""
    method = "" if formula.interval is IntervalMethod.NONE else f" ~ {formula.interval}"
    return scale + text + method


FORMULAS = {
    # advertising
    "spend": "spend | currency none",
    "impressions": "impressions | count up",
    "clicks": "clicks | count up",
    "cpa": "spend / new_customers | currency down",
    "cac": "spend / new_customers | currency down",
    "cpl": "spend / leads | currency down",
    "cost_per_order": "spend / orders | currency down",
    "cpc": "spend / clicks | currency down",
    "cpm": "1000 * spend / impressions | currency down",
    "ctr": "clicks / impressions ~ wilson | fraction up",
    "roas": "(gross_revenue - refunds) / spend | factor up",
    "romi": "(gross_revenue - refunds - spend) / spend | fraction up",
    "mer": "(gross_revenue - refunds) / spend | factor up",
    "poas": "(gross_revenue - refunds - cost_of_goods) / spend | factor up",
    # sales
    "orders": "orders | count up",
    "revenue": "gross_revenue - refunds | currency up",
    "gross_revenue": "gross_revenue | currency up",
    "refunds": "refunds | currency down",
    "aov": "(gross_revenue - refunds) / orders | currency up",
    "new_customers": "new_customers | count up",
    "new_customer_rate": "first_time_customers / distinct_customers ~ wilson | fraction none",
    "repeat_purchase_rate": "repeat_customers / distinct_customers ~ wilson | fraction up",
    "conversion_rate": "orders / visits | fraction up",
    "leads": "leads | count up",
    "lead_to_customer cohort": "leads_converted / leads_identified ~ wilson | fraction up",
    "lead_to_customer period": "customers_from_leads / leads ~ wilson | fraction up",
    # the website
    "page_views": "page_views | count up",
    "visits": "visits | count up",
    "visitors": "distinct_visitors | count up",
    "organic_visits": "visits[channel=Organic Search] | count up",
    "organic_share": "visits[channel=Organic Search] / visits ~ wilson | fraction up",
    "bounce_rate": "bounces / visits ~ wilson | fraction down",
    # e-mail
    "email_open_rate cohort": "emails_opened / emails_sent ~ wilson | fraction up",
    "email_open_rate period": "emails_opened_period / emails_sent | fraction up",
    "email_open_rate_delivered cohort": "emails_opened / emails_delivered ~ wilson | fraction up",
    "email_open_rate_delivered period":
        "emails_opened_period / emails_delivered_period | fraction up",
    "email_open_rate_human cohort": "emails_opened_human / emails_delivered ~ wilson | fraction up",
    "email_open_rate_human period":
        "emails_opened_human_period / emails_delivered_period | fraction up",
    "email_click_rate cohort": "emails_clicked / emails_delivered ~ wilson | fraction up",
    "email_click_rate period": "emails_clicked_period / emails_delivered_period | fraction up",
    "ctor cohort": "emails_clicked / emails_opened | fraction up",
    "ctor period": "emails_clicked_period / emails_opened_period | fraction up",
    "unsubscribe_rate cohort": "emails_unsubscribed / emails_delivered ~ wilson | fraction down",
    "unsubscribe_rate period":
        "emails_unsubscribed_period / emails_delivered_period | fraction down",
    "email_bounce_rate cohort": "emails_bounced / emails_sent ~ wilson | fraction down",
    "email_bounce_rate period": "emails_bounced_period / emails_sent | fraction down",
    "spam_complaint_rate cohort": "emails_complained / emails_delivered ~ wilson | fraction down",
    "spam_complaint_rate period":
        "emails_complained_period / emails_delivered_period | fraction down",
    # surveys and the brand
    "nps": "100 * (nps_promoters - nps_detractors) / nps_responses ~ nps | points up",
    "enps": "100 * (enps_promoters - enps_detractors) / enps_responses ~ nps | points up",
    "csat": "csat_positive / csat_responses ~ wilson | fraction up",
    "ces": "ces_positive / ces_responses ~ wilson | fraction up",
    "awareness_aided": "aided_aware / aided_responses ~ wilson | fraction up",
    "awareness_unaided": "unaided_aware / unaided_responses ~ wilson | fraction up",
    "share_of_search": "brand_searches / (brand_searches + category_searches) | fraction up",
    "engagement_rate": "engagements / followers | fraction up",
    "engagement_by_reach": "engagements / reach | fraction up",
}  # fmt: skip
"""Every formula with unit and direction, written here a second time: a change is a decision."""


def test_every_formula_is_the_one_that_was_decided() -> None:
    shipped = {
        f"{kpi.id} {view}".strip(): f"{_written(formula)} | {kpi.unit} {kpi.direction}"
        for kpi in CATALOGUE
        for view, formula in kpi.views.items()
    }
    assert shipped == FORMULAS


def test_money_may_need_a_requirement() -> None:
    needing = {kpi.id: f.requires for kpi in CATALOGUE for f in kpi.views.values() if f.requires}
    requirement = needing.pop("poas")
    assert needing == {}
    assert (requirement.left, requirement.right) == (Measure.ORDERS_WITH_COST, Measure.ORDERS)
    assert requirement.reason == "missing_cost_of_goods"
    keys = CATALOGUE.get("poas").views[""].keys
    assert {(Measure.ORDERS_WITH_COST, ()), (Measure.ORDERS, ())} <= keys


def test_shares_are_flagged_above_one_and_other_ratios_are_not() -> None:
    fractions = {kpi.id for kpi in CATALOGUE if kpi.unit == "fraction"}
    assert {kpi.id for kpi in CATALOGUE if kpi.bounded} == fractions - {"romi"}


def test_cost_kpis_keep_the_spend_visible_when_they_have_no_value() -> None:
    costs = {kpi.id for kpi in CATALOGUE if kpi.unit == "currency" and kpi.direction == "down"}
    assert costs - {"refunds"} == {
        kpi.id for kpi in CATALOGUE if kpi.also_visible == ("spend",)
    } == {"cpa", "cac", "cpl", "cost_per_order", "cpc", "cpm"}  # fmt: skip


def test_what_needs_attribution_and_has_none_cannot_be_broken_down() -> None:
    assert CATALOGUE.get("mer").breakdowns == ()
    without_campaign = {kpi.id for kpi in CATALOGUE if "campaign" not in kpi.breakdowns}
    assert without_campaign == {"mer", "share_of_search"}
    surveys = {kpi.id for kpi in CATALOGUE if "survey" in kpi.breakdowns}
    assert surveys == {kpi.id for kpi in CATALOGUE if kpi.theme == "survey"}


DANISH = re.compile(r"[æøåÆØÅ]|\b(?:og|af|en|et|der|ikke|som|til|pr)\b")


@pytest.mark.parametrize("kpi", list(CATALOGUE), ids=lambda kpi: kpi.id)
def test_texts_are_danish_and_english(kpi: Kpi) -> None:
    assert DANISH.search(kpi.about["da"] + kpi.edge["da"])
    for text in (kpi.about, kpi.edge):
        assert not DANISH.search(text["en"]), text["en"]
        assert text["da"] != text["en"]
        assert text["en"].endswith(".")
        assert text["da"].endswith(".")


@pytest.mark.parametrize("kpi", list(CATALOGUE), ids=lambda kpi: kpi.id)
def test_edge_rules_say_when_there_is_no_value(kpi: Kpi) -> None:
    if kpi.kind is KpiKind.RATIO and kpi.id not in {"cac", "email_open_rate_human"}:
        for words, language in (("no value|may exceed 1", "en"), ("ingen værdi|overstige 1", "da")):
            assert re.search(words, kpi.edge[language], re.IGNORECASE), kpi.edge[language]


def test_sources_name_files_that_exist() -> None:
    root = Path(__file__).parents[2]
    named = {page for kpi in CATALOGUE for page in re.findall(r"docs/\S+\.md", kpi.source)}
    assert named
    assert all((root / page).is_file() for page in named)


def test_every_measure_is_used_or_has_a_reason_not_to_be() -> None:
    read = {key[0] for kpi in CATALOGUE for formula in kpi.views.values() for key in formula.keys}
    unused = {label(quantity) for quantity in QUANTITY_BY_LABEL.values()} - {label(q) for q in read}
    assert unused == {
        "bot_hits",  # kept raw, never a KPI
        "refund_count",
        "social_impressions",
        "posts",  # evidence that a site posts
        "custom_responses",  # surveys and events of the client's own
        "custom_events",
        "custom_value",
    }


def test_evidence_of_a_quantity_is_itself_and_what_comes_with_it() -> None:
    assert evidence(Measure.REFUNDS) == {Measure.REFUNDS, Measure.ORDERS, Measure.GROSS_REVENUE}
    assert evidence(Measure.EMAILS_SENT) == {Measure.EMAILS_SENT}
    assert evidence(Distinct.VISITORS) == {Measure.VISITS}
    for quantity in QUANTITY_BY_LABEL.values():
        assert evidence(quantity)
    # Evidence comes from the same theme (numbers of one decade); what leads became is told by
    # sales, and the two views of e-mail by each other.
    elsewhere = {
        label(quantity): {other.value // 10 for other in found} - {quantity.value // 10}
        for quantity, found in EVIDENCE.items()
        if isinstance(quantity, Measure)
    }
    emails = {
        name: {3 - Measure[name.upper()].value // 10} for name in elsewhere if "email" in name
    }
    sold = {"leads_converted": {4}, "customers_from_leads": {4}}
    assert {name: others for name, others in elsewhere.items() if others} == emails | sold


def test_money_has_a_currency_and_other_formulas_have_none() -> None:
    assert {measure.label for measure in MONEY} == {
        *("gross_revenue", "refunds", "cost_of_goods", "spend", "custom_value")
    }
    with_money = {kpi.id for kpi in CATALOGUE if any(f.has_money for f in kpi.views.values())}
    assert {kpi.id for kpi in CATALOGUE if kpi.unit in {"currency", "factor"}} | {
        "romi"
    } == with_money


# --- Asking for one ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "meant"),
    [("roaz", "roas"), ("ROAS", "roas"), ("open_rate", "email_open_rate"), ("cplx", "cpl")],
)
def test_an_unknown_kpi_names_the_nearest(said: str, meant: str) -> None:
    with pytest.raises(NotFoundError, match="GET /v1/kpis lists all of them") as caught:
        CATALOGUE.get(said)
    assert caught.value.code == "unknown_kpi"
    assert meant in caught.value.detail["nearest"]
    assert meant in caught.value.message


def test_a_kpi_that_resembles_nothing() -> None:
    with pytest.raises(NotFoundError) as caught:
        CATALOGUE.get("%" * 5000)
    assert caught.value.detail["nearest"] == []
    assert len(caught.value.message) < 250


def test_views_are_chosen_by_name() -> None:
    kpi = CATALOGUE.get("lead_to_customer")
    assert kpi.named_views == ("cohort", "period")
    assert (kpi.view(None), kpi.view("period")) == ("cohort", "period")
    with pytest.raises(InvalidError, match="there is cohort and period") as caught:
        kpi.view("periode")
    assert caught.value.code == "unknown_view"
    assert caught.value.detail["nearest"] == ["period"]


def test_a_kpi_with_one_view_takes_any() -> None:
    """So that one request may ask several KPIs for their cohort view."""
    kpi = CATALOGUE.get("spend")
    assert kpi.named_views == ()
    assert kpi.view("period") == kpi.view(None) == ""


# --- Reading files ----------------------------------------------------------------------------

KPI = """
[[kpi]]
id = "{id}"
title = {{ en = "Half the visits", da = "Halvdelen af besøgene" }}
about = {{ en = "Half the visits.", da = "Halvdelen af besøgene." }}
edge = {{ en = "None.", da = "Ingen." }}
unit = "count"
direction = "up"
kind = "simple"
additivity = "full"
numerator = {{ visits = 0.1 }}
source = "a test"
"""
DEFAULTS = """
[defaults]
breakdowns = ["campaign"]
default_window = "today"
owner = "web"
version = 1
status = "stable"
"""


def test_a_kpi_is_only_data(tmp_path: Path) -> None:
    """A file more is a KPI more; weights are read exactly; files come in the order of names."""
    (tmp_path / "b.toml").write_text(DEFAULTS + KPI.format(id="second") + 'owner = "me"\n')
    (tmp_path / "a.toml").write_text(DEFAULTS + KPI.format(id="first"))
    (tmp_path / "notes.txt").write_text("not a catalogue")
    found = load_catalogue(tmp_path)
    assert isinstance(found, Catalogue)
    assert [(kpi.id, kpi.theme, kpi.owner) for kpi in found] == [
        ("first", "a", "web"),
        ("second", "b", "me"),
    ]
    assert found.get("first").views[""].numerator[0].weight == Fraction(1, 10)


def test_mistakes_in_several_files_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(KPI.format(id="first"))
    (tmp_path / "b.toml").write_text(DEFAULTS + KPI.format(id="Second"))
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(tmp_path)
    missing = ("breakdowns", "default_window", "owner", "version", "status")
    assert caught.value.problems == [
        *(f"a.toml: first: '{key}' is missing" for key in missing),
        "b.toml: Second: the id must be snake_case",
    ]
    assert isinstance(caught.value, StartupError)
    assert str(caught.value).splitlines()[1:] == caught.value.problems


@pytest.mark.parametrize("text", ["[default]\nversion = 1", "[kpi]\nid = 'x'", "defaults = 1"])
def test_a_file_holds_defaults_and_kpis_only(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(
        CatalogueError, match=r"a\.toml: holds \[defaults\] and \[\[kpi\]\] tables only"
    ):
        read_entries(tmp_path)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[[kpi]\n")
    with pytest.raises(CatalogueError, match=r"a\.toml: is not TOML"):
        load_catalogue(tmp_path)


def test_a_kpi_without_an_id_is_reported_by_a_question_mark(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(DEFAULTS + KPI.replace('id = "{id}"\n', "").replace("{{", "{"))
    with pytest.raises(CatalogueError):
        load_catalogue(tmp_path)


def test_the_shipped_files_are_what_is_loaded() -> None:
    entries = read_entries(FOLDER)
    assert [entry.id for entry in entries] == list(CATALOGUE.kpis)
    assert {entry.file for entry in entries} == {path.name for path in FOLDER.iterdir()}
