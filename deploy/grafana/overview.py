"""Makes `dashboards/overview.json` from the KPI catalogue and the tables of `charts.py`.

A KPI that is added to the catalogue gets its panel by itself.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from charts import (
    AGES,
    CHOSEN,
    HEADLINE,
    INGESTION,
    PROJECTION,
    REQUESTS,
    THEMES,
    TRENDS,
    Chart,
)
from grafana_foundation_sdk.builders import stat, table, timeseries
from grafana_foundation_sdk.builders.common import (
    ReduceDataOptions,
    VizLegendOptions,
    VizTooltipOptions,
)
from grafana_foundation_sdk.builders.dashboard import Dashboard, QueryVariable, Row
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    VariableHide,
    VariableOption,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from service.kpi.catalogue import Catalogue, load_catalogue
from service.kpi.definition import Kpi
from service.kpi.formula import Direction, Unit

TARGET = Path(__file__).parent / "dashboards" / "overview.json"
DATASOURCE = DataSourceRef(type_val="prometheus", uid="kompas-prometheus")
"""The uid is fixed by `provisioning/datasources/kompas.yaml`."""


@dataclass(frozen=True)
class Style:
    """How a KPI's unit is shown: Grafana's unit, decimals, and what follows the title."""

    unit: str
    decimals: int
    suffix: str = ""


STYLES: Mapping[Unit, Style] = {
    Unit.FRACTION: Style("percentunit", 2),
    Unit.COUNT: Style("locale", 0),
    # Grafana knows no unit that a variable decides, so the currency stands in the title.
    Unit.CURRENCY: Style("locale", 2, ", ${currency}"),
    Unit.FACTOR: Style("suffix:\u00d7", 2),
    Unit.POINTS: Style("suffix:points", 1),
}


def query(expression: str, legend: str) -> Dataquery:
    """A query over the dashboard's time range."""
    return Dataquery().datasource(DATASOURCE).expr(expression).legend_format(legend).range()


def now(expression: str) -> Dataquery:
    """A query of this moment: a KPI that has lost its value shows none, not its last one."""
    return Dataquery().datasource(DATASOURCE).expr(expression).instant()


