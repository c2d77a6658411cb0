"""`docs/reference/metrics.md`: every family of `/metrics`, as the code has it."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.metrics import MetricWrapperBase

from service import telemetry
from service.publish.exposition import (
    CATALOGUE_ABOUT,
    CATALOGUE_LABELS,
    CATALOGUE_NAME,
    FAMILIES,
)

_HEAD = """\
# Metrics

`GET /metrics` answers Prometheus text 0.0.4, or OpenMetrics 1.0.0 when `Accept` asks for it. With
`KOMPAS_METRICS_TOKEN` it needs that token: `Authorization: Bearer <token>`.

## KPIs

The worker computes each KPI for each window of `KOMPAS_METRICS_WINDOWS` every
`KOMPAS_METRICS_REFRESH_SECONDS` and stores the result; every replica shows the same. A KPI without
a value has no `kompas_kpi_value` (never NaN, never 0 for lack of data), and a
`kompas_kpi_has_value` of 0.

"""
_TABLE = "| family | type | labels | meaning |\n|---|---|---|---|\n"
_OWN = """
## The service itself

Each process shows its own; sum over `instance`. `route` is a route's template, or `unmatched`.

"""
_TAIL = "\nBeside these: `process_…` and `python_info` of prometheus-client.\n"


def _row(name: str, kind: str, labels: tuple[str, ...], about: str) -> str:
    shown = " ".join(f"`{label}`" for label in labels)
    return f"| `{name}` | {kind} | {shown} | {about} |\n"


def _kpi_rows() -> Iterator[str]:
    for family in FAMILIES:
        yield _row(family.name, "gauge", family.labels, family.about)
    yield _row(CATALOGUE_NAME, "gauge", CATALOGUE_LABELS, CATALOGUE_ABOUT)


def _own_rows() -> Iterator[str]:
    for metric in vars(telemetry).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield _row(name, family.type, tuple(metric._labelnames), family.documentation)


def metrics_page() -> str:
    """The page."""
    return "".join((_HEAD, _TABLE, *_kpi_rows(), _OWN, _TABLE, *_own_rows(), _TAIL))
