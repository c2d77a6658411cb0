"""One KPI: its definition as data, and how an entry of the catalogue becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from service.domain.measures import MEASURE_BY_LABEL
from service.errors import InvalidError
from service.kit.nearest import nearest
from service.kpi.formula import (
    QUANTITY_BY_LABEL,
    Additivity,
    Direction,
    Formula,
    IntervalMethod,
    KpiKind,
    Requirement,
    Status,
    Term,
    Unit,
)

LANGUAGES = ("en", "da")
VIEWS = ("cohort", "period")
UNNAMED = ""
"""The view of a KPI that has only one."""


@dataclass(frozen=True, slots=True)
class Kpi:
    """One definition. `title`, `about` and `edge` are texts by language (`en`, `da`).

    `views` maps the name of a view to its formula; a KPI without views has one under ''.
    `bounded` says that the value is a share: above 1 it is flagged.
    """

    id: str
    theme: str
    title: Mapping[str, str]
    about: Mapping[str, str]
    edge: Mapping[str, str]
    unit: Unit
    direction: Direction
    kind: KpiKind
    additivity: Additivity
    views: Mapping[str, Formula]
    default_view: str
    bounded: bool
    also_visible: tuple[str, ...]
    breakdowns: tuple[str, ...]
    default_window: str
    source: str
    owner: str
    version: int
    status: Status

    @property
    def named_views(self) -> tuple[str, ...]:
        """The views a request may ask for; empty for a KPI that has only one."""
        return tuple(name for name in self.views if name != UNNAMED)

    def view(self, name: str | None) -> str:
        """The view to compute: the named one where there is such a choice, else the default.

        A KPI that has only one takes any view's name, so that several can be asked at once.
        """
        if name is None:
            return self.default_view
        can = self.named_views or VIEWS
        if name not in can:
            raise InvalidError(
                f"{self.id} has no view '{name[:100]}'; there is {' and '.join(can)}.",
                code="unknown_view",
                field="view",
                nearest=nearest(name, can),
            )
        return name if self.named_views else self.default_view


@dataclass(frozen=True, slots=True)
class Entry:
    """One `[[kpi]]` table as it was written, with the `[defaults]` of its file under it."""

    file: str
    id: str
    data: dict[str, Any]


def build(entry: Entry) -> Kpi:
    """The definition of an entry that has the right shape."""
    data = entry.data
    views = {
        name: _formula({**data, **part})
        for name, part in data.get("views", {UNNAMED: data}).items()
    }
    return Kpi(
        id=data["id"],
        theme=entry.file.removesuffix(".toml"),
        title=data["title"],
        about=data["about"],
        edge=data["edge"],
        unit=Unit(data["unit"]),
        direction=Direction(data["direction"]),
        kind=KpiKind(data["kind"]),
        additivity=Additivity(data["additivity"]),
        views=views,
        default_view=data.get("default_view", UNNAMED),
        bounded=data.get("bounded", False),
        also_visible=tuple(data.get("also_visible", ())),
        breakdowns=tuple(data["breakdowns"]),
        default_window=data["default_window"],
        source=data["source"],
        owner=data["owner"],
        version=data["version"],
        status=Status(data["status"]),
    )


def _formula(data: Mapping[str, Any]) -> Formula:
    requires = data.get("requires")
    return Formula(
        numerator=_terms(data["numerator"]),
        denominator=_terms(data.get("denominator", {})),
        scale=data.get("scale", 1),
        interval=IntervalMethod(data.get("interval", "none")),
        requires=None
        if requires is None
        else Requirement(
            MEASURE_BY_LABEL[requires["equal"][0]],
            MEASURE_BY_LABEL[requires["equal"][1]],
            requires["reason"],
        ),
    )


def _terms(side: Mapping[str, Any]) -> tuple[Term, ...]:
    return tuple(_term(name, weight) for name, weight in side.items())


def _term(name: str, weight: Any) -> Term:
    if not isinstance(weight, dict):
        return Term(QUANTITY_BY_LABEL[name], Fraction(weight))
    where = tuple(sorted(weight.get("where", {}).items()))
    return Term(QUANTITY_BY_LABEL[name], Fraction(weight.get("weight", 1)), where)
