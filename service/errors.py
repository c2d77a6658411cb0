"""Errors that reach a user: each is a class with an HTTP status and a code.

Retryable and final errors are different branches, so a client library can tell
"send it again later" (503, 429; they carry `Retry-After`) from "mend it first" (4xx).
"""

from __future__ import annotations

from typing import Any


class StartupError(Exception):
    """Kompas cannot start; the message is one clear sentence for the operator's terminal."""


class KompasError(Exception):
    """An answer other than success.

    `status` is the HTTP status, `code` a stable machine word, `message` a sentence for a person,
    `detail` extra members of the problem document (for example `field` or `nearest`).
    """

    status = 500
    code = "internal"

    def __init__(self, message: str, *, code: str | None = None, **detail: Any) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.detail = detail


class RequestError(KompasError):
    """Final: the same request will be refused again."""

    status = 400
    code = "bad_request"


class UnauthorizedError(RequestError):
    """No key, or a key nobody knows."""

    status = 401
    code = "unauthorized"


class ForbiddenError(RequestError):
    """A known key without the scope that the request needs."""

    status = 403
    code = "forbidden"


class NotFoundError(RequestError):
    """Nothing by that name; `nearest` lists what may have been meant."""

    status = 404
    code = "not_found"


class ConflictError(RequestError):
    """It exists already."""

    status = 409
    code = "conflict"


class TooLargeError(RequestError):
    """The body is over the limit of its door."""

    status = 413
    code = "body_too_large"


class InvalidError(RequestError):
    """Understood, but not acceptable; `field` points at the culprit."""

    status = 422
    code = "invalid"


class RetryableError(KompasError):
    """Try again after `retry_after` seconds: nothing of this request was stored."""

    status = 503
    code = "unavailable"

    def __init__(self, message: str, *, retry_after: int = 1, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class OverloadedError(RetryableError):
    """More is waiting to be made durable than the memory bound allows."""

    code = "overloaded"
