"""Spreadsheets through the HTTP doors of a running service, against independent answers.

The files lie outside the project; where they are missing these tests say so and skip.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import pytest

from tests.acceptance.real import SHARED, answers, between, close, needs_data, send
from tests.running import Service

pytestmark = needs_data

# --- Advertising: 308 campaign-days in rupees -------------------------------------------------

ADS = SHARED / "data/ads/Marketing.csv"
FEBRUARY = {"from": "2021-02-01", "to": "2021-03-01"}


@pytest.fixture(scope="module")
def ads(service: Service) -> Service:
    site = service.of_site("ads", "Asia/Kolkata", "INR")

    def imported(kind: str, *options: str) -> str:
        command = [sys.executable, "-m", "service.cli", "import", kind, str(ADS)]
        target = ["--url", site.url, "--key", site.key, "--map", "campaign=Campaign Name"]
        result = subprocess.run(
            [*command, *target, *options], check=False, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    spend = ["date=C Date", "cost=Mark Spent", "impressions=Impressions", "clicks=Clicks"]
    outcome = ["occurred_at=C Date"]
    arguments = {
        "ad-spend": (*spend, "source=Category"),
        "leads": (*outcome, "quantity=Leads", "source=Category"),
        "conversions": (*outcome, "quantity=Orders", "value=Revenue", "source=Category"),
    }
    for kind, fields in arguments.items():
        options = [option for field in fields for option in ("--map", field)]
        if kind != "leads":
            options += ["--set", "currency=INR"]
        assert imported(kind, *options) == "308 accepted, 0 duplicates, 0 rejected\n"
    # Importing the same files again changes nothing.
    again = [option for field in arguments["conversions"] for option in ("--map", field)]
    out = imported("conversions", *again, "--set", "currency=INR")
    assert out == "0 accepted, 308 duplicates, 0 rejected\n"
    return site


EXACT = {
    "spend": "spend",
    "revenue": "revenue",
    "impressions": "impressions",
    "clicks": "clicks",
    "leads": "leads",
    "orders": "orders",
}
RATIOS = {
    "roas": "roas",
    "romi": "romi",
    "cpl": "cpl",
    "cost_per_order": "cac",
    "aov": "aov",
    "ctr": "ctr",
    "cpc": "cpc",
    "cpm": "cpm",
}


def agree(kpi: str, found: Any, figure: float) -> bool:
    """Counts and sums of cents exactly, quotients closely."""
    if kpi in EXACT:
        return bool(found["value"] == round(Decimal(str(figure)), 2))
    return close(found["value"], figure)


def test_ads_totals(ads: Service) -> None:
    total = answers("ads_marketing")["total"]
    for kpi, name in EXACT.items():
        expected = Decimal(str(total[name]))
        assert ads.kpi(kpi, **FEBRUARY)["value"] == expected, kpi
    for kpi, name in RATIOS.items():
        assert close(ads.kpi(kpi, **FEBRUARY)["value"], total[name]), kpi
    lead_to_order = ads.kpi("lead_to_customer", view="period", **FEBRUARY)
    assert close(lead_to_order["value"], total["lead_to_order"])
    assert between(lead_to_order["interval"], total["lead_to_order_wilson95"], "wilson")


def test_ads_by_campaign(ads: Service) -> None:
    expected = answers("ads_marketing")["by_campaign"]
    for kpi, name in (EXACT | RATIOS).items():
        rows = ads.kpi(kpi, by="campaign", **FEBRUARY)["breakdown"]
        assert {row["campaign"] for row in rows} == set(expected)
        for row in rows:
            assert agree(kpi, row, expected[row["campaign"]][name]), (kpi, row)


def test_ads_by_source(ads: Service) -> None:
    """The file's category came in as the source."""
    expected = answers("ads_marketing")["by_category"]
    for kpi, name in (EXACT | RATIOS).items():
        rows = ads.kpi(kpi, by="source", **FEBRUARY)["breakdown"]
        assert {row["source"] for row in rows} == set(expected)
        for row in rows:
            assert agree(kpi, row, expected[row["source"]][name]), (kpi, row)