def number(title: str, description: str, unit: str, expression: str, width: int) -> stat.Panel:
    """One number, without judging colours: the catalogue has a direction but no threshold."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .span(width)
        .height(4)
        .unit(unit)
        .no_value("no value")
        .color_mode(common.BigValueColorMode.NONE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(ReduceDataOptions().calcs(["lastNotNull"]))
        .text_mode(common.BigValueTextMode.VALUE)
        .with_target(now(expression))
    )


def lines(chart: Chart) -> timeseries.Panel:
    """A panel of lines over time."""
    panel = (
        timeseries.Panel()
        .title(chart.title)
        .description(chart.description)
        .datasource(DATASOURCE)
        .span(8)
        .height(8)
        .unit(chart.unit)
        .axis_soft_min(0)
        .legend(VizLegendOptions().show_legend(True).placement(common.LegendPlacement.BOTTOM))
        .tooltip(VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if chart.decimals is not None:
        panel.decimals(chart.decimals)
    for legend, expression in chart.queries.items():
        panel.with_target(query(expression, legend))
    for name, shown in chart.names:
        panel.override_by_name(name, [DynamicConfigValue("displayName", shown)])
    return panel


def kpi_number(kpi: Kpi) -> stat.Panel:
    """A KPI over the chosen window, with its definition as the description."""
    style = STYLES[kpi.unit]
    better = {Direction.UP: " Up is better.", Direction.DOWN: " Down is better."}
    description = (
        f"{kpi.about['en']} {kpi.edge['en']}{better.get(kpi.direction, '')}\n\n"
        f"`{kpi.id}`, version {kpi.version}; formula and source: docs/reference/kpis.md"
    )
    value = f'max by (kpi) (kompas_kpi_value{{{CHOSEN}, kpi="{kpi.id}"}})'
    panel = number(f"{kpi.title['en']}{style.suffix}", description, style.unit, value, 4)
    return panel.decimals(style.decimals)


def trend(title: str, kpis: tuple[Kpi, ...]) -> timeseries.Panel:
    """KPIs of one unit over time; each point is the value over the window that ends there."""
    (unit,) = {kpi.unit for kpi in kpis}
    style = STYLES[unit]
    choice = "|".join(kpi.id for kpi in kpis)
    chart = Chart(
        f"{title}{style.suffix}",
        "Each point is the value over the chosen window as it was at that time."
        f" {' '.join(kpi.about['en'] for kpi in kpis)}",
        style.unit,
        {"{{kpi}}": f'max by (kpi) (kompas_kpi_value{{{CHOSEN}, kpi=~"{choice}"}})'},
        style.decimals,
        tuple((kpi.id, kpi.title["en"]) for kpi in kpis),
    )
    return lines(chart)


def without_value() -> table.Panel:
    """The KPIs that have no value now."""
    gaps = now(f"max by (kpi) (kompas_kpi_has_value{{{CHOSEN}}}) == 0")
    columns = {"excludeByName": {"Time": True, "Value": True}, "renameByName": {"kpi": "KPI"}}
    return (
        table.Panel()
        .title("KPIs without a value")
        .description("GET /v1/kpis/{id} says the reason: no data, a zero denominator, a rate.")
        .datasource(DATASOURCE)
        .span(8)
        .height(8)
        .unit("string")
        .no_value("every KPI has a value")
        .with_target(gaps.format(PromQueryFormat.TABLE))
        .with_transformation(DataTransformerConfig("organize", options=columns))
    )


def variables() -> Iterator[QueryVariable]:
    """What the reader chooses: a site and a window; the currency follows from the site."""
    choices = (
        ("site", "Site", "label_values(kompas_site_info, site)", "default"),
        (
            "window",
            "Window",
            'label_values(kompas_kpi_has_value{site="$site"}, window)',
            "last_30_days",
        ),
        ("currency", "Currency", 'label_values(kompas_site_info{site="$site"}, currency)', "DKK"),
    )
    for name, label, values, first in choices:
        variable = (
            QueryVariable(name)
            .label(label)
            .datasource(DATASOURCE)
            .query({"query": values, "refId": name})
            .refresh(VariableRefresh.ON_DASHBOARD_LOAD)
            .current(VariableOption(selected=True, text=first, value=first))
        )
        yield variable.hide(VariableHide.HIDE_VARIABLE) if name == "currency" else variable


def build(catalogue: Catalogue) -> dict[str, Any]:
    """The dashboard as Grafana reads it; LookupError or ValueError for an unknown KPI or theme."""
    dashboard = (
        Dashboard("Kompas overview")
        .uid("kompas-overview")
        .description(
            "The KPIs of one site over one window, how fresh they are, and how Kompas itself is"
            " doing. Made by deploy/grafana/overview.py: change it there."
        )
        .tags(["kompas"])
        .readonly()
        .time("now-7d", "now")
        .refresh("1m")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
    )
    for variable in variables():
        dashboard.with_variable(variable)
    for title, panels, open_ in rows(catalogue):
        if open_:
            dashboard.with_row(Row(title))
            for panel in panels:
                dashboard.with_panel(panel)
        else:
            row = Row(title).collapsed(True)
            for panel in panels:
                row.with_panel(panel)
            dashboard.with_row(row)
    return numbered(json.loads(JSONEncoder(sort_keys=True).encode(dashboard.build())))


Panels = Iterable[stat.Panel | timeseries.Panel | table.Panel]


def rows(catalogue: Catalogue) -> Iterator[tuple[str, Panels, bool]]:
    """Title, panels and whether it is open, from top to bottom."""
    kpis = catalogue.kpis
    by_theme: dict[str, list[Kpi]] = {}
    for kpi in catalogue:
        by_theme.setdefault(kpi.theme, []).append(kpi)
    yield "Headline", [kpi_number(kpis[name]) for name in HEADLINE], True
    yield "Trends", [trend(t, tuple(kpis[n] for n in names)) for t, names in TRENDS.items()], True
    ages = [number(title, *about, 4) for title, about in AGES.items()]
    yield "Freshness", [*ages, without_value()], True
    yield "Ingestion", map(lines, INGESTION), True
    yield "Projection", map(lines, PROJECTION), True
    yield "Requests", map(lines, REQUESTS), True
    for theme in sorted(by_theme, key=list(THEMES).index):
        yield THEMES[theme], map(kpi_number, by_theme[theme]), False


def numbered(dashboard: dict[str, Any]) -> dict[str, Any]:
    """With ids for panels and letters for queries, which the SDK leaves out.

    And without the `auto…` members of an interval variable, which it gives to every variable.
    """
    for variable in dashboard["templating"]["list"]:
        for name in ("auto", "auto_count", "auto_min"):
            del variable[name]
    panels = (panel for row in dashboard["panels"] for panel in (row, *row.get("panels", ())))
    for place, panel in enumerate(panels, start=1):
        panel["id"] = place
        for letter, target in zip(ascii_uppercase, panel.get("targets", ()), strict=False):
            target["refId"] = letter
    return dashboard


def main() -> None:
    """Write the dashboard, or with `--check` exit with 1 unless the file is current."""
    text = json.dumps(build(load_catalogue()), indent=2, ensure_ascii=False) + "\n"
    if sys.argv[1:] != ["--check"]:
        TARGET.write_text(text, "utf-8")
    elif not TARGET.is_file() or TARGET.read_text("utf-8") != text:
        sys.exit(f"{TARGET} is not what the catalogue says; run `make docs` and review it.")


if __name__ == "__main__":
    main()
