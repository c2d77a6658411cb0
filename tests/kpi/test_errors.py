"""What cannot be answered is refused: with a code, the field, and what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.access import Site, SiteRules
from service.errors import InvalidError, KompasError, NotFoundError
from service.kpi.plan import LONGEST_WAIT_MS, MOST_KPIS, plan, wait_seconds
from service.kpi.query import KpiQuery
from tests.kpi.world import CATALOGUE, NOW

SITE = Site(1, "shop", "Europe/Copenhagen", "DKK", b"", SiteRules(props=("plan",)))


def refusal(*kpis: str, **query: Any) -> KompasError:
    with pytest.raises(KompasError) as refused:
        plan(CATALOGUE, SITE, KpiQuery(kpis=kpis or ("revenue",), **query), NOW)
    return refused.value


HOURS = {"window": "last_365_days", "grain": "hour"}
MISTAKES: list[tuple[dict[str, Any], str, str, str]] = [
    ({"window": "last_30_day"}, "unknown_window", "window", "last_30_days"),
    ({"window": "today", "start": "2026-01-01"}, "invalid_window", "window", "from="),
    ({"start": "2026-01-01"}, "invalid_window", "to", "to="),
    ({"end": "2026-01-01"}, "invalid_window", "from", "from="),
    ({"start": "2026-02-01", "end": "2026-01-01"}, "empty_window", "to", "exclusive"),
    ({"start": "2026-02-01", "end": "2026-02-01"}, "empty_window", "to", "exclusive"),
    ({"start": "2026-02-30", "end": "2026-03-01"}, "invalid_time", "from", "RFC 3339"),
    ({"start": "2026-02-01", "end": "tomorrow"}, "invalid_time", "to", "RFC 3339"),
    ({"start": "2026-05-01", "end": "2026-06-01"}, "future_window", "from", "2026-04-10"),
    ({"tz": "Europe/Copenhagn"}, "unknown_timezone", "tz", "Europe/Copenhagen"),
    ({"tz": "+02:00"}, "unknown_timezone", "tz", "IANA"),
    ({"grain": "minute"}, "unknown_grain", "grain", "hour"),
    (HOURS, "too_many_buckets", "grain", "coarser"),
    ({"by": "chanel"}, "unknown_dimension", "by", "channel"),
    ({"by": "channel,countri"}, "unknown_dimension", "by", "country"),
    ({"by": "props.paln"}, "unknown_dimension", "by", "props.plan"),
    ({"by": "channel,channel"}, "invalid_breakdown", "by", "once"),
    ({"by": "channel,product"}, "invalid_breakdown", "by", "where="),
    ({"by": "channel,source,medium,campaign,term"}, "invalid_breakdown", "by", "at most 4"),
    ({"by": "survey"}, "unsupported_breakdown", "by", "campaign"),
    ({"where": "channle:Email"}, "unknown_dimension", "where", "channel"),
    ({"where": "survey:nps"}, "unsupported_filter", "where", "campaign"),
    ({"where": "Email"}, "invalid_filter", "where", "dimension:value"),
    ({"where": "campaign:*"}, "invalid_filter", "where", "!campaign:"),
    ({"where": "channel:a,!channel"}, "invalid_filter", "where", "dimension:value"),
    ({"compare": "previous_month"}, "unknown_comparison", "compare", "previous_period"),
    ({"compare": "2025-02-01/2025-01-01"}, "empty_window", "compare", "exclusive"),
    ({"model": "frist"}, "unknown_model", "model", "first"),
    ({"model": "linear", "by": "product"}, "unsupported_model", "model", "last_non_direct"),
    ({"currency": "kroner"}, "unknown_currency", "currency", "ISO 4217"),
    ({"currency": "D\x00K"}, "unknown_currency", "currency", "ISO 4217"),
    ({"refunds": "order_day"}, "unknown_refunds", "refunds", "order_date"),
    ({"horizon": 30}, "unsupported_horizon", "horizon", "cohort"),
    ({"horizon": 0}, "invalid_horizon", "horizon", "from 1"),
    ({"horizon": 10_000}, "invalid_horizon", "horizon", "to 730"),
    ({"top": 5}, "invalid_top", "top", "by="),
    ({"top": 0, "by": "channel"}, "invalid_top", "top", "from 1"),
    ({"version": 99}, "unknown_version", "version", "1"),
]


@pytest.mark.parametrize(("query", "code", "field", "hint"), MISTAKES, ids=str)
def test_a_wrong_parameter(query: dict[str, Any], code: str, field: str, hint: str) -> None:
    error = refusal(**query)
    assert 400 <= error.status < 500
    assert (error.code, error.detail["field"]) == (code, field)
    assert hint in error.message
    assert error.message.endswith((".", "?"))


@pytest.mark.parametrize(
    ("query", "nearest"),
    [
        ({"window": "last_30_day"}, "last_30_days"),
        ({"tz": "Europe/Copenhagn"}, "Europe/Copenhagen"),
        ({"grain": "weeek"}, "week"),
        ({"by": "chanel"}, "channel"),
        ({"by": "landingpage"}, "landing_page"),
        ({"where": "campain:spring"}, "campaign"),
        ({"compare": "previous_yaer"}, "previous_year"),
        ({"model": "time-decay"}, "time_decay"),
        ({"refunds": "orderdate"}, "order_date"),
    ],
    ids=str,
)
def test_what_was_meant_is_named_first(query: dict[str, Any], nearest: str) -> None:
    assert refusal(**query).detail["nearest"][0] == nearest


def test_an_own_view_of_a_cohort_has_no_horizon() -> None:
    assert refusal("lead_to_customer", view="period", horizon=30).code == "unsupported_horizon"
    asked = KpiQuery(("lead_to_customer",), view="cohort", horizon=30)
    assert plan(CATALOGUE, SITE, asked, NOW).horizon == 30


def test_an_unknown_kpi_names_the_nearest() -> None:
    error = refusal("revenue", "conversion_rat")
    assert isinstance(error, NotFoundError)
    assert (error.code, error.detail["nearest"][0]) == ("unknown_kpi", "conversion_rate")


def test_an_unknown_view_names_those_there_are() -> None:
    error = refusal("lead_to_customer", view="kohort")
    assert (error.code, error.detail["nearest"]) == ("unknown_view", ["cohort"])
    assert plan(CATALOGUE, SITE, KpiQuery(("revenue",), view="cohort"), NOW).order[0].view == ""
    assert refusal("revenue", view="banana").code == "unknown_view"
    assert refusal("revenue", view="").code == "unknown_view"


@pytest.mark.parametrize("currency", ["kroner", "D", "", "ßa", "ﬁm"])
def test_a_currency_is_three_letters(currency: str) -> None:
    assert refusal("revenue", currency=currency).code == "unknown_currency"


def test_a_kpi_that_cannot_be_broken_down_says_so() -> None:
    error = refusal("revenue", "mer", by="channel")
    assert (error.code, error.detail["supported"]) == ("unsupported_breakdown", [])
    assert error.message.startswith("mer ")
    assert refusal("mer", where="channel:Email").code == "unsupported_filter"


@pytest.mark.parametrize("kpis", [(), ("spend",) * (MOST_KPIS + 1)])
def test_the_number_of_kpis_is_bounded(kpis: tuple[str, ...]) -> None:
    with pytest.raises(InvalidError) as refused:
        plan(CATALOGUE, SITE, KpiQuery(kpis), NOW)
    assert refused.value.code == "invalid_kpis"


def test_the_wait_is_bounded() -> None:
    assert wait_seconds(KpiQuery(("spend",)), 2.0) == 2.0
    assert wait_seconds(KpiQuery(("spend",), wait_ms=0), 2.0) == 0
    assert wait_seconds(KpiQuery(("spend",), wait_ms=30_000), 2.0) == 30
    assert wait_seconds(KpiQuery(("spend",), wait_ms=LONGEST_WAIT_MS * 9), 2.0) == 60
    with pytest.raises(InvalidError):
        wait_seconds(KpiQuery(("spend",), wait_ms=-1), 2.0)
