"""Answers: who answered a survey, and when; how they answered counts straight from the log.

An answer without a respondent is nobody's, and makes no fact.
"""

from __future__ import annotations

from service.domain.kinds import Kind
from service.project.rollups import NEW_EVENTS

# Each row of the log is an answer of its own: nothing that is stored already can change.
ANSWERS = f"""WITH stored AS (
    INSERT INTO answer (site_id, batch_id, seq, occurred_at, respondent, dim_id, detail_id)
    SELECT CAST(:site_id AS bigint), e.batch_id, e.seq, e.occurred_at,
           (e.data->>'respondent')::uuid, e.dim_id, e.detail_id
    FROM {NEW_EVENTS} AND e.kind = {int(Kind.SURVEY_ANSWER)}
      AND e.data->>'respondent' IS NOT NULL
)
SELECT 0::bigint AS rows, NULL::timestamptz AS first, NULL::timestamptz AS last"""