@pytest.mark.parametrize(("grain", "key"), [("day", "by_day"), ("week", "by_iso_week")])
def test_ads_series(ads: Service, grain: str, key: str) -> None:
    expected = answers("ads_marketing")[key]
    assert len(expected) == {"day": 28, "week": 4}[grain]
    for kpi, name in (EXACT | RATIOS).items():
        series = ads.kpi(kpi, grain=grain, **FEBRUARY)["series"]
        for point, (when, figures) in zip(series, expected.items(), strict=True):
            day = date.fromisoformat(point["from"][:10])
            year, week, _ = day.isocalendar()
            assert when == (day.isoformat() if grain == "day" else f"{year}-W{week:02}")
            assert agree(kpi, point, figures[name]), (kpi, when)


def test_ads_by_campaign_and_source(ads: Service) -> None:
    """Several dimensions at once: campaigns lie within their category; the rest adds up."""
    expected = answers("ads_marketing")
    found = ads.kpi("revenue", by="source,campaign", top=4, **FEBRUARY)
    for row in found["breakdown"]:
        figure = expected["by_campaign"][row["campaign"]]["revenue"]
        assert row["value"] == figure
    assert found["rest"]["rows"] == len(expected["by_campaign"]) - 4
    shown = sum(row["value"] for row in found["breakdown"])
    assert shown + found["rest"]["value"] == found["value"] == expected["total"]["revenue"]
    social = ads.kpi("roas", where="source:social", **FEBRUARY)
    assert close(social["value"], expected["by_category"]["social"]["roas"])
    others = ads.kpi("spend", where="!campaign:facebook*,!campaign:facebOOK*", **FEBRUARY)
    spent = [
        Decimal(str(figures["spend"]))
        for name, figures in expected["by_campaign"].items()
        if not name.lower().startswith("facebook")
    ]
    assert others["value"] == round(sum(spent), 2)


def delta(days: list[tuple[float, float]]) -> list[float]:
    """The 95 % interval of a ratio of sums, the day being the unit (GrowthBook, eq. 11 and 12)."""
    count = len(days)
    above, below = (sum(day[side] for day in days) / count for side in (0, 1))
    ratio = above / below
    squares = sum((top - ratio * bottom - (above - ratio * below)) ** 2 for top, bottom in days)
    error = (squares / (count - 1) / count) ** 0.5 / below
    return [ratio - 1.959963984540054 * error, ratio + 1.959963984540054 * error]


def test_ads_intervals_of_campaigns(ads: Service) -> None:
    """Each campaign has one row a day, so the answers' unit is ours."""
    expected = answers("ads_marketing")["uncertainty"]["roas_by_campaign_delta"]
    for campaign, figures in expected.items():
        assert figures["n_units"] == 28
        roas = ads.kpi("roas", where=f"campaign:{campaign}", **FEBRUARY)
        assert close(roas["value"], figures["ratio"])
        assert between(roas["interval"], figures["ci95"], "delta"), campaign


@pytest.mark.parametrize(
    ("kpi", "above", "below"),
    [
        ("roas", "revenue", "spend"),
        ("cpl", "spend", "leads"),
        ("cost_per_order", "spend", "orders"),
        ("aov", "revenue", "orders"),
        ("cpc", "spend", "clicks"),
    ],
)
def test_ads_intervals_of_all(ads: Service, kpi: str, above: str, below: str) -> None:
    """Of all campaigns together the unit is the day, and not the answers' campaign-day."""
    days = answers("ads_marketing")["by_day"].values()
    found = ads.kpi(kpi, **FEBRUARY)["interval"]
    assert between(found, delta([(day[above], day[below]) for day in days]), "delta")


def test_ads_on_weekdays_and_weekends(ads: Service) -> None:
    """The answers' two sums, out of the daily series."""
    expected = answers("ads_marketing")
    for kpi in ("revenue", "spend", "leads", "orders"):
        series = ads.kpi(kpi, grain="day", **FEBRUARY)["series"]
        sums = [Decimal(0), Decimal(0)]
        for point in series:
            sums[date.fromisoformat(point["from"][:10]).weekday() >= 5] += point["value"]
        named = [expected[name][kpi] for name in ("weekday", "weekend")]
        assert sums == [round(Decimal(str(figure)), 2) for figure in named]


