"""The scopes of `rollup_recency`: what `bucket`, `previous` and `dim_id` of a row mean."""

from __future__ import annotations

VISITOR = 0
"""Visits by their site-local day and that of the visitor's visit before; `dim_id` is 0."""

CAMPAIGN = 1
"""Visits by their site-local month, the day of the visitor's visit before with the same campaign,
and their dimensions."""

NEVER = "-infinity"
"""`previous` of a visit with none before it."""

SCOPES = (VISITOR, CAMPAIGN)
