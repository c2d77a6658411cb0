"""The contract: FastAPI's own description and that of the doors it does not know, as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

ABOUT = """\
Kompas measures marketing: events in, exact KPIs out.

Send a key as `Authorization: Bearer <key>`. Errors are problem documents (RFC 9457) with a stable
`code`; 429 and 503 carry `Retry-After`, and nothing of their request was stored.
"""
TAGS = {
    "events": "Send events; an answer of 200 means that they are durable.",
    "e-mail": "Opens and clicks of mails, by signed addresses.",
    "KPIs": "The catalogue, and its KPIs over any window.",
    "metrics": "For Prometheus.",
    "sites and keys": "What is tracked, and who may do what.",
    "exchange rates": "For sums of several currencies.",
    "rejections": "What was refused, and why.",
    "health": "For orchestrators.",
}
MEDIA = "application/problem+json"
OPEN = frozenset({"health"})
"""Tags of operations that need no key."""

NAMING = frozenset({"id", "slug", "site"})
"""Parameters that name something which may not be there."""

METHODS = ("get", "put", "post", "delete", "options", "head", "patch")

_EVERYWHERE = {"500": "Something went wrong here; `detail.request_id` finds it in the log."}
_WITH_KEY = {
    "401": "No key, or one that nobody knows.",
    "503": "Cannot be done now; `Retry-After` says when to try again.",
}
_WITH_SCOPE = {"403": "The key does not have the scope."}
_WITH_INPUT = {"422": "A parameter or field is not acceptable; `detail.field` says which."}
_WITH_BODY = {
    "400": "The body is not strict JSON.",
    "413": "The body is too large.",
    **_WITH_INPUT,
}
_WITH_NAME = {"404": "There is nothing by that name; `detail.nearest` says what may be meant."}
_CONFLICT = {"409": "It exists already."}


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str = Field(description="A stable word for programs.")
    message: str = Field(description="A sentence for people: what is wrong, what would be right.")
    detail: dict[str, Any] | None = Field(
        default=None, description="What belongs to this code, such as `field` and `nearest`."
    )


def merged(app: FastAPI, paths: Mapping[str, Any]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the app's routes and of the edge's fragment `paths`.

    `paths` is OpenAPI's own shape: `paths`, and perhaps `components`.
    """
    described = get_openapi(
        title="Kompas",
        version=version("kompas"),
        summary="Events in, exact KPIs out.",
        description=ABOUT,
        routes=app.routes,
        tags=[{"name": name, "description": about} for name, about in TAGS.items()],
        servers=[{"url": "/"}],
    )
    _add_problems(described["paths"])
    described["paths"] = {**paths.get("paths", {}), **described["paths"]}
    described["components"] = _components(described, paths.get("components", {}))
    described["security"] = [{"key": []}]
    return described


def _operations(paths: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in paths.items():
        for method in METHODS:
            if method in item:
                yield path, method, item[method]


def _add_problems(paths: Mapping[str, Any]) -> None:
    for path, method, operation in _operations(paths):
        # The library documents its own form of a validation error, which is never answered.
        operation["responses"].pop("422", None)
        for status, about in _problems(path, method, operation).items():
            operation["responses"][status] = _answer(about)
        summary, _, rest = operation.pop("description", "").partition("\n\n")
        operation["summary"] = summary.replace("\n", " ").rstrip(".")
        if rest:
            operation["description"] = rest
        if OPEN & set(operation.get("tags", ())):
            operation["security"] = []


def _problems(path: str, method: str, operation: Mapping[str, Any]) -> dict[str, str]:
    if path == "/healthz":
        return _EVERYWHERE
    if path == "/readyz":
        return {"503": _WITH_KEY["503"], **_EVERYWHERE}
    found = {**_WITH_KEY, **_EVERYWHERE}
    if path != "/metrics":
        found |= _WITH_SCOPE
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    found |= _WITH_INPUT if names else {}
    found |= _WITH_NAME if names & NAMING else {}
    if "requestBody" in operation:
        found |= _WITH_BODY
        found |= _WITH_NAME if path in {"/v1/keys", "/v1/kpis/query"} else {}
        found |= _CONFLICT if method == "post" and path == "/v1/sites" else {}
    if path == "/v1/kpis/{id}" and method in {"put", "delete"}:
        found |= {"409": "It is not yours to change, or others rely on what it is."}
    return dict(sorted(found.items()))


def _answer(about: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": about, "content": {MEDIA: {"schema": schema}}}


def _components(described: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    own = described.get("components", {})
    schemas = {**own.get("schemas", {}), **more.get("schemas", {})}
    schemas = {name: schema for name, schema in schemas.items() if "ValidationError" not in name}
    schemas["Problem"] = Problem.model_json_schema()
    keys = {"key": {"type": "http", "scheme": "bearer", "description": "`sk_…` or `pk_…`"}}
    return {
        **more,
        "schemas": dict(sorted(schemas.items())),
        "securitySchemes": {**more.get("securitySchemes", {}), **keys},
    }