# --- E-mail: 100,000 sent ---------------------------------------------------------------------


def email_ids(name: str) -> list[str]:
    with (SHARED / "data/email" / name).open() as file:
        next(file)
        return [line.strip() for line in file]


def test_email(service: Service) -> None:
    site = service.of_site("email", "Europe/Copenhagen", "DKK")
    opened, clicked = email_ids("email_opened_table.csv"), email_ids("link_clicked_table.csv")
    known = {*opened, *clicked}
    others = (str(n) for n in range(1, 1_000_001) if str(n) not in known)
    sent = [*known, *islice(others, 100_000 - len(known))]

    def events(kind: str, ids: list[str], at: str) -> Iterator[dict[str, str]]:
        for message in ids:
            yield {"kind": kind, "message": message, "occurred_at": at, "id": f"{kind}:{message}"}

    for kind, ids, at in (
        ("email_clicked", clicked, "2024-05-02T09:00:00Z"),  # before the others: order is free
        ("email_sent", sent, "2024-05-01T08:00:00Z"),
        ("email_opened", opened, "2024-05-01T20:00:00Z"),
    ):
        assert send(site, "/v1/events", events(kind, ids, at)) == (len(ids), 0)
    may = {"from": "2024-05-01", "to": "2024-06-01", "wait": 30_000}
    expected = answers("email")
    opens = site.kpi("email_open_rate", **may)
    assert (opens["numerator"], opens["denominator"]) == (10_345, 100_000)
    assert close(opens["value"], expected["open_rate"])
    assert between(opens["interval"], expected["open_wilson95"], "wilson")
    clicks = site.kpi("email_click_rate", **may)
    assert (clicks["numerator"], clicks["denominator"]) == (2_119, 100_000)
    assert close(clicks["value"], expected["click_rate"])
    assert between(clicks["interval"], expected["click_wilson95"], "wilson")
    assert close(site.kpi("ctor", **may)["value"], expected["ctor_confirmed"])
    assert close(site.kpi("ctor", version=1, **may)["value"], expected["ctor_naive"])
    human = site.kpi("email_open_rate_human", **may)
    assert close(human["value"], expected["confirmed_open_rate"])
    # In the period view, the clicks of May 2 are the clicks of May 2.
    second = {"from": "2024-05-02", "to": "2024-05-03", "view": "period"}
    assert site.kpi("email_click_rate", **second)["numerator"] == 2_119


# --- Survey: NPS with a code that is no score -------------------------------------------------


def surveyed() -> list[dict[str, str]]:
    with (SHARED / "data/survey/2017_SFO_Customer_Survey.csv").open(encoding="utf-8-sig") as file:
        return [
            {k.strip(): (v or "").strip() for k, v in row.items()} for row in csv.DictReader(file)
        ]


def scores(survey: str, column: str) -> list[dict[str, Any]]:
    return [
        {
            "survey": survey,
            "score": int(float(row[column])),
            "respondent": row["RESPNUM"],
            "id": f"{survey}:{row['RESPNUM']}",
            "props": {"area": row["BAREA"]},
            "occurred_at": f"2017-05-{int(row['INTDATE']):02}T23:59:59.999999-07:00",
        }
        for row in surveyed()
        if row[column] not in {"", "Blank"}
    ]


def test_survey(service: Service) -> None:
    site = service.of_site("airport", "America/Los_Angeles", "USD", dimensions=["area"])
    expected = answers("survey_2017")
    accepted, rejected = send(site, "/v1/survey-answers", scores("nps", "NETPRO"))
    assert (accepted, rejected) == (2_746, 84)
    codes = {row["code"] for row in site.get("/v1/rejections", limit=100).json["rejections"]}
    assert codes == {"not_a_score"}
    may = {"from": "2017-05-01", "to": "2017-06-01"}
    answer = site.kpi("nps", grain="day", by="props.area", **may)
    assert is_nps(answer, expected["nps"])
    days = {str(day): figures for day, figures in enumerate(answer["series"], start=1)}
    for day, figures in expected["nps"]["by_day_of_month_2017_05"].items():
        assert is_nps(days.pop(day), figures), day
    assert {point["reason"] for point in days.values()} == {"zero_denominator"}
    areas = {row["props.area"]: row for row in answer["breakdown"]}
    assert areas.keys() == expected["nps"]["by_boarding_area"].keys()
    for area, figures in expected["nps"]["by_boarding_area"].items():
        assert is_nps(areas[area], figures), area
    accepted, rejected = send(site, "/v1/survey-answers", scores("csat", "Q7ALL"))
    assert accepted == 2_688
    csat = site.kpi("csat", **may)
    assert (csat["numerator"], csat["denominator"]) == (2_206, 2_688)
    assert close(csat["value"], expected["csat"]["csat"])
    assert between(csat["interval"], expected["csat"]["wilson95"], "wilson")


