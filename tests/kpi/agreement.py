"""Holds an answer against the recount: every figure of it, to the last digit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from service.kpi.definition import Kpi
from service.kpi.formula import Additivity, Distinct, Formula, KpiKind, Quantity, Term
from service.kpi.formula import label as name_of
from tests.kpi.known import SHOWN_BY_A_0, shows
from tests.kpi.questions import Question
from tests.kpi.recount import Recount, Selection, label
from tests.kpi.recount_facts import Way
from tests.kpi.world import World

NEGLIGIBLE = Fraction(1, 10**16)
"""Quotients are published with 17 digits."""


@dataclass(frozen=True)
class Figure:
    """What a figure of an answer should be."""

    value: Fraction | None
    reason: str | None
    numerator: Fraction | None = None
    denominator: Fraction | None = None


def expected(formula: Formula, selection: Selection, never: Collection[Quantity]) -> Figure:
    """A formula over what was selected; `never` are the quantities of which nothing shows."""
    if formula.factors:
        return _derived(formula, selection, never)
    above, below = (
        None if any(term.quantity in never for term in side) else selection.side(side)
        for side in (formula.numerator, formula.denominator)
    )
    if not formula.denominator:
        below = None
    if any(quantity in never for quantity, _ in formula.keys):
        return Figure(None, "no_data", above, below)
    if formula.requires is not None:
        left, right = (
            selection.amount(Term(measure, Fraction(1)))
            for measure in (formula.requires.left, formula.requires.right)
        )
        if left != right:
            return Figure(None, formula.requires.reason, None, below)
    assert above is not None
    if not formula.denominator:
        return Figure(formula.scale * above, None, above)
    assert below is not None
    if below <= 0:
        reason = "negative_denominator" if below else "zero_denominator"
        return Figure(None, reason, above, below)
    return Figure(formula.scale * above / below, None, above, below)


def _derived(formula: Formula, selection: Selection, never: Collection[Quantity]) -> Figure:
    value = formula.weight
    for factor in formula.factors:
        part = expected(factor.formula, selection, never)
        if part.value is None:
            return Figure(None, part.reason)
        if factor.power == -1 and part.value <= 0:
            return Figure(None, "negative_denominator" if part.value else "zero_denominator")
        value = value * part.value if factor.power == 1 else value / part.value
    return Figure(value + formula.plus, None)


def never_counted(recount: Recount, formulas: Iterable[Formula]) -> frozenset[Quantity]:
    """Quantities of which nothing at all shows that the site counts them."""
    rows = recount.everything(Way()).rows
    shown = {
        name
        for name, some in rows.items()
        if name in SHOWN_BY_A_0 or any(one.value for one in some)
    }
    quantities = {quantity for formula in formulas for quantity, _ in formula.keys}
    return frozenset(quantity for quantity in quantities if not shows(name_of(quantity), shown))


def agrees(found: dict[str, Any], kpi: Kpi, figure: Figure) -> None:
    """One figure of an answer."""
    assert found["reason"] == figure.reason, (kpi.id, found, figure)
    for side in ("numerator", "denominator"):
        number, exact = found[side], getattr(figure, side)
        assert (number is None) == (exact is None), (kpi.id, side, found, figure)
        assert number is None or Fraction(number) == exact, (kpi.id, side, found, figure)
    value = found["value"]
    if figure.value is None or kpi.kind is KpiKind.SIMPLE:
        exact = figure.value
        assert value == exact if exact is None else Fraction(value) == exact, (kpi.id, found)
    else:
        error = abs(Fraction(value) - figure.value)
        assert error <= NEGLIGIBLE * abs(figure.value), (kpi.id, found, figure)


def _has_distinct(formula: Formula) -> bool:
    return any(isinstance(quantity, Distinct) for quantity, _ in formula.keys)


@dataclass(frozen=True)
class Check:
    """The answer for one KPI, and what was selected for its window."""

    kpi: Kpi
    question: Question
    answer: dict[str, Any]
    inside: Selection
    never: frozenset[Quantity]

    @property
    def formula(self) -> Formula:
        """The formula of the view."""
        return self.kpi.views[self.kpi.view(self.question.view)]

    def figure(self, found: dict[str, Any], selection: Selection) -> None:
        agrees(found, self.kpi, expected(self.formula, selection, self.never))

    def everything(self) -> None:
        """The value, the series, the breakdown."""
        self.figure(self.answer, self.inside)
        if self.question.grain:
            self.series(self.question.grain)
        if self.question.by:
            self.breakdown()

    # --- Series --------------------------------------------------------------------------

    def series(self, grain: str) -> None:
        points, window = self.answer["series"], self.answer["window"]
        edges = [datetime.fromisoformat(point["from"]) for point in points]
        ends = [datetime.fromisoformat(point["to"]) for point in points]
        assert ends[:-1] == edges[1:]
        assert points[0]["from"] == window["from"]
        assert points[-1]["to"] == window["to"]
        edges.append(ends[-1])
        _are_calendar_units(edges, grain, ZoneInfo(window["tz"]))
        for point, part in zip(points, self.inside.buckets(edges), strict=True):
            self.figure(point, part)
        self.sums(points)

    def sums(self, parts: list[dict[str, Any]], rest: dict[str, Any] | None = None) -> None:
        """Parts of what is additive make up the whole."""
        if self.kpi.additivity is Additivity.FULL and self.answer["value"] is not None:
            whole = [*parts, *([] if rest is None else [rest])]
            total = sum((Fraction(part["value"]) for part in whole), Fraction(0))
            assert total == Fraction(self.answer["value"]), self.kpi.id

    # --- Breakdown -----------------------------------------------------------------------

    def breakdown(self) -> None:
        by, top, rest = self.question.by, self.question.top, self.answer["rest"]
        rows = {tuple(row[name] or "" for name in by): row for row in self.answer["breakdown"]}
        assert len(rows) == len(self.answer["breakdown"])
        parts = {
            labels: part
            for labels, part in self.inside.labelled(by).items()
            if any(part.amount(term) for term in self.formula.terms)
        }
        assert rows.keys() <= parts.keys(), self.kpi.id
        sizes = []
        for labels, row in rows.items():
            figure = expected(self.formula, parts[labels], self.never)
            agrees(row, self.kpi, figure)
            sizes.append((self.size(figure), labels))
        self.order(sizes)
        others = parts.keys() - rows.keys()
        if top is None or len(parts) <= top:
            assert not others, (self.kpi.id, others)
            assert rest is None
        else:
            assert len(rows) == top
            assert rest["rows"] == len(others)
            self._rest(rest, rows.keys())
        if not (rest and rest["reason"] == "not_additive"):
            self.sums([*rows.values()], rest)

    def _rest(self, rest: dict[str, Any], shown: Collection[tuple[str, ...]]) -> None:
        if _has_distinct(self.formula):
            agrees(rest, self.kpi, Figure(None, "not_additive"))
            return
        by = self.question.by
        parts = self.inside.split(lambda one: tuple(label(one, name) for name in by) in shown)
        self.figure(rest, parts[False])

    def order(self, sizes: list[tuple[float, tuple[str, ...]]]) -> None:
        """The largest rows first."""
        keys = [(-size, labels) for size, labels in sizes]
        assert keys == sorted(keys), self.kpi.id

    def size(self, figure: Figure) -> float:
        """By the side that is larger on the whole; what is derived has a value only."""
        whole = [abs(self.answer[side] or 0) for side in ("numerator", "denominator")]
        side = figure.denominator if whole[1] > whole[0] else figure.numerator
        size = figure.value if side is None else side
        return -1.0 if size is None else float(abs(size))


def _are_calendar_units(edges: list[datetime], grain: str, tz: ZoneInfo) -> None:
    """Each bucket lies in one unit of the calendar, and no two in the same."""
    names = [_unit(edge, grain, tz) for edge in edges[:-1]]
    assert max(Counter(names).values()) == 1
    lasts = [_unit(edge - timedelta(microseconds=1), grain, tz) for edge in edges[1:]]
    assert names == lasts


def _unit(when: datetime, grain: str, tz: ZoneInfo) -> tuple[int | date | timedelta | None, ...]:
    local = when.astimezone(tz)
    return {
        "hour": (local.date(), local.hour, local.utcoffset()),
        "day": (local.date(),),
        "week": local.isocalendar()[:2],
        "month": (local.year, local.month),
        "quarter": (local.year, (local.month - 1) // 3),
        "year": (local.year,),
    }[grain]


async def checks(world: World, recount: Recount, question: Question) -> list[Check]:
    """Asks the question of every KPI that can answer it."""
    kpis = question.kpis
    if not kpis:
        return []
    answers = await world.ask(*(kpi.id for kpi in kpis), **question.asked)
    window = answers[0]["window"]
    start, end = (datetime.fromisoformat(window[side]) for side in ("from", "to"))
    if "T" in question.window["start"]:
        assert [start, end] == [
            datetime.fromisoformat(question.window[side]) for side in ("start", "end")
        ]
    kept = recount.everything(question.way).within(start, end).filtered(question.where)
    never = never_counted(recount, (kpi.views[kpi.view(question.view)] for kpi in kpis))
    return [
        Check(kpi, question, answer, kept, never) for kpi, answer in zip(kpis, answers, strict=True)
    ]
