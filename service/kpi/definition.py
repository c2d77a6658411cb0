"""One KPI: its definition as data, and how an entry of the catalogue becomes one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from service.domain.measures import MEASURE_BY_LABEL
from service.errors import InvalidError
from service.kit.nearest import nearest
from service.kpi.formula import (
    QUANTITY_BY_LABEL,
    Additivity,
    Direction,
    Factor,
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
    `bounded` says that the value is a share: above 1 it is flagged. `own` says that it is no KPI
    of Kompas but one that a user added.
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
    own: bool

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
        has_choice = len(self.views) > 1
        can = self.named_views if has_choice else VIEWS
        if name not in can:
            raise InvalidError(
                f"{self.id} has no view '{name[:100]}'; there is {' and '.join(can)}.",
                code="unknown_view",
                field="view",
                nearest=nearest(name, can),
            )
        return name if has_choice else self.default_view


@dataclass(frozen=True, slots=True)
class Entry:
    """One KPI as it was written: a `[[kpi]]` table over the `[defaults]` of its file, or JSON.

    `lines` maps paths of keys (`unit`, `views.period.scale`; '' for the table) to line numbers of
    the file, as far as they are known.
    """

    file: str
    id: str
    data: dict[str, Any]
    own: bool = False
    lines: Mapping[str, int] = field(default_factory=dict)

    def line(self, path: str) -> int | None:
        """The line of a key, else of the table it is in, else of the entry."""
        key = path.rpartition(".")[2]
        if path not in self.lines and key in self.lines:
            return self.lines[key]  # what the entry says for all of its views
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return self.lines.get(path)

    def path(self, view: str, key: str) -> str:
        """Where a view's key is written: in the view, or once for all of them."""
        is_shared = not view or (key in self.data and key not in self.data["views"][view])
        return key if is_shared else f"views.{view}.{key}"

    @property
    def factors(self) -> frozenset[str]:
        """The ids of the KPIs that this one is derived from."""
        return frozenset(name for _, part in parts(self) for name in part.get("factors", {}))


OF_A_FORMULA = (
    "numerator", "denominator", "scale", "interval", "requires", "factors", "weight", "plus",
)  # fmt: skip
"""The keys that a view may have for itself."""


def parts(entry: Entry) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What each view says, by its name, over what the entry says for all of them."""
    shared = {key: entry.data[key] for key in OF_A_FORMULA if key in entry.data}
    views = entry.data.get("views", {UNNAMED: {}})
    for name, part in views.items() if isinstance(views, dict) else ():
        if isinstance(part, dict):
            yield name, {**shared, **part}


def build(entry: Entry, others: Mapping[str, Kpi]) -> Kpi:
    """The definition of an entry that has the right shape; `others` are what it derives from."""
    data = entry.data
    return Kpi(
        id=data["id"],
        theme=data.get("theme", entry.file.removesuffix(".toml")),
        title=data["title"],
        about=data["about"],
        edge=data["edge"],
        unit=Unit(data["unit"]),
        direction=Direction(data["direction"]),
        kind=KpiKind(data["kind"]),
        additivity=Additivity(data["additivity"]),
        views={name: _formula(name, part, others) for name, part in parts(entry)},
        default_view=data.get("default_view", UNNAMED),
        bounded=data.get("bounded", False),
        also_visible=tuple(data.get("also_visible", ())),
        breakdowns=tuple(data["breakdowns"]),
        default_window=data["default_window"],
        source=data["source"],
        owner=data["owner"],
        version=data["version"],
        status=Status(data["status"]),
        own=entry.own,
    )


def _formula(view: str, data: Mapping[str, Any], others: Mapping[str, Kpi]) -> Formula:
    requires = data.get("requires")
    return Formula(
        numerator=_terms(data.get("numerator", {})),
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
        factors=tuple(
            Factor(name, int(power), _of_view(others[name], view))
            for name, power in data.get("factors", {}).items()
        ),
        weight=Fraction(data.get("weight", 1)),
        plus=Fraction(data.get("plus", 0)),
    )


def _of_view(kpi: Kpi, view: str) -> Formula:
    return kpi.views.get(view, kpi.views[kpi.default_view])


def _terms(side: Mapping[str, Any]) -> tuple[Term, ...]:
    return tuple(_term(name, weight) for name, weight in side.items())


def _term(name: str, weight: Any) -> Term:
    if not isinstance(weight, dict):
        return Term(QUANTITY_BY_LABEL[name], Fraction(weight))
    where = tuple(sorted(weight.get("where", {}).items()))
    return Term(QUANTITY_BY_LABEL[name], Fraction(weight.get("weight", 1)), where)