def is_nps(found: Any, figures: Any) -> bool:
    assert found["denominator"] == figures["n"]
    assert found["numerator"] == figures["promoters"] - figures["detractors"]
    interval = between(found["interval"], figures["adj_wald"]["ci95"], "adjusted_wald")
    return close(found["value"], figures["nps"]) and interval


# --- Social: 500 posts ------------------------------------------------------------------------


def posts() -> list[dict[str, Any]]:
    """The type stands in for the campaign, and whether it was paid for the content."""
    with (SHARED / "data/social/dataset_Facebook.csv").open() as file:
        return [
            {
                "network": "facebook",
                "post": str(number),
                "campaign": row["Type"],
                "content": row["Paid"],
                "likes": int(row["like"] or 0),
                "comments": int(row["comment"] or 0),
                "shares": int(row["share"] or 0),
                "followers": int(row["Page total likes"]),
                "reach": int(row["Total Reach"]),
                "occurred_at": f"2014-{int(row['Post Month']):02}-15T12:00:00Z",
            }
            for number, row in enumerate(csv.DictReader(file, delimiter=";"))
        ]


def test_social(service: Service) -> None:
    site = service.of_site("page", "Europe/Lisbon", "EUR")
    # Yesterday's counts first: the newer statement replaces them.
    older = [{**post, "likes": post["likes"] // 2} for post in posts()[:100]]
    assert send(site, "/v1/social-posts", older) == (100, 0)
    assert send(site, "/v1/social-posts", posts()) == (500, 0)
    expected = answers("social_facebook")
    year = {"from": "2014-01-01", "to": "2015-01-01"}
    answer = site.kpi("engagement_rate", grain="month", **year)
    assert answer["numerator"] == expected["total"]["interactions"] == 106_060
    assert close(answer["value"], expected["total"]["C_sum_over_sum_followers"])
    for month, point in enumerate(answer["series"], start=1):
        assert is_engagement(point, expected["by_month"][str(month)])
    for by, name in (("campaign", "by_type"), ("content", "by_paid")):
        rows = site.kpi("engagement_rate", by=by, **year)["breakdown"]
        assert len(rows) == len(expected[name])
        for row in rows:
            assert is_engagement(row, expected[name][row[by] or "(null)"])
    assert close(site.kpi("engagement_by_reach", **year)["value"], expected["total"]["by_reach"])


def is_engagement(found: Any, figures: Any) -> bool:
    assert found["numerator"] == figures["interactions"]
    return close(found["value"], figures["C_sum_over_sum_followers"])


def test_social_interval_of_posts(service: Service) -> None:
    """The answers' unit is the post: with a day for each post, it is ours."""
    site = service.of_site("daily", "UTC", "EUR")
    first = datetime(2013, 1, 1, 12, tzinfo=UTC)
    daily = [
        {**post, "occurred_at": (first + timedelta(days=number)).isoformat()}
        for number, post in enumerate(posts())
    ]
    assert send(site, "/v1/social-posts", daily) == (500, 0)
    days = {"from": "2013-01-01", "to": (first + timedelta(days=500)).date().isoformat()}
    expected = answers("social_facebook")["uncertainty"]["C_delta"]
    assert expected["n_units"] == 500
    found = site.kpi("engagement_rate", **days)
    assert close(found["value"], expected["ratio"])
    assert between(found["interval"], expected["ci95"], "delta")
