"""KPI snapshots as Prometheus families: rendered once per snapshot, the same in both formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from service.kpi.definition import Kpi
from service.kpi.snapshot import Sample, Snapshot

Row = tuple[tuple[str, ...], float]
"""The values of a family's labels, and of the sample."""


@dataclass(frozen=True)
class Family:
    """One gauge of `/metrics`; `rows` finds its samples in a snapshot."""

    name: str
    about: str
    labels: tuple[str, ...]
    rows: Callable[[Snapshot], Iterable[Row]]


def _of_samples(pick: Callable[[Sample], float | None]) -> Callable[[Snapshot], Iterator[Row]]:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for sample in snapshot.samples:
            value = pick(sample)
            # No value, no series: NaN would poison averages and fire alerts.
            if value is not None and value - value == 0:
                yield (snapshot.site, sample.kpi, sample.window), value

    return rows


def _info(snapshot: Snapshot) -> Iterator[Row]:
    yield (snapshot.site, snapshot.currency), 1.0


def _as_of(snapshot: Snapshot) -> Iterator[Row]:
    yield (snapshot.site,), snapshot.as_of.timestamp()


def _taken(snapshot: Snapshot) -> Iterator[Row]:
    yield (snapshot.site,), snapshot.taken_at.timestamp()


_KPI = ("site", "kpi", "window")

FAMILIES = (
    Family(
        "kompas_kpi_value",
        "The KPI over the window; ratios are fractions of 1, amounts are in the site's currency."
        " Absent when there is no value.",
        _KPI,
        _of_samples(lambda sample: sample.value),
    ),
    Family(
        "kompas_kpi_numerator",
        "What the KPI's value is made of, above the line.",
        _KPI,
        _of_samples(lambda sample: sample.numerator),
    ),
    Family(
        "kompas_kpi_denominator",
        "What the KPI's value is made of, below the line; absent for plain sums.",
        _KPI,
        _of_samples(lambda sample: sample.denominator),
    ),
    Family(
        "kompas_kpi_has_value",
        "1 when the KPI has a value over the window, 0 when not (no data, nothing to divide by).",
        _KPI,
        _of_samples(lambda sample: float(sample.value is not None)),
    ),
    Family(
        "kompas_kpi_as_of_timestamp_seconds",
        "Everything that came in before this instant is counted.",
        ("site",),
        _as_of,
    ),
    Family(
        "kompas_kpi_last_success_timestamp_seconds",
        "When the numbers were last refreshed without failure.",
        ("site",),
        _taken,
    ),
    Family("kompas_site_info", "Reporting currency of each site.", ("site", "currency"), _info),
)
CATALOGUE_NAME = "kompas_kpi_info"
CATALOGUE_LABELS = ("kpi", "unit", "direction", "version")
CATALOGUE_ABOUT = "What each KPI's value is a number of, and which way is better."


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _block(name: str, about: str, labels: Sequence[str], rows: Iterable[Row]) -> Iterator[str]:
    yield f"# HELP {name} {about}\n# TYPE {name} gauge\n"
    for values, number in rows:
        pairs = ",".join(
            f'{label}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True)
        )
        yield f"{name}{{{pairs}}} {float(number)!r}\n"


def render(snapshots: Sequence[Snapshot], kpis: Iterable[Kpi]) -> bytes:
    """Every family, then the catalogue's; UTF-8 that is both text 0.0.4 and OpenMetrics."""
    parts: list[str] = []
    for family in FAMILIES:
        rows = (row for snapshot in snapshots for row in family.rows(snapshot))
        parts += _block(family.name, family.about, family.labels, rows)
    catalogue = (((kpi.id, kpi.unit, kpi.direction, str(kpi.version)), 1.0) for kpi in kpis)
    parts += _block(CATALOGUE_NAME, CATALOGUE_ABOUT, CATALOGUE_LABELS, catalogue)
    return "".join(parts).encode()
