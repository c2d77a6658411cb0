"""Answers in the form of the contract: exact JSON, RFC 9457 problem documents, bearer keys."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from service.errors import KompasError, RequestError, RetryableError
from service.kit import json

PROBLEM = "application/problem+json"


class MethodNotAllowedError(RequestError):
    """The path exists, but not for this method; `allow` lists the methods that it has."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"This address takes {allow}.")
        self.allow = allow


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """The value as JSON; decimals keep all their digits. Raises as `kit.json.dumps`."""
    return _answer(value, status, headers, "application/json")


def problem(
    error: KompasError,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> Response:
    """The error as a problem document (RFC 9457), with the headers that its class calls for.

    `members` are put before the document's own: what is to be said beside the error.
    """
    document = {
        **(members or {}),
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "code": error.code,
        "message": error.message,
    }
    if error.detail:
        document["detail"] = error.detail
    return _answer(document, error.status, {**_headers(error), **(headers or {})}, PROBLEM)


def _headers(error: KompasError) -> dict[str, str]:
    if isinstance(error, RetryableError):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, MethodNotAllowedError):
        return {"Allow": error.allow}
    return {"WWW-Authenticate": "Bearer"} if error.status == 401 else {}


def _answer(value: Any, status: int, headers: Mapping[str, str] | None, media: str) -> Response:
    # "replace": a lone surrogate that somebody sent must not turn an answer into a failure.
    body = json.dumps(value).encode("utf-8", "replace")
    return Response(body, status, dict(headers or {}), media)


def bearer(headers: Mapping[str, str]) -> str | None:
    """The key of `Authorization: Bearer …` (any case of the scheme), None when there is none."""
    scheme, _, key = headers.get("authorization", "").strip().partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None
