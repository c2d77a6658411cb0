"""What an exception becomes for the client: always a problem document, never a stack trace."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.app.observe import template
from service.errors import KompasError, NotFoundError, RequestError, RetryableError
from service.kit.http import MethodNotAllowedError, problem
from service.kit.log import frames_of, get_logger
from service.kit.payload import refusal
from service.store.failures import describe, is_environmental

_log = get_logger(__name__)

DATABASE_ERRORS = (
    OSError,
    DBAPIError,
    PoolTimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
)
RETRY_SECONDS = 2

Methods = Mapping[str, str]
"""The methods of each route template, as the header Allow lists them."""


def _http(error: HTTPException, allow: str) -> KompasError:
    if error.status_code == 404:
        return NotFoundError("There is nothing at this path; /openapi.json lists what there is.")
    if error.status_code == 405:
        return MethodNotAllowedError(allow)
    refused = RequestError("The request cannot be read.")
    refused.status = error.status_code
    return refused


def _validation(error: RequestValidationError) -> KompasError:
    # The first part of the path says where a parameter stood: query, path or body.
    errors = [{**one, "loc": one["loc"][1:]} for one in error.errors()]
    return refusal(errors, "parameter")


def as_kompas_error(error: Exception, allow: str) -> KompasError:
    """The error that the client gets; what nobody foresaw becomes `internal` and is logged."""
    if isinstance(error, KompasError):
        return error
    if isinstance(error, HTTPException):
        return _http(error, allow)
    if isinstance(error, RequestValidationError):
        return _validation(error)
    if isinstance(error, DATABASE_ERRORS) and is_environmental(error):
        _log.warning("database_away", error=describe(error))
        return RetryableError("The database does not answer; try again.", retry_after=RETRY_SECONDS)
    _log.error("request_failed", error=describe(error), where=frames_of(error))
    return KompasError("Something went wrong here; the log has more under this request's id.")


def answer_to(error: Exception, scope: Scope, methods: Methods) -> Response:
    """The problem document of an exception, with the request's id on unforeseen ones."""
    found = as_kompas_error(error, methods.get(template(scope), ""))
    if found.status == 500:
        found.detail.setdefault("request_id", scope.get("request_id", ""))
    return problem(found)


class Problems:
    """ASGI: answers a problem document for every exception that comes out of `app`."""

    def __init__(self, app: ASGIApp, methods: Methods) -> None:
        self._app = app
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on; once an answer has begun, an exception can only end it."""
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except ClientDisconnect:
            return
        except Exception as error:
            answer = answer_to(error, scope, self._methods)
            if started:
                raise
            await answer(scope, receive, send)
