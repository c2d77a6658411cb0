"""Direct events: what counts by itself, without a journey, is booked straight from the log."""

from __future__ import annotations

from service.project.rollups import NEW_ROWS, booked
from service.store.contributions import EVENT, contributions

_FRESH = f"""
fresh AS MATERIALIZED (
    SELECT e.occurred_at, e.kind, e.flags, e.dim_id, e.data FROM {NEW_ROWS}
)"""

EVENTS = booked(_FRESH, contributions(EVENT, "fresh"))
