"""`docs/reference/kpis.md`: the catalogue for readers, made from the data that the engine uses."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from service.kpi.catalogue import load_catalogue
from service.kpi.compute import SMALL_SAMPLE
from service.kpi.definition import Kpi
from service.kpi.formula import Formula, IntervalMethod, Term

_HEAD = """\
# KPIs

Made from `service/kpi/catalogue/*.toml` by `kompas docs`; change the definitions there.

Names in formulas are measures (additive counts and sums, `service/domain/measures.py`) or counts
of distinct people. A ratio is always a ratio of sums over the window. A value that does not exist
is null and has a reason: `no_data` (the site has never counted one of the measures),
`zero_denominator`, `missing_fx_rate`, or the one that the KPI states. How an answer is computed:
[decision 6](../decisions/0006-answers.md); windows: [decision 4](../decisions/0004-windows.md);
what had to be chosen: [decision 5](../decisions/0005-kpi-definitions.md).
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
}


def render() -> str:
    """The page: Markdown, the same for the same catalogue."""
    kpis = list(load_catalogue())
    parts = [_HEAD, *_index(kpis)]
    theme = ""
    for kpi in kpis:
        if kpi.theme != theme:
            theme = kpi.theme
            parts.append(f"\n## {_THEMES.get(theme, theme.capitalize())}\n")
        parts += _entry(kpi)
    return "\n".join(parts) + "\n"


def readable(formula: Formula) -> str:
    """A formula as a line of text, for example `1000 * spend / impressions`."""
    above = _side(formula.numerator, grouped=bool(formula.denominator) or formula.scale != 1)
    scaled = above if formula.scale == 1 else f"{formula.scale} * {above}"
    if not formula.denominator:
        return scaled
    return f"{scaled} / {_side(formula.denominator, grouped=True)}"


def _side(terms: tuple[Term, ...], *, grouped: bool) -> str:
    text = ""
    for term in terms:
        sign = "-" if term.weight < 0 else "+"
        text += f" {sign} {_term(term)}" if text else f"{'-' if sign == '-' else ''}{_term(term)}"
    return f"({text})" if grouped and len(terms) > 1 else text


def _term(term: Term) -> str:
    size = abs(term.weight)
    where = ", ".join(f"{name} = {value}" for name, value in term.where)
    named = f"{term.label}[{where}]" if where else term.label
    return named if size == 1 else f"{_weight(size)} * {named}"


def _weight(weight: Fraction) -> str:
    return str(weight.numerator) if weight.denominator == 1 else str(float(weight))


def _index(kpis: list[Kpi]) -> Iterator[str]:
    yield "| id | KPI | unit |\n|---|---|---|"
    for kpi in kpis:
        yield f"| [`{kpi.id}`](#{kpi.id}) | {kpi.title['en']} | {_UNITS[kpi.unit]} |"


def _entry(kpi: Kpi) -> Iterator[str]:
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
    yield f"- parts {'add up' if kpi.additivity == 'full' else 'do not add up'} to the whole"
    yield f"- default window: `{kpi.default_window}`"
    yield f"- source: {kpi.source}"
    yield f"- owner: {kpi.owner}; version {kpi.version}; {kpi.status.value}\n"


def _formulas(kpi: Kpi) -> Iterator[str]:
    for name, formula in kpi.views.items():
        default = " (default)" if name == kpi.default_view else ""
        view = f"view `{name}`{default}" if name else "formula"
        interval = _INTERVALS.get(formula.interval)
        sampled = f"; 95 % interval: {interval}, flagged below {SMALL_SAMPLE}" if interval else ""
        yield f"- {view}: `{readable(formula)}`{sampled}"
        if formula.requires is not None:
            left, right = formula.requires.left.label, formula.requires.right.label
            yield f"- null with `{formula.requires.reason}` unless `{left}` equals `{right}`"


def _extras(kpi: Kpi) -> Iterator[str]:
    if kpi.bounded:
        yield "- a share: above 1 it is flagged `above_one`"
    if kpi.also_visible:
        yield f"- shown beside it: {', '.join(f'`{name}`' for name in kpi.also_visible)}"
