"""`docs/reference/kpis.md`: the catalogue for readers, made from the data that the engine uses."""

from __future__ import annotations

from collections.abc import Iterator

from service.kpi.catalogue import Catalogue, load_catalogue
from service.kpi.definition import Kpi
from service.kpi.formula import (
    Additivity,
    Factor,
    Formula,
    IntervalMethod,
    KpiKind,
    Term,
    money_side,
)
from service.kpi.uncertainty import SMALL_SAMPLE
from service.kpi.written import written

_HEAD = """\
# KPIs

Made from `service/kpi/catalogue/*.toml` by `kompas docs`; change the definitions there.

Names in formulas are measures (additive counts and sums, `service/domain/measures.py`), counts of
distinct people, or other KPIs. The kinds:

- **simple**: a sum of measures;
- **ratio**: a ratio of sums over the window, never a mean of ratios;
- **cohort**: a ratio that follows what began in the window until now, or, with `horizon=`, for so
  many days from each beginning;
- **distinct**: counts of distinct people, and ratios of them;
- **derived**: a product of other KPIs.

A value that does not exist is null and has a reason: `no_data` (the site has never counted one of
the measures), `zero_denominator`, `negative_denominator`, `missing_fx_rate`, or the one that the
KPI states. How an answer is computed: [decision 6](../decisions/0006-answers.md); windows:
[decision 4](../decisions/0004-windows.md); what had to be chosen:
[decision 5](../decisions/0005-kpi-definitions.md); how a KPI is written, and how to add one:
[decision 17](../decisions/0017-catalogue.md). A change of meaning is a new version; the older ones
stay and can be asked for.
"""

_THEMES = {
    "ads": "Advertising",
    "brand": "Brand",
    "email": "E-mail",
    "sales": "Sales",
    "survey": "Surveys",
    "web": "Website",
}
_UNITS = {
    "fraction": "fraction of 1",
    "currency": "amount in the reporting currency",
    "count": "count",
    "factor": "factor",
    "points": "points, -100 to 100",
}
_DIRECTIONS = {"up": "higher is better", "down": "lower is better", "none": "neither way is better"}
_INTERVALS = {
    IntervalMethod.WILSON: "Wilson",
    IntervalMethod.NPS: "adjusted Wald",
    IntervalMethod.DELTA: "delta method, with the day as unit",
}


def render(catalogue: Catalogue | None = None) -> str:
    """The page: Markdown, the same for the same catalogue; Kompas's own without one."""
    catalogue = load_catalogue() if catalogue is None else catalogue
    kpis = list(catalogue)
    parts = [_HEAD, *_index(kpis)]
    theme = ""
    for kpi in kpis:
        if kpi.theme != theme:
            theme = kpi.theme
            parts.append(f"\n## {_THEMES.get(theme, theme.capitalize())}\n")
        parts += _entry(kpi, catalogue.versions(kpi.id)[1:])
    return "\n".join(parts) + "\n"


def readable(formula: Formula) -> str:
    """A formula as a line of text, for example `1000 * spend / impressions`."""
    return written(formula, _named, lambda factor: factor.kpi)


def _named(term: Term) -> str:
    where = ", ".join(f"{name} = {value}" for name, value in term.where)
    return f"{term.label}[{where}]" if where else term.label


def _index(kpis: list[Kpi]) -> Iterator[str]:
    yield "| id | KPI | unit |\n|---|---|---|"
    for kpi in kpis:
        yield f"| [`{kpi.id}`](#{kpi.id}) | {kpi.title['en']} | {_UNITS[kpi.unit]} |"


def _entry(kpi: Kpi, older: tuple[Kpi, ...]) -> Iterator[str]:
    yield f"### {kpi.id}\n"
    yield f"**{kpi.title['en']}** ({kpi.title['da']}). {kpi.about['en']}\n"
    yield f"*{kpi.about['da']}*\n"
    yield from _formulas(kpi)
    yield f"- unit: {_UNITS[kpi.unit]}; {_DIRECTIONS[kpi.direction]}"
    yield f"- edge: {kpi.edge['en']}"
    yield f"- kant: {kpi.edge['da']}"
    yield from _extras(kpi)
    names = ", ".join(f"`{name}`" for name in kpi.breakdowns)
    yield f"- breakdowns and filters: {names or 'none'}"
    adds_up = "add up" if kpi.additivity is Additivity.FULL else "do not add up"
    yield f"- kind: {kpi.kind.value}; parts {adds_up} to the whole"
    yield f"- default window: `{kpi.default_window}`"
    yield f"- source: {kpi.source}"
    yield f"- owner: {kpi.owner}; version {kpi.version}; {kpi.status.value}"
    for version in older:
        formulas = "; ".join(f"`{readable(formula)}`" for formula in version.views.values())
        yield f"- version {version.version} ({version.status.value}): {formulas}"
    yield ""


def _formulas(kpi: Kpi) -> Iterator[str]:
    for name, formula in kpi.views.items():
        default = " (default)" if name == kpi.default_view else ""
        view = f"view `{name}`{default}" if name else "formula"
        method = _INTERVALS.get(formula.interval)
        interval = f"; 95 % interval: {method}" if method else ""
        is_counted = method and not money_side(formula.denominator)
        flagged = f", flagged below {SMALL_SAMPLE}" if is_counted else ""
        yield f"- {view}: `{readable(formula)}`{interval}{flagged}"
        yield from (_meant(factor) for factor in formula.factors)
        if formula.requires is not None:
            left, right = formula.requires.left.label, formula.requires.right.label
            yield f"- null with `{formula.requires.reason}` unless `{left}` equals `{right}`"


def _meant(factor: Factor) -> str:
    return f"- where [`{factor.kpi}`](#{factor.kpi}) is `{readable(factor.formula)}`"


def _extras(kpi: Kpi) -> Iterator[str]:
    if kpi.kind is KpiKind.COHORT:
        yield "- the view `cohort` takes a horizon: `horizon=30` counts the first 30 days of each"
    if kpi.bounded:
        yield "- a share: above 1 it is flagged `above_one`"
    if kpi.also_visible:
        yield f"- shown beside it: {', '.join(f'`{name}`' for name in kpi.also_visible)}"
