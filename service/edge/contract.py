"""The OpenAPI fragment of the doors: plain ASGI applications are not described by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.domain.kinds import Kind
from service.edge import pixel, reader
from service.edge.body import MIB
from service.edge.decode import EVENTS
from service.edge.doors import DOORS, Door
from service.ingest.contract import any_event_schema, event_schema
from service.ingest.kinds import DOORS as KINDS_OF_DOORS

PROBLEM = "application/problem+json"
KEYS: list[dict[str, list[str]]] = [{"key": []}, {"publicKey": []}]

_PROBLEMS = {
    "400": "The body is not strict JSON, is empty, or is not what gzip makes.",
    "401": "No key, or one that nobody knows.",
    "403": "The key does not have the scope, or may not name another site.",
    "404": "There is no site of that name.",
    "408": "The body took too long.",
    "413": "The body is too large, or has too many events: send fewer at a time.",
    "414": "The query is too long.",
    "415": "The body is packed in another way than gzip.",
    "500": "Something went wrong here; `detail.request_id` finds it in the log.",
    "503": "Nothing was stored: send the same again after `Retry-After` seconds.",
}
_IMAGE_PROBLEMS = {
    "401": "No key, or one that nobody knows.",
    "403": "The key may not write, or may not name another site.",
    "404": "There is no site of that name.",
    "414": "The query is too long.",
    "422": "The page view is not acceptable.",
    "503": "Not durable: fire again after `Retry-After` seconds.",
}
_OPEN_PROBLEMS = {
    "404": "The token is not ours.",
    "422": "The event is not acceptable.",
    "503": "Not durable: fetch again after `Retry-After` seconds.",
}
_SITE = {
    "name": "site",
    "in": "query",
    "description": "The slug of another site, for admin keys; `site` of an event wins over it.",
    "schema": {"type": "string"},
}
_FORMS: dict[str, dict[str, Any]] = {
    "url": {"format": "uri", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://"},
    "consent": {"enum": ["0", "1", "false", "true"]},
    "t": {"anyOf": [{"format": "date-time"}, {"format": "date"}]},
}
"""What parameters of the pixel must look like, where not any text will do."""
_TOKEN = {
    "name": "token",
    "in": "path",
    "required": True,
    "description": "As `POST /v1/emails` answers it, or a mailer mints it by the documented rule.",
    "schema": {"type": "string"},
}


def edge_paths() -> dict[str, Any]:
    """`paths` and `components` of every door of this floor.

    `#/components/schemas/Problem` and the security scheme `key` are the application's.
    """
    return {
        "paths": {
            **{door.path: {"post": _post(door)} for door in DOORS},
            pixel.PATH: {"get": _pixel()},
            reader.OPEN: {"get": _open()},
            reader.CLICK: {"get": _click()},
        },
        "components": {
            "schemas": {**_event_schemas(), **_ANSWERS},
            "securitySchemes": {
                "publicKey": {
                    "type": "apiKey",
                    "in": "query",
                    "name": "k",
                    "description": "A public key (`pk_…`) in the address; it may only write.",
                }
            },
        },
    }


def _name(kind: Kind) -> str:
    return kind.label.title().replace("_", "")


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _event_schemas() -> dict[str, Any]:
    return {"Event": any_event_schema(), **{_name(kind): event_schema(kind) for kind in Kind}}


def _post(door: Door) -> dict[str, Any]:
    receipt = "MailReceipt" if door.kind is Kind.EMAIL_SENT else "Receipt"
    lines = " An object, an array, or one object per line (NDJSON)." if door.lines else ""
    name = door.path.rsplit("/", 1)[1].replace("-", "_")
    return {
        "tags": ["events"],
        "operationId": f"send_{name}",
        "summary": door.summary,
        "description": (
            f"{lines or ' An object or an array.'} At most {EVENTS} events and"
            f" {door.limit // MIB} MiB; gzip is read. The bytes decide, not the Content-Type."
        ).strip(),
        "security": KEYS,
        "parameters": [_SITE],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _body(door), "examples": _examples(door)}},
        },
        "responses": {
            "200": _json("What became of the events; accepted ones are durable.", receipt),
            **{status: _problem(about) for status, about in _PROBLEMS.items()},
            "422": _json("No event was acceptable.", "Refused", PROBLEM),
        },
    }


def _body(door: Door) -> dict[str, Any]:
    kinds = () if door.kind is None else KINDS_OF_DOORS.get(door.kind, (door.kind,))
    refs = [_ref(_name(kind)) for kind in kinds] or [_ref("Event")]
    one = refs[0] if len(refs) == 1 else {"anyOf": refs}
    many = {"type": "array", "items": one, "minItems": 1, "maxItems": EVENTS}
    return {"anyOf": [one, many]}


def _examples(door: Door) -> dict[str, Any]:
    kinds = (Kind.PAGE_VIEW, Kind.CONVERSION) if door.kind is None else (door.kind,)
    return {
        kind.label: {"value": {"kind": kind.label, **event_schema(kind)["examples"][0]}}
        for kind in kinds
    }


def _json(about: str, schema: str, media: str = "application/json") -> dict[str, Any]:
    return {"description": about, "content": {media: {"schema": _ref(schema)}}}


def _problem(about: str) -> dict[str, Any]:
    return _json(about, "Problem", PROBLEM)


def _image(about: str, *headers: str) -> dict[str, Any]:
    image = {"image/gif": {"schema": {"type": "string", "contentMediaType": "image/gif"}}}
    described = {name: {"schema": {"type": "string"}} for name in headers}
    return {"description": about, "headers": described, "content": image}


def _images(durable: str, problems: Mapping[str, str]) -> dict[str, Any]:
    answers = {"200": _image(durable, "Cache-Control")}
    for status, about in problems.items():
        retry = ("Retry-After",) if status == "503" else ()
        answers[status] = _image(about, "X-Kompas-Code", *retry)
    return answers


def _pixel() -> dict[str, Any]:
    return {
        "tags": ["events"],
        "operationId": "record_page_view",
        "summary": "Record a page view from an image tag",
        "description": "The answer is always the image; parameters of other names are ignored.",
        "security": KEYS,
        "parameters": [
            {
                "name": parameter.name,
                "in": "query",
                "description": parameter.about,
                "schema": {"type": "string", **_FORMS.get(parameter.name, {})},
            }
            for parameter in pixel.PARAMETERS
            if parameter.name != "k"
        ],
        "responses": _images("The page view is durable.", _IMAGE_PROBLEMS),
    }


def _open() -> dict[str, Any]:
    return {
        "tags": ["e-mail"],
        "operationId": "record_open",
        "summary": "Record that a mail was opened",
        "security": [],
        "parameters": [_TOKEN],
        "responses": _images("The open is durable.", _OPEN_PROBLEMS),
    }


def _click() -> dict[str, Any]:
    location = {"description": "The signed target.", "schema": {"type": "string", "format": "uri"}}
    return {
        "tags": ["e-mail"],
        "operationId": "follow_click",
        "summary": "Record a click in a mail, and lead on to its target",
        "description": "The reader is led on even when the click cannot be recorded.",
        "security": [],
        "parameters": [_TOKEN],
        "responses": {
            "302": {"description": "On to the target.", "headers": {"Location": location}},
            "404": _problem("The token is not ours."),
            "503": _problem("The service is starting."),
        },
    }


_REJECTED = {
    "type": "object",
    "required": ["index", "code", "message"],
    "properties": {
        "index": {"type": "integer", "minimum": 0, "description": "Its place in the request."},
        "code": {"type": "string", "description": "A stable word for programs."},
        "message": {"type": "string", "description": "What is wrong, and what would be right."},
        "field": {"type": "string", "description": "JSON pointer to the field, when it is one."},
    },
}
_COUNT = {"type": "integer", "minimum": 0}
_RECEIPT = {
    "type": "object",
    "required": ["accepted", "duplicates", "rejected"],
    "properties": {
        "accepted": {**_COUNT, "description": "Events that are durable now."},
        "duplicates": {**_COUNT, "description": "Events that were durable already."},
        "rejected": {"type": "array", "items": _ref("Rejected")},
    },
    "example": {"accepted": 2, "duplicates": 0, "rejected": []},
}
_MAIL = {
    "type": "object",
    "required": ["index", "message", "open", "click"],
    "properties": {
        "index": {"type": "integer", "minimum": 0, "description": "Its place in the request."},
        "message": {"type": "string"},
        "open": {"type": "string", "format": "uri", "description": "Image to put into the mail."},
        "click": {
            "type": "array",
            "items": {"type": "string", "format": "uri"},
            "description": "What replaces each of `links`, in their order.",
        },
    },
}
_ANSWERS: dict[str, Any] = {
    "Receipt": _RECEIPT,
    "Rejected": _REJECTED,
    "Refused": {"allOf": [_ref("Problem"), _ref("Receipt")]},
    "Mail": _MAIL,
    "MailReceipt": {
        "allOf": [
            _ref("Receipt"),
            {
                "type": "object",
                "properties": {
                    "mails": {
                        "type": "array",
                        "items": _ref("Mail"),
                        "description": "For secret keys: addresses that track each mail sent.",
                    }
                },
            },
        ]
    },
}
