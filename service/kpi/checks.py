"""What of a query can be checked by itself: each says what would be right."""

from __future__ import annotations

from collections.abc import Iterable

from service.domain.dimensions import PRODUCT, PROP_PREFIX
from service.domain.models import MODEL_BY_LABEL, Model
from service.errors import InvalidError
from service.kit.nearest import nearest
from service.kpi.definition import Kpi
from service.kpi.filters import Filters
from service.kpi.formula import KpiKind

REFUNDS = ("refund_date", "order_date")
MODELS = tuple(MODEL_BY_LABEL)
MOST_TOP = 1000
LONGEST_HORIZON = 730


def model_of(name: str | None) -> Model:
    """The attribution model of that name; InvalidError with the models there are."""
    if name is None:
        return Model.LAST_NON_DIRECT
    if name not in MODEL_BY_LABEL:
        raise InvalidError(
            f"'{name[:100]}' is not an attribution model; use one of {', '.join(MODELS)}.",
            code="unknown_model",
            field="model",
            nearest=nearest(name, MODELS),
            supported=list(MODELS),
        )
    return MODEL_BY_LABEL[name]


def refunds_by_order(choice: str | None) -> bool:
    """Whether refunds count when the order was placed; InvalidError for an unknown choice."""
    if choice is not None and choice not in REFUNDS:
        raise InvalidError(
            f"'{choice[:100]}' is not when a refund counts; use {' or '.join(REFUNDS)}.",
            code="unknown_refunds",
            field="refunds",
            nearest=nearest(choice, REFUNDS),
        )
    return choice == "order_date"


def check_top(top: int | None, by: tuple[str, ...]) -> int | None:
    """How many rows of a breakdown to answer; InvalidError for a number that cannot be."""
    if top is None:
        return None
    if not 1 <= top <= MOST_TOP:
        raise InvalidError(
            f"top is a number from 1 to {MOST_TOP}.", code="invalid_top", field="top"
        )
    if not by:
        raise InvalidError(
            "top needs a breakdown: say which dimensions with by=.", code="invalid_top", field="top"
        )
    return top


def check_horizon(kpi: Kpi, view: str, horizon: int | None) -> None:
    """InvalidError for a horizon that is none, or of a KPI that follows no cohort."""
    if horizon is None:
        return
    if not 1 <= horizon <= LONGEST_HORIZON:
        raise InvalidError(
            f"horizon is a number of days from 1 to {LONGEST_HORIZON}.",
            code="invalid_horizon",
            field="horizon",
        )
    if kpi.kind is not KpiKind.COHORT or view != "cohort":
        raise InvalidError(
            f"{kpi.id}{f' in the view {view}' if view else ''} follows no cohort, so it has no"
            " horizon; leave it out, or ask for a KPI of kind cohort in its view cohort.",
            code="unsupported_horizon",
            field="horizon",
        )


def check_breakdowns(kpi: Kpi, by: Iterable[str], filters: Filters) -> None:
    """InvalidError for a dimension by which the KPI cannot be broken down or filtered."""
    asked = {"by": by, "where": [condition.name for condition in filters]}
    for field, names in asked.items():
        for name in names:
            if family(name) not in kpi.breakdowns:
                raise _unsupported(kpi, field, name)


def _unsupported(kpi: Kpi, field: str, name: str) -> InvalidError:
    can = ", ".join(kpi.breakdowns)
    return InvalidError(
        f"{kpi.id} cannot be broken down or filtered by {name}"
        + (f"; it can by {can}." if can else ", nor by anything else."),
        code="unsupported_breakdown" if field == "by" else "unsupported_filter",
        field=field,
        nearest=nearest(name, kpi.breakdowns),
        supported=list(kpi.breakdowns),
    )


def family(name: str) -> str:
    """What a catalogue calls a dimension: every declared prop is one of `props`."""
    return PROP_PREFIX.rstrip(".") if name.startswith(PROP_PREFIX) else name


def check_product(by: tuple[str, ...], filters: Filters, model: Model) -> None:
    """InvalidError for another model together with products: lines have no touches."""
    uses = PRODUCT in by or any(condition.name == PRODUCT for condition in filters)
    if uses and model is not Model.LAST_NON_DIRECT:
        raise InvalidError(
            "Products go with the model last_non_direct only; leave model= out.",
            code="unsupported_model",
            field="model",
            supported=[Model.LAST_NON_DIRECT.label],
        )
