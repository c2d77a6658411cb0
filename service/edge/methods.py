"""What the GET doors answer to other methods."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.edge.cors import Cors
from service.kit.http import MethodNotAllowedError, problem

_ALLOW = "GET, HEAD, OPTIONS"
_CORS = Cors(("*",))


async def answer_other_method(scope: Scope, receive: Receive, send: Send) -> None:
    """Allow a page's preflight, and refuse the rest with 405."""
    response: Response
    if scope["method"] == "OPTIONS":
        headers = _CORS.preflight(dict(scope["headers"]), _ALLOW)
        response = Response(status_code=204, headers=headers)
    else:
        response = problem(MethodNotAllowedError(_ALLOW))
    await response(scope, receive, send)
