"""The shipped catalogue: ids, formulas and texts, and how a folder of files becomes one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from service.domain.measures import Measure
from service.kpi.catalogue import load_catalogue
from service.kpi.definition import Kpi
from service.kpi.formula import (
    EVIDENCE,
    MONEY,
    QUANTITY_BY_LABEL,
    Additivity,
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

EXTRA = (
    "page_views gross_revenue refunds engagement_by_reach email_bounce_rate spam_complaint_rate "
    "units gross_margin breakeven_roas returning_customer_rate customer_retention "
    "orders_per_customer clv_simple cart_conversion cart_abandonment conversion_rate_clicks "
    "invalid_click_rate viewability email_opens_total_rate custom_events custom_value respondents"
)
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
    if formula.factors:
        powers = " * ".join(f"{factor.kpi}^{factor.power}" for factor in formula.factors)
        return f"{formula.weight} * {powers} + {formula.plus}"
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
    "cpa": "spend / new_customers ~ delta | currency down",
    "cac": "spend / new_customers ~ delta | currency down",
    "cpl": "spend / leads ~ delta | currency down",
    "cost_per_order": "spend / orders ~ delta | currency down",
    "cpc": "spend / clicks ~ delta | currency down",
    "cpm": "1000 * spend / impressions ~ delta | currency down",
    "ctr": "clicks / impressions ~ wilson | fraction up",
    "conversion_rate_clicks": "orders / clicks ~ delta | fraction up",
    "invalid_click_rate": "invalid_clicks / (invalid_clicks + clicks) ~ wilson | fraction down",
    "viewability": "viewable_impressions / measurable_impressions ~ wilson | fraction up",
    "roas": "(gross_revenue - refunds) / spend ~ delta | factor up",
    "romi": "(gross_revenue - refunds - spend) / spend ~ delta | fraction up",
    "mer": "(gross_revenue - refunds) / spend ~ delta | factor up",
    "poas": "(gross_revenue - refunds - cost_of_goods) / spend ~ delta | factor up",
    "breakeven_roas":
        "(gross_revenue - refunds) / (gross_revenue - refunds - cost_of_goods) ~ delta"
        " | factor none",
    # sales
    "orders": "orders | count up",
    "revenue": "gross_revenue - refunds | currency up",
    "gross_revenue": "gross_revenue | currency up",
    "units": "units | count up",
    "refunds": "refunds | currency down",
    "aov": "(gross_revenue - refunds) / orders ~ delta | currency up",
    "gross_margin":
        "(gross_revenue - refunds - cost_of_goods) / (gross_revenue - refunds) ~ delta"
        " | fraction up",
    "new_customers": "new_customers | count up",
    "new_customer_rate": "first_time_customers / distinct_customers ~ wilson | fraction none",
    "repeat_purchase_rate": "repeat_customers / distinct_customers ~ wilson | fraction up",
    "returning_customer_rate": "returning_customers / distinct_customers ~ wilson | fraction up",
    "customer_retention cohort": "retained_customers / first_time_customers ~ wilson | fraction up",
    "orders_per_customer": "orders_of_customers / distinct_customers | factor up",
    "clv_simple": "1 * aov^1 * orders_per_customer^1 + 0 | currency up",
    "conversion_rate": "orders / visits ~ delta | fraction up",
    "cart_conversion": "orders / custom_events[event=cart] ~ delta | fraction up",
    "cart_abandonment": "-1 * cart_conversion^1 + 1 | fraction down",
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
    "custom_events": "custom_events | count none",
    "custom_value": "custom_value | currency none",
    # e-mail
    "email_open_rate cohort": "emails_opened / emails_sent ~ wilson | fraction up",
    "email_open_rate period": "emails_opened_period / emails_sent ~ delta | fraction up",
    "email_open_rate_delivered cohort": "emails_opened / emails_delivered ~ wilson | fraction up",
    "email_open_rate_delivered period":
        "emails_opened_period / emails_delivered_period ~ delta | fraction up",
    "email_opens_total_rate period":
        "email_opens / emails_delivered_period ~ delta | fraction up",
    "email_open_rate_human cohort": "emails_opened_human / emails_delivered ~ wilson | fraction up",
    "email_open_rate_human period":
        "emails_opened_human_period / emails_delivered_period ~ delta | fraction up",
    "email_click_rate cohort": "emails_clicked / emails_delivered ~ wilson | fraction up",
    "email_click_rate period":
        "emails_clicked_period / emails_delivered_period ~ delta | fraction up",
    "ctor cohort": "emails_clicked / emails_opened_human ~ wilson | fraction up",
    "ctor period": "emails_clicked_period / emails_opened_human_period ~ delta | fraction up",
    "unsubscribe_rate cohort": "emails_unsubscribed / emails_delivered ~ wilson | fraction down",
    "unsubscribe_rate period":
        "emails_unsubscribed_period / emails_delivered_period ~ delta | fraction down",
    "email_bounce_rate cohort": "emails_bounced / emails_sent ~ wilson | fraction down",
    "email_bounce_rate period": "emails_bounced_period / emails_sent ~ delta | fraction down",
    "spam_complaint_rate cohort": "emails_complained / emails_delivered ~ wilson | fraction down",
    "spam_complaint_rate period":
        "emails_complained_period / emails_delivered_period ~ delta | fraction down",
    # surveys and the brand
    "nps": "100 * (nps_promoters - nps_detractors) / nps_responses ~ nps | points up",
    "enps": "100 * (enps_promoters - enps_detractors) / enps_responses ~ nps | points up",
    "csat": "csat_positive / csat_responses ~ wilson | fraction up",
    "ces": "ces_positive / ces_responses ~ wilson | fraction up",
    "awareness_aided": "aided_aware / aided_responses ~ wilson | fraction up",
    "awareness_unaided": "unaided_aware / unaided_responses ~ wilson | fraction up",
    "respondents": "distinct_respondents | count up",
    "share_of_search":
        "brand_searches / (brand_searches + category_searches) ~ delta | fraction up",
    "engagement_rate": "engagements / followers ~ delta | fraction up",
    "engagement_by_reach": "engagements / reach ~ delta | fraction up",
}  # fmt: skip
"""Every formula with unit and direction, written here a second time: a change is a decision."""


def test_every_formula_is_the_one_that_was_decided() -> None:
    shipped = {
        f"{kpi.id} {view}".strip(): f"{_written(formula)} | {kpi.unit} {kpi.direction}"
        for kpi in CATALOGUE
        for view, formula in kpi.views.items()
    }
    assert shipped == FORMULAS


def test_what_needs_the_cost_of_goods_needs_it_of_every_order() -> None:
    needing = {kpi.id: f.requires for kpi in CATALOGUE for f in kpi.views.values() if f.requires}
    with_cost = {
        kpi.id
        for kpi in CATALOGUE
        if (Measure.COST_OF_GOODS, ()) in frozenset().union(*(f.keys for f in kpi.views.values()))
    }
    assert set(needing) == with_cost == {"poas", "gross_margin", "breakeven_roas"}
    for requirement in needing.values():
        assert (requirement.left, requirement.right) == (Measure.ORDERS_WITH_COST, Measure.ORDERS)
        assert requirement.reason == "missing_cost_of_goods"
    keys = CATALOGUE.get("poas").views[""].keys
    assert {(Measure.ORDERS_WITH_COST, ()), (Measure.ORDERS, ())} <= keys


def test_shares_are_flagged_above_one_and_other_ratios_are_not() -> None:
    fractions = {kpi.id for kpi in CATALOGUE if kpi.unit == "fraction"}
    others = {"romi", "gross_margin", "email_opens_total_rate"}
    assert {kpi.id for kpi in CATALOGUE if kpi.bounded} == fractions - others


def test_cost_kpis_keep_the_spend_visible_when_they_have_no_value() -> None:
    costs = {kpi.id for kpi in CATALOGUE if kpi.unit == "currency" and kpi.direction == "down"}
    assert costs - {"refunds"} == {
        kpi.id for kpi in CATALOGUE if kpi.also_visible == ("spend",)
    } == {"cpa", "cac", "cpl", "cost_per_order", "cpc", "cpm"}  # fmt: skip


SIX = {"channel", "source", "medium", "campaign", "content", "term"}
DETAILED = {"country", "device", "props"}


def test_what_needs_attribution_and_has_none_cannot_be_broken_down() -> None:
    assert CATALOGUE.get("mer").breakdowns == ()
    without_campaign = {kpi.id for kpi in CATALOGUE if "campaign" not in kpi.breakdowns}
    assert without_campaign == {"mer", "share_of_search"}
    surveys = {kpi.id for kpi in CATALOGUE if "survey" in kpi.breakdowns}
    assert surveys == {kpi.id for kpi in CATALOGUE if kpi.theme == "survey"}


def test_breakdowns_are_those_that_the_counts_know() -> None:
    for kpi in CATALOGUE:
        names = set(kpi.breakdowns)
        if kpi.theme in {"ads", "email"} and kpi.id != "mer":
            assert names == SIX, kpi.id
        elif kpi.theme != "brand" and kpi.id != "mer":
            assert names >= SIX | DETAILED, kpi.id
        assert not {"page", "landing_page"} <= names, kpi.id
    by = {
        name: {kpi.id for kpi in CATALOGUE if name in kpi.breakdowns}
        for name in ("product", "event", "page")
    }
    assert by == {
        "product": {"revenue", "gross_revenue", "units"},
        "event": {"custom_events", "custom_value"},
        "page": {"page_views", "custom_events", "custom_value"},
    }


def test_what_follows_a_cohort_is_of_that_kind() -> None:
    cohorts = {kpi.id for kpi in CATALOGUE if kpi.kind is KpiKind.COHORT}
    assert cohorts == {
        *(kpi.id for kpi in CATALOGUE if kpi.theme == "email" and "total" not in kpi.id),
        *("lead_to_customer", "customer_retention"),
    }
    assert all(CATALOGUE.get(kpi_id).default_view == "cohort" for kpi_id in cohorts)


DANISH = re.compile(r"[æøåÆØÅ]|\b(?:og|af|en|et|der|ikke|som|til|pr)\b")


@pytest.mark.parametrize("kpi", list(CATALOGUE), ids=lambda kpi: kpi.id)
def test_texts_are_danish_and_english(kpi: Kpi) -> None:
    assert DANISH.search(kpi.about["da"] + kpi.edge["da"])
    for text in (kpi.about, kpi.edge):
        assert not DANISH.search(text["en"]), text["en"]
        assert text["da"] != text["en"]
        assert text["en"].endswith(".")
        assert text["da"].endswith(".")


WITHOUT_WORDS = {
    "cac",  # as CPA
    "email_open_rate_human",  # as the others
    *("visitors", "respondents"),  # nobody: 0
    *("new_customer_rate", "repeat_purchase_rate"),  # nobody to divide by
}


@pytest.mark.parametrize("kpi", list(CATALOGUE), ids=lambda kpi: kpi.id)
def test_edge_rules_say_when_there_is_no_value(kpi: Kpi) -> None:
    if kpi.additivity is Additivity.NONE and kpi.id not in WITHOUT_WORDS:
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
        "custom_responses",  # surveys of the client's own
        "refunds_by_order",  # instead of refunds, on request
    }


def test_evidence_of_a_quantity_is_itself_and_what_comes_with_it() -> None:
    assert evidence(Measure.REFUNDS) == {Measure.REFUNDS, Measure.ORDERS, Measure.GROSS_REVENUE}
    assert evidence(Measure.EMAILS_SENT) == {Measure.EMAILS_SENT}
    assert evidence(Distinct.VISITORS) == {Measure.VISITS}
    surveys = {measure for measure in Measure if measure.name.endswith("_RESPONSES")}
    assert evidence(Distinct.RESPONDENTS) == surveys
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
        *("gross_revenue", "refunds", "refunds_by_order", "cost_of_goods", "spend"),
        "custom_value",
    }
    with_money = {kpi.id for kpi in CATALOGUE if any(f.has_money for f in kpi.views.values())}
    amounts = {kpi.id for kpi in CATALOGUE if kpi.unit in {"currency", "factor"}}
    assert amounts - {"orders_per_customer"} | {"romi", "gross_margin"} == with_money
