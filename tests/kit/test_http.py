"""Answers in the form of the contract."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from starlette.responses import Response

from service.errors import (
    ForbiddenError,
    KompasError,
    NotFoundError,
    OverloadedError,
    RequestError,
    RetryableError,
    UnauthorizedError,
)
from service.kit.http import MethodNotAllowedError, bearer, json_response, problem


def body(response: Response) -> Any:
    return json.loads(bytes(response.body), parse_float=Decimal)


def test_a_problem_document() -> None:
    response = problem(NotFoundError("No KPI of that name.", code="unknown_kpi", nearest=["roas"]))
    assert response.headers["content-type"] == "application/problem+json"
    assert response.status_code == 404
    assert body(response) == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "code": "unknown_kpi",
        "message": "No KPI of that name.",
        "detail": {"nearest": ["roas"]},
    }
    assert "detail" not in body(problem(RequestError("Bad.")))


@pytest.mark.parametrize(
    ("error", "status", "header", "value"),
    [
        (RetryableError("Away.", retry_after=7), 503, "retry-after", "7"),
        (OverloadedError("Full."), 503, "retry-after", "1"),
        (UnauthorizedError("No key."), 401, "www-authenticate", "Bearer"),
        (MethodNotAllowedError("GET, HEAD"), 405, "allow", "GET, HEAD"),
        (ForbiddenError("No."), 403, "retry-after", None),
        (KompasError("Broken."), 500, "retry-after", None),
    ],
)
def test_headers_of_errors(error: KompasError, status: int, header: str, value: str | None) -> None:
    response = problem(error)
    assert response.status_code == status
    assert response.headers.get(header) == value


def test_a_problem_may_have_company() -> None:
    response = problem(
        RequestError("Bad."), headers={"X-A": "b"}, members={"accepted": 0, "code": "mine"}
    )
    assert response.headers["x-a"] == "b"
    assert body(response)["accepted"] == 0
    assert body(response)["code"] == "bad_request"


def test_json_is_exact_and_never_fails_on_text() -> None:
    response = json_response({"a": Decimal("0.10"), "b": "rød \ud800"}, 201, {"X-A": "b"})
    assert response.status_code == 201
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-a"] == "b"
    assert bytes(response.body) == '{"a":0.10,"b":"rød ?"}'.encode()
    assert response.headers["content-length"] == str(len(response.body))


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Bearer sk_1", "sk_1"),
        ("bEARER   sk_1 ", "sk_1"),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic sk_1", None),
        ("sk_1", None),
        ("", None),
    ],
)
def test_bearer(header: str, key: str | None) -> None:
    assert bearer({"authorization": header}) == key
    assert bearer({}) is None
