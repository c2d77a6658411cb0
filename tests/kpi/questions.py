"""Random questions: any window, cut, breakdown, filter, model, view, and way to book refunds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from service.domain.dimensions import DIMENSIONS, PRODUCT
from service.domain.models import Model
from service.kpi.definition import Kpi
from service.kpi.formula import KpiKind
from tests.kpi.recount import Filter, Holds, written
from tests.kpi.recount_facts import Way
from tests.kpi.streams import DETAILS, FIRST, MICRO, PRODUCTS, TOUCHES, times
from tests.kpi.world import CATALOGUE

# The clocks of Copenhagen go forward on March 29; Kathmandu is at +05:45, Lord Howe shifts by 30
# minutes on April 5.
ZONES = ("Europe/Copenhagen", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York")
PLAN = "props.plan"
FAMILIES = {PLAN: "props"}
"""What a catalogue calls the dimensions that it cannot know."""

VALUES: dict[str, tuple[str, ...]] = {
    **{name: tuple({getattr(touch, name) for touch in TOUCHES}) for name in DIMENSIONS},
    "survey": ("", "nps", "exit"),
    "event": ("", "download"),
    **dict.fromkeys(("page", "landing_page"), tuple({detail.page for detail in DETAILS})),
    "country": ("", "DK", "dk"),
    "device": ("", "mobile", "TABLET"),
    PLAN: ("", "free", "pro"),
    PRODUCT: ("", *PRODUCTS),
}
BREAKDOWNS = (
    *((name,) for name in VALUES),
    ("channel", "campaign"),
    ("source", "medium", "campaign", "content"),
    ("campaign", "country"),
    ("landing_page", PLAN),
    (PLAN, "channel"),
)
Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Question:
    """Everything that a request may say, but which KPIs."""

    window: dict[str, str]
    by: tuple[str, ...] = ()
    where: Filter = ()
    model: Model = Model.LAST_NON_DIRECT
    view: str = "cohort"
    grain: str | None = None
    top: int | None = None
    by_order: bool = False
    horizon: int | None = None

    @property
    def asked(self) -> dict[str, Any]:
        """As the engine is asked."""
        return self.window | {
            "by": ",".join(self.by) or None,
            "where": written(self.where),
            "model": self.model.label,
            "view": self.view,
            "grain": self.grain,
            "top": self.top,
            "refunds": "order_date" if self.by_order else None,
            "horizon": self.horizon,
        }

    @property
    def names(self) -> set[str]:
        """Every dimension that is used."""
        return {*self.by, *(condition.name for condition in self.where)}

    @property
    def way(self) -> Way:
        """How it is recounted."""
        return Way(self.model, self.horizon, PRODUCT in self.names, self.by_order)

    @property
    def kpis(self) -> list[Kpi]:
        """Those that can answer it."""
        return [kpi for kpi in CATALOGUE if self._suits(kpi)]

    def _suits(self, kpi: Kpi) -> bool:
        if self.horizon and not (kpi.kind is KpiKind.COHORT and kpi.view(self.view) == "cohort"):
            return False
        return {FAMILIES.get(name, name) for name in self.names}.issubset(kpi.breakdowns)


@st.composite
def windows(draw: Draw) -> dict[str, str]:
    """Whole days, or any two instants, in any zone; sometimes far longer than what happened."""
    tz = draw(st.sampled_from(ZONES))
    kind = draw(st.sampled_from(("days", "instants", "long")))
    if kind == "instants":
        start, end = sorted((draw(times), draw(times)))
        return {"start": start.isoformat(), "end": (end + MICRO).isoformat(), "tz": tz}
    first = draw(st.integers(0, 9) if kind == "days" else st.integers(-110, -1))
    last = draw(st.integers(max(first, 0) + 1, 11))
    days = (FIRST.date() + timedelta(days=number) for number in (first, last))
    return dict(zip(("start", "end"), (day.isoformat() for day in days), strict=True)) | {"tz": tz}


@st.composite
def conditions(draw: Draw, name: str) -> Holds:
    """A value that occurs, the beginning of one, or neither."""
    value, negated = draw(st.sampled_from(VALUES[name])), draw(st.booleans())
    if len(value) > 1 and draw(st.booleans()):
        return Holds(name, value[: draw(st.integers(1, len(value)))], True, negated)
    return Holds(name, value, False, negated)


@st.composite
def filters(draw: Draw) -> Filter:
    """Up to three conditions on up to two dimensions."""
    names = draw(st.lists(st.sampled_from(tuple(VALUES)), max_size=2, unique=True))
    return tuple(
        condition
        for name in names
        for condition in draw(st.lists(conditions(name), min_size=1, max_size=2))
    )[:3]


def _is_long(window: dict[str, str]) -> bool:
    start, end = (datetime.fromisoformat(window[side]) for side in ("start", "end"))
    return end - start > timedelta(days=3)


@st.composite
def questions(draw: Draw) -> Question:
    """Any question that some KPI can answer."""
    window = draw(windows())
    by = draw(st.just(()) | st.sampled_from(BREAKDOWNS))
    where = draw(st.just(()) | filters())
    uses_product = PRODUCT in by or any(condition.name == PRODUCT for condition in where)
    grains = [None, "day", "week", "month"] + ([] if _is_long(window) else ["hour"])
    view = draw(st.sampled_from(("cohort", "period")))
    horizon = draw(st.sampled_from((None, None, 1, 7, 30))) if view == "cohort" else None
    return Question(
        window=window,
        by=by,
        where=where,
        model=Model.LAST_NON_DIRECT if uses_product else draw(st.sampled_from(Model)),
        view=view,
        grain=draw(st.sampled_from(grains)),
        top=draw(st.none() | st.integers(1, 3)) if by else None,
        by_order=draw(st.booleans()),
        horizon=horizon,
    )
