"""What the overview shows, as tables: KPIs, and charts of the service's own metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

CHOSEN = 'site="$site", window="$window"'
"""The reader's choice, as labels of every KPI's series."""

HEADLINE = (
    *("visits", "organic_visits", "conversion_rate", "orders", "revenue", "aov"),
    *("spend", "roas", "cpa", "cpl", "cpc", "ctr"),
    *("lead_to_customer", "email_open_rate", "engagement_rate", "nps", "csat", "awareness_aided"),
)

TRENDS = {
    "Visits": ("visits", "organic_visits", "visitors"),
    "Orders and leads": ("orders", "leads", "new_customers"),
    "Revenue and ad spend": ("revenue", "spend"),
    "Return": ("roas", "mer", "poas"),
    "Costs": ("cpa", "cpl", "cost_per_order", "cpc"),
    "Rates": ("conversion_rate", "lead_to_customer", "ctr", "organic_share"),
    "E-mail": ("email_open_rate", "email_click_rate", "unsubscribe_rate"),
    "Satisfaction and awareness": ("csat", "ces", "awareness_aided", "share_of_search"),
    "Net promoter scores": ("nps", "enps"),
}
"""KPIs of one unit together, over time."""

THEMES = {
    "web": "Every KPI of the website",
    "sales": "Every KPI of sales",
    "ads": "Every KPI of advertising",
    "email": "Every KPI of e-mail",
    "survey": "Every KPI of surveys",
    "brand": "Every KPI of the brand",
}
"""Titles of the catalogue's files; a file without one fails the build."""


@dataclass(frozen=True)
class Chart:
    """One panel of lines: its queries by legend, and names for lines that a query names by id."""

    title: str
    description: str
    unit: str
    queries: Mapping[str, str]
    decimals: int | None = None
    names: tuple[tuple[str, str], ...] = ()


def per_second(metric: str, by: str = "", where: str = "") -> str:
    """The rate of a counter over all replicas, by labels."""
    grouped = f" by ({by})" if by else ""
    return f"sum{grouped} (rate({metric}{where}[$__rate_interval]))"


def quantile(share: float, metric: str, by: str = "") -> str:
    """A quantile of a histogram over all replicas."""
    return f"histogram_quantile({share}, {per_second(f'{metric}_bucket', f'le{by}')})"


INGESTION = (
    Chart(
        "Events by kind",
        "Events accepted, each counted after its commit.",
        "eps",
        {"{{kind}}": per_second("kompas_events_total", "kind", '{outcome="accepted"}')},
    ),
    Chart(
        "Events by outcome",
        "Accepted, duplicate (the same id again: harmless) or rejected.",
        "eps",
        {"{{outcome}}": per_second("kompas_events_total", "outcome")},
    ),
    Chart(
        "Rejections by code",
        "Why events were refused; GET /v1/rejections shows each of them.",
        "eps",
        {"{{code}}": per_second("kompas_rejections_total", "code")},
    ),
    Chart(
        "Commit seconds",
        "One commit of a batch, from sending its statement to the database's answer.",
        "s",
        {
            "p50": quantile(0.5, "kompas_commit_seconds"),
            "p99": quantile(0.99, "kompas_commit_seconds"),
        },
    ),
    Chart(
        "Events per commit",
        "The mean batch: it grows with the load, while the number of commits stays.",
        "locale",
        {
            "events": f"{per_second('kompas_batch_events_sum')}"
            f" / {per_second('kompas_batch_events_count')}"
        },
        1,
    ),
    Chart(
        "Waiting and failing",
        "Events in memory that wait for their commit, and attempts to commit that failed:"
        " both near 0 unless Postgres is slow or away.",
        "locale",
        {
            "events waiting": "sum(kompas_pending_events)",
            "failed commits in 5 min": "sum(increase(kompas_commit_failures_total[5m]))",
        },
        0,
    ),
)

PROJECTION = (
    Chart(
        "Projection lag",
        "Seconds from the receipt of an event to its being counted; 0 when none waits.",
        "s",
        {"lag": "max(kompas_projection_lag_seconds)"},
    ),
    Chart(
        "Events projected",
        "Events of the log turned into visits, journeys and rollups.",
        "eps",
        {"events": per_second("kompas_projected_events_total")},
    ),
    Chart(
        "Projection seconds",
        "One projection transaction, from the choice of its batches to its commit.",
        "s",
        {
            "p50": quantile(0.5, "kompas_projection_seconds"),
            "p99": quantile(0.99, "kompas_projection_seconds"),
        },
    ),
    Chart(
        "Projection failures",
        "Projection transactions rolled back, and batches set aside because they failed by"
        " themselves: anything above 0 deserves a look at the log.",
        "locale",
        {
            "rolled back in 5 min": "sum(increase(kompas_projection_failures_total[5m]))"
            " or vector(0)",
            "batches set aside": "sum(kompas_parked_batches_total)",
        },
        0,
    ),
)

FAILED = per_second("kompas_http_requests_total", where='{status=~"5.."}')
REQUESTS = (
    Chart(
        "Requests by route and status",
        "Requests answered, by route template.",
        "reqps",
        {"{{route}} {{status}}": per_second("kompas_http_requests_total", "route, status")},
    ),
    Chart(
        "Request seconds at p99",
        "From the first byte of a request to the end of its answer.",
        "s",
        {"{{route}}": quantile(0.99, "kompas_http_request_seconds", ", route")},
    ),
    Chart(
        "Requests that failed",
        "The share of requests answered with a status from 500 on.",
        "percentunit",
        {"failed": f"({FAILED} or vector(0)) / {per_second('kompas_http_requests_total')}"},
        2,
    ),
)


AGES = {
    "Numbers counted up to": (
        "Every event before this moment is in the numbers.",
        "dateTimeAsIso",
        'max(kompas_kpi_as_of_timestamp_seconds{site="$site"}) * 1000',
    ),
    "Age of the numbers": (
        "How long ago that was: the refresh interval and the projection lag together.",
        "s",
        'time() - max(kompas_kpi_as_of_timestamp_seconds{site="$site"})',
    ),
    "Since the last refresh": (
        "Seconds since the numbers were last computed with success (KOMPAS_METRICS_REFRESH_SECONDS"
        " apart).",
        "s",
        'time() - max(kompas_kpi_last_success_timestamp_seconds{site="$site"})',
    ),
    "KPIs with a value": (
        "The share of all KPIs that have a value in this window. The others lack events, or divide"
        " by zero: they are absent, never 0.",
        "percentunit",
        f"avg(max by (kpi) (kompas_kpi_has_value{{{CHOSEN}}}))",
    ),
}
"""Single numbers about the numbers: description, unit, query."""
