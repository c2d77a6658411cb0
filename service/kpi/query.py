"""What a request asks for, as texts: nothing of it is checked yet."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KpiQuery:
    """One question about some KPIs of a site.

    `window` is a preset, or `start` and `end` are dates or RFC 3339 times; with none of them each
    KPI has its own default window. `by` are dimensions with commas between them, of which the
    `top` largest rows are answered singly; `where` is a text such as
    `campaign:spring*,!channel:Email`, see `filters.parse`. `compare` names another window, see
    `windows.compared`. `horizon` are the days that members of a cohort are given. `refunds` says
    when a refund counts: on `refund_date` (the default) or `order_date`. `wait_ms` bounds the wait
    for what was committed before to be projected.
    """

    kpis: tuple[str, ...]
    window: str | None = None
    start: str | None = None
    end: str | None = None
    tz: str | None = None
    grain: str | None = None
    by: str | None = None
    top: int | None = None
    where: str | None = None
    compare: str | None = None
    view: str | None = None
    model: str | None = None
    horizon: int | None = None
    refunds: str | None = None
    version: int | None = None
    currency: str | None = None
    wait_ms: int | None = None
