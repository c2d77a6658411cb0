"""What Prometheus gets to read: valid in both formats, no series twice, none that is NaN."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.requests import Request
from starlette.responses import Response

from service.errors import UnauthorizedError
from service.kpi.catalogue import Catalogue, load_catalogue
from service.kpi.snapshot import Sample, Snapshot
from service.publish.exposition import render
from service.publish.metrics import KpiExposition, MetricsDoor, accepts_openmetrics

AT = datetime(2026, 3, 2, 12, tzinfo=UTC)
CATALOGUE = load_catalogue()
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)


def snapshot(site: str = "shop", *samples: Sample) -> Snapshot:
    return Snapshot(site, "DKK", AT, AT, samples)


def sample(kpi: str = "roas", value: float | None = 2.5, window: str = "today") -> Sample:
    above = None if value is None else 2 * value
    return Sample(kpi, "factor", window, value, None if value else "no_data", above, 2.0)


def series(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by name and labels; fails on doubles."""
    found = [
        ((one.name, tuple(sorted(one.labels.items()))), one.value)
        for family in parse_text(text)
        for one in family.samples
    ]
    assert [key for key, count in Counter(key for key, _ in found).items() if count > 1] == []
    return dict(found)


def test_a_sample_is_a_series_of_each_family() -> None:
    found = series(render([snapshot("shop", sample())], []).decode())
    labels = (("kpi", "roas"), ("site", "shop"), ("window", "today"))
    assert found == {
        ("kompas_kpi_value", labels): 2.5,
        ("kompas_kpi_numerator", labels): 5.0,
        ("kompas_kpi_denominator", labels): 2.0,
        ("kompas_kpi_has_value", labels): 1.0,
        ("kompas_kpi_as_of_timestamp_seconds", (("site", "shop"),)): AT.timestamp(),
        ("kompas_kpi_last_success_timestamp_seconds", (("site", "shop"),)): AT.timestamp(),
        ("kompas_site_info", (("currency", "DKK"), ("site", "shop"))): 1.0,
    }


def test_no_value_is_no_series_and_says_so() -> None:
    found = series(render([snapshot("shop", sample(value=None))], []).decode())
    names = [name for name, _ in found]
    assert "kompas_kpi_value" not in names
    assert "kompas_kpi_numerator" not in names
    assert [value for (name, _), value in found.items() if name == "kompas_kpi_has_value"] == [0.0]


def test_every_kpi_says_what_it_is_a_number_of() -> None:
    found = series(render([], CATALOGUE).decode())
    kinds = {dict(labels)["kpi"]: dict(labels) for _, labels in found}
    assert kinds.keys() == CATALOGUE.kpis.keys()
    assert kinds["roas"]["unit"] == "factor"
    assert kinds["cpa"]["direction"] == "down"


@given(
    st.lists(
        st.tuples(st.text(), st.floats() | st.none() | st.integers(-(2**60), 2**60)),
        max_size=5,
        unique_by=lambda pair: pair[0],
    )
)
def test_any_name_and_number_comes_back(pairs: list[tuple[str, float | None]]) -> None:
    """Labels of any text and values of any size survive both formats; NaN and infinities do not."""
    snapshots = [snapshot(site, sample(value=value)) for site, value in pairs]
    text = render(snapshots, CATALOGUE).decode("utf-8", "surrogatepass")
    expected = {
        site: float(value)
        for site, value in pairs
        if value is not None and abs(value) != float("inf") and value == value  # noqa: PLR0124 - not NaN
    }
    for families in (parse_text(text), parse_openmetrics(text + "# EOF\n")):
        assert _values(families) == expected


def _values(families: Sequence[Metric]) -> dict[str, float]:
    return {
        one.labels["site"]: one.value
        for family in families
        for one in family.samples
        if one.name == "kompas_kpi_value"
    }


