from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from service.domain.kinds import Kind
from service.ingest.surveys import SURVEYS
from service.store.contributions import EVENT
from tests.ingest.given import data, good, refused, row


def judged(survey: str, score: Any, scale: Any = None) -> dict[str, Any]:
    found = data(row(good(Kind.SURVEY_ANSWER, survey=survey, score=score, scale=scale)))
    return {name: found[name] for name in ("score", "scale", "grade") if name in found}


def refusal(survey: str, score: Any, scale: Any = None) -> tuple[str, str]:
    found = refused(good(Kind.SURVEY_ANSWER, survey=survey, score=score, scale=scale))
    return found.code, found.field


# One grade for each whole score from the scale's lowest on, written out by hand.
GRADES: list[tuple[str, list[int] | None, int, list[int]]] = [
    ("nps", None, 0, [-1, -1, -1, -1, -1, -1, -1, 0, 0, 1, 1]),
    ("enps", [0, 10], 0, [-1, -1, -1, -1, -1, -1, -1, 0, 0, 1, 1]),
    ("csat", None, 1, [-1, -1, 0, 1, 1]),
    ("csat", [1, 10], 1, [-1, -1, 0, 0, 0, 0, 0, 0, 1, 1]),
    ("ces", None, 1, [-1, -1, -1, 0, 1, 1, 1]),
    ("ces", [1, 5], 1, [-1, -1, 0, 1, 1]),
]


@pytest.mark.parametrize(("survey", "scale", "low", "grades"), GRADES)
def test_grades(survey: str, scale: list[int] | None, low: int, grades: list[int]) -> None:
    high = low + len(grades) - 1
    for score, grade in enumerate(grades, start=low):
        assert judged(survey, score, scale) == {
            "score": score,
            "scale": [low, high],
            "grade": grade,
        }
    for score in (low - 1, high + 1, Decimal("4.5"), "4.5", True, False, "", "x", [4], {}, "1e1"):
        assert refusal(survey, score, scale) == ("not_a_score", "/score"), score


def test_every_scale_is_tested() -> None:
    tested = {(survey, tuple(scale or ()), low) for survey, scale, low, _ in GRADES}
    assert len(tested) == sum(map(len, SURVEYS.values()))


def test_whole_numbers_may_be_written_otherwise() -> None:
    for nine in (9, "9", "9.0", Decimal("9.0"), Decimal("9E0")):
        assert judged("nps", nine) == {"score": 9, "scale": [0, 10], "grade": 1}
    assert judged("csat", 4, [Decimal("1.0"), "5"])["scale"] == [1, 5]


def test_scales_that_a_survey_does_not_have() -> None:
    found = refused(good(Kind.SURVEY_ANSWER, survey="csat", score=4, scale=[1, 7]))
    assert (found.code, found.field) == ("unsupported_scale", "/scale")
    assert found.message == "`scale` of `csat` must be [1, 5] or [1, 10]."
    assert refusal("nps", 9, [10, 0]) == ("invalid_scale", "/scale")
    assert refusal("nps", 9, [0, 0]) == ("invalid_scale", "/scale")
    for scale in ([], [1], [1, 2, 3], ["a", 5], [None, 5], [False, True], {"low": 1}, "1-5", 5):
        assert refusal("own", 4, scale) == ("invalid_scale", "/scale"), scale


@pytest.mark.parametrize("survey", ["awareness_aided", "awareness_unaided"])
def test_awareness_is_true_or_false(survey: str) -> None:
    assert judged(survey, True) == {"score": True, "grade": 1}
    assert judged(survey, False) == {"score": False, "grade": 0}
    assert judged(survey, "true") == {"score": True, "grade": 1}
    for score in (1, 0, "yes", "True", Decimal(1), []):
        assert refusal(survey, score) == ("not_a_score", "/score")
    assert refusal(survey, True, [0, 1]) == ("unsupported_scale", "/scale")


def test_a_survey_of_ones_own_takes_any_number_and_has_no_grade() -> None:
    assert judged("Shop 2026", Decimal("-3.25")) == {"score": Decimal("-3.25"), "grade": 0}
    assert judged("Shop 2026", "7", [1, 7]) == {"score": 7, "scale": [1, 7], "grade": 0}
    half = judged("Shop 2026", 1, ["0.5", "1.5"])
    assert half["scale"] == [Decimal("0.5"), Decimal("1.5")]
    assert refusal("Shop 2026", 8, [1, 7]) == ("not_a_score", "/score")
    assert refusal("Shop 2026", True) == ("not_a_score", "/score")


def test_the_names_of_known_surveys_are_read_in_any_case() -> None:
    assert data(row(good(Kind.SURVEY_ANSWER, survey=" NPS ")))["survey"] == "nps"
    assert data(row(good(Kind.SURVEY_ANSWER, survey="Shop")))["survey"] == "Shop"


@pytest.mark.parametrize("survey", SURVEYS)
def test_every_known_survey_is_counted(survey: str) -> None:
    assert f"'{survey}'" in EVENT.values
