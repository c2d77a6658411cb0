"""The overview: complete, tidy, and every query of it answered by a real Prometheus."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from service.kpi.catalogue import load_catalogue
from service.kpi.formula import Unit
from tests.deploy.scraping import DEPLOY, EMPTY_SITE, Prometheus, until

GRAFANA = DEPLOY / "grafana"
OVERVIEW: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "overview.json").read_text())
UNITS = {
    Unit.FRACTION: "percentunit",
    Unit.COUNT: "locale",
    Unit.CURRENCY: "locale",
    Unit.FACTOR: "suffix:\u00d7",
    Unit.POINTS: "suffix:points",
}
CURRENT_PANELS = {"stat", "timeseries", "table"}
WITHOUT_VALUE = "== 0"
"""What lists gaps has nothing to show for a site without gaps."""


def panels() -> Iterator[dict[str, Any]]:
    """Every panel but the rows, also those inside closed rows."""
    for outer in OVERVIEW["panels"]:
        yield from outer.get("panels", ())
        if outer["type"] != "row":
            yield outer


def expressions() -> list[str]:
    """Every different query."""
    return sorted({target["expr"] for panel in panels() for target in panel["targets"]})


def filled(expression: str, site: str = "default") -> str:
    """With the reader's choice in the place of the variables."""
    choice = {"site": site, "window": "last_30_days", "__rate_interval": "1m"}
    return re.sub(r"\$(\w+)", lambda found: choice[found[1]], expression)


def overview_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "overview.py"), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_dashboard_is_what_the_catalogue_says(tmp_path: Path) -> None:
    current = overview_script(GRAFANA, "--check")
    assert current.returncode == 0, current.stderr
    for script in GRAFANA.glob("*.py"):
        shutil.copy(script, tmp_path)
    (tmp_path / "dashboards").mkdir()
    assert "make docs" in overview_script(tmp_path, "--check").stderr
    assert overview_script(tmp_path).returncode == 0
    assert json.loads((tmp_path / "dashboards" / "overview.json").read_text()) == OVERVIEW


def test_ids_and_letters_are_unique() -> None:
    rows = [panel for panel in OVERVIEW["panels"] if panel["type"] == "row"]
    ids = Counter(panel["id"] for panel in [*rows, *panels()])
    assert set(ids.values()) == {1}
    for panel in panels():
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters) > 0


@pytest.mark.parametrize("panel", [*panels()], ids=lambda panel: f"{panel['id']} {panel['title']}")
def test_a_panel_explains_itself(panel: dict[str, Any]) -> None:
    assert panel["type"] in CURRENT_PANELS
    assert len(panel["description"]) > 20
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24


def test_each_kpi_has_a_panel_with_its_unit() -> None:
    rows = {row["id"]: row["panels"] for row in OVERVIEW["panels"] if row.get("collapsed")}
    closed = {p["targets"][0]["expr"]: p for inside in rows.values() for p in inside}
    shown = {re.findall(r'kpi="(\w+)"', expression)[0]: p for expression, p in closed.items()}
    assert set(shown) == {kpi.id for kpi in load_catalogue()}
    for kpi in load_catalogue():
        panel = shown[kpi.id]
        assert panel["title"].startswith(kpi.title["en"])
        assert kpi.about["en"] in panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"] == UNITS[kpi.unit]
        assert ("${currency}" in panel["title"]) == (kpi.unit is Unit.CURRENCY)


def test_the_datasource_is_the_provisioned_one() -> None:
    provisioned = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "kompas.yaml").read_text()
    )
    (source,) = provisioned["datasources"]
    queries = [target for panel in panels() for target in panel["targets"]]
    for user in [*panels(), *queries, *OVERVIEW["templating"]["list"]]:
        assert user["datasource"] == {"type": source["type"], "uid": source["uid"]}
    # What Grafana fills in when a person imports a file, and never when it is provisioned.
    assert "__inputs" not in OVERVIEW
    assert "${DS_" not in json.dumps(OVERVIEW)


@pytest.mark.parametrize("expression", expressions())
def test_queries_are_promql(expression: str) -> None:
    promql_parser.parse(filled(expression))


def test_every_query_finds_something(prometheus: Prometheus) -> None:
    """In one test, because they wait for the same scrapes."""
    missing = set(expressions())
    assert len(missing) > 60

    def all_found() -> bool:
        for expression in tuple(missing):
            site = EMPTY_SITE if expression.endswith(WITHOUT_VALUE) else "default"
            if any(map(math.isfinite, prometheus.numbers(filled(expression, site)))):
                missing.remove(expression)
        return not missing

    try:
        until(all_found, "data for every query")
    finally:
        assert missing == set()


def test_a_site_without_gaps_lists_none(prometheus: Prometheus) -> None:
    (gaps,) = [query for query in expressions() if query.endswith(WITHOUT_VALUE)]
    assert prometheus.numbers(filled(gaps)) == []
    assert len(prometheus.numbers(filled(gaps, EMPTY_SITE))) == len(load_catalogue().kpis)


def test_replicas_do_not_double_a_kpi(prometheus: Prometheus) -> None:
    """Each expression on a KPI takes the maximum over whatever else tells its series apart."""
    for expression in expressions():
        if "kompas_kpi_value" in expression:
            assert expression.startswith("max by (kpi) (")
    (orders,) = (e for e in expressions() if 'kpi="orders"' in e)
    assert prometheus.numbers(filled(orders)) == [4.0]


def variable(name: str) -> tuple[str, str]:
    """The series and the label that a variable's values come from."""
    (found,) = [v for v in OVERVIEW["templating"]["list"] if v["name"] == name]
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", found["query"]["query"])
    assert match
    return match[1], match[2]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("site", {"default", EMPTY_SITE}),
        ("window", {"today", "last_30_days"}),
        ("currency", {"DKK"}),
    ],
)
def test_variables_have_values(name: str, values: set[str], prometheus: Prometheus) -> None:
    series, label = variable(name)
    found = prometheus.ask(f"label/{label}/values", **{"match[]": filled(series)})
    assert values <= set(found)
    assert name != "currency" or set(found) == values