class Stored:
    """Stored snapshots, and how often they were read."""

    def __init__(self, *snapshots: Snapshot) -> None:
        self.snapshots: Sequence[Snapshot] = snapshots
        self.version = 1
        self.reads = 0
        self.away = False

    async def stamp(self) -> object:
        if self.away:
            raise ConnectionRefusedError
        return self.version

    async def read(self) -> Sequence[Snapshot]:
        self.reads += 1
        return self.snapshots


async def catalogue() -> Catalogue:
    return CATALOGUE


def door(stored: Stored, token: str | None = None) -> MetricsDoor:
    return MetricsDoor(KpiExposition(stored.stamp, stored.read, catalogue), token)


async def scrape(of: MetricsDoor, **headers: str) -> Response:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return await of.metrics(Request({"type": "http", "headers": raw}))


async def text_of(of: MetricsDoor, **headers: str) -> str:
    return bytes((await scrape(of, **headers)).body).decode()


async def test_snapshots_are_read_only_when_they_are_newer() -> None:
    stored = Stored(snapshot("shop", sample()))
    metrics = door(stored)
    assert 'kpi="roas",window="today"} 2.5' in await text_of(metrics)
    await text_of(metrics)
    assert stored.reads == 1
    stored.snapshots, stored.version = (snapshot("shop", sample(value=3.5)),), 2
    assert 'kpi="roas",window="today"} 3.5' in await text_of(metrics)
    assert stored.reads == 2


async def test_without_the_database_the_process_still_shows_itself() -> None:
    stored = Stored(snapshot("shop", sample()))
    stored.away = True
    metrics = door(stored)
    text = await text_of(metrics)
    assert "kompas_kpi_value" not in text
    assert "kompas_pending_events" in text
    assert "process_cpu_seconds_total" in text
    stored.away = False
    assert "kompas_kpi_value" in await text_of(metrics)
    stored.away = True
    assert "kompas_kpi_value" in await text_of(metrics), "the last known ones, with their age"


async def test_the_format_is_negotiated() -> None:
    metrics = door(Stored(snapshot("shop", sample())))
    plain = await scrape(metrics, accept="text/plain;version=0.0.4")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert series(bytes(plain.body).decode())
    modern = await scrape(metrics, accept=PROMETHEUS, accept_encoding="gzip")
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0;")
    assert modern.headers["content-encoding"] == "gzip"
    text = gzip.decompress(bytes(modern.body)).decode()
    assert text.endswith("# EOF\n")
    assert text.count("# EOF") == 1
    assert len(list(parse_openmetrics(text))) > 20


@pytest.mark.parametrize(
    ("accept", "modern"),
    [
        (PROMETHEUS, True),
        ("application/openmetrics-text", True),
        ("application/openmetrics-text; version=0.0.1", False),
        ("application/openmetrics-text; version=1.0.0; q=0", False),
        ("application/openmetrics-text;version=abc;;q=x", True),
        ("*/*", False),
        ("", False),
    ],
)
def test_openmetrics_only_for_those_who_ask(accept: str, modern: bool) -> None:
    assert accepts_openmetrics(accept) is modern


async def test_a_token_closes_the_door() -> None:
    metrics = door(Stored(), token="metrics-token-1234")  # noqa: S106 - a test's own
    for headers in ({}, {"authorization": "Bearer metrics-token-123"}):
        with pytest.raises(UnauthorizedError):
            await scrape(metrics, **headers)
    answer = await scrape(metrics, authorization="Bearer metrics-token-1234")
    assert answer.status_code == 200


def complaints(promtool: str, text: str) -> str:
    command = [promtool, "check", "metrics"]
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


async def test_promtool_finds_nothing() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        assert "CI" not in os.environ, "CI needs promtool (Debian package prometheus)"
        pytest.skip("promtool is not installed")
    samples = [sample(kpi.id, window=window) for kpi in CATALOGUE for window in ("today", "week")]
    text = await text_of(door(Stored(snapshot("shop", *samples), snapshot("blog", *samples))))
    assert complaints(promtool, text) == ""
    assert series(text)
    assert "_created" not in text
    assert "NaN" not in text
