"""Survey answers: which scores a survey knows, and what each is worth.

Sources: measuringu.com (NPS), CustomerGauge 5000871817 (CSAT top two, CES), driveresearch.com
(awareness); `docs/reference/kpis.md` states the formulas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from service.ingest import fields
from service.ingest.context import Context
from service.ingest.refusals import RefusalCode as Code
from service.ingest.refusals import RefusedError

Number = int | Decimal


class Scale(NamedTuple):
    """Whole scores from `low` to `high`: up to `negative` grade -1, from `positive` on grade 1."""

    low: int
    high: int
    negative: int
    positive: int

    def grade(self, score: Number) -> int:
        """1 for a promoter or a positive answer, -1 for a detractor or a negative one, else 0."""
        return 1 if score >= self.positive else -1 if score <= self.negative else 0


SURVEYS: dict[str, tuple[Scale, ...]] = {
    "nps": (Scale(0, 10, 6, 9),),
    "enps": (Scale(0, 10, 6, 9),),
    "csat": (Scale(1, 5, 2, 4), Scale(1, 10, 2, 9)),
    "ces": (Scale(1, 7, 3, 5), Scale(1, 5, 2, 4)),
}
"""The scales of each graded survey; the first one is meant when an answer names none."""

AWARENESS = ("awareness_aided", "awareness_unaided")
"""Surveys that are answered with true or false."""

NAMES = (*SURVEYS, *AWARENESS)

_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,9})?", re.ASCII)
_TRUTH = {"true": True, "false": False}


def name(value: Any, context: Context) -> str:
    """The survey's name; those that KPIs know in lower case, so that `NPS` is not another one."""
    given = fields.name(value, context)
    lower = given.lower()
    return lower if lower in NAMES else given


def _number(value: Any) -> Number | None:
    """The number behind a JSON number or a decimal text, whole ones as int; None for others."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = Decimal(value)
    if isinstance(value, Decimal) and value.is_finite():
        return int(value) if value == value.to_integral_value() else value
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _ends(scale: Any) -> tuple[Number, Number]:
    ends = [_number(end) for end in scale] if isinstance(scale, list) else []
    if len(ends) != 2 or ends[0] is None or ends[1] is None or ends[0] >= ends[1]:
        raise RefusedError(
            Code.INVALID_SCALE, "must be the lowest and the highest score, such as [1, 5]", "scale"
        )
    return ends[0], ends[1]


def _scale(survey: str, given: Any) -> Scale:
    scales = SURVEYS[survey]
    if given is None:
        return scales[0]
    ends = _ends(given)
    found = next((scale for scale in scales if (scale.low, scale.high) == ends), None)
    if found is None:
        known = " or ".join(f"[{scale.low}, {scale.high}]" for scale in scales)
        raise RefusedError(Code.UNSUPPORTED_SCALE, f"of `{survey}` must be {known}", "scale")
    return found


def _graded(survey: str, score: Any, given: Any) -> dict[str, Any]:
    scale = _scale(survey, given)
    number = _number(score)
    if not isinstance(number, int) or not scale.low <= number <= scale.high:
        raise RefusedError(
            Code.NOT_A_SCORE,
            f"of `{survey}` must be a whole number from {scale.low} to {scale.high};"
            " leave unanswered questions out",
            "score",
        )
    return {
        "score": number,
        "scale": [scale.low, scale.high],
        "grade": scale.grade(number),
    }


def _aware(survey: str, score: Any, given: Any) -> dict[str, Any]:
    if given is not None:
        raise RefusedError(
            Code.UNSUPPORTED_SCALE, f"must be left out: `{survey}` is true or false", "scale"
        )
    answer = _TRUTH.get(score) if isinstance(score, str) else score
    if not isinstance(answer, bool):
        raise RefusedError(Code.NOT_A_SCORE, f"of `{survey}` must be true or false", "score")
    return {"score": answer, "grade": int(answer)}


def _free(score: Any, given: Any) -> dict[str, Any]:
    number = _number(score)
    if number is None:
        raise RefusedError(Code.NOT_A_SCORE, "must be a number", "score")
    if given is None:
        return {"score": number, "grade": 0}
    low, high = _ends(given)
    if not low <= number <= high:
        raise RefusedError(Code.NOT_A_SCORE, "must be within the scale", "score")
    return {"score": number, "scale": [low, high], "grade": 0}


def judge(values: Mapping[str, Any]) -> dict[str, Any]:
    """Score, scale and grade of an answer as the log holds them.

    Refused: NOT_A_SCORE, INVALID_SCALE, UNSUPPORTED_SCALE. A survey of another name takes any
    number (within the scale, if one is given) and has no grade but 0.
    """
    survey, score, scale = values["survey"], values["score"], values.get("scale")
    if survey in SURVEYS:
        return _graded(survey, score, scale)
    if survey in AWARENESS:
        return _aware(survey, score, scale)
    return _free(score, scale)
