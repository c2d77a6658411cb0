"""Structured logging to stderr: one form for Kompas and for the libraries under it.

Quiet by default (`warning`). A line is one JSON object with `timestamp` (RFC 3339, UTC), `level`,
`logger`, `event`, `request_id` where there is one, and whatever the caller adds; or the same for
eyes, with `console`. Personal data is dropped here as defence in depth: callers should not hand
any over in the first place.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Literal, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

Level = Literal["debug", "info", "warning", "error", "critical"]
Format = Literal["json", "console"]

_HANDLER_NAME = "kompas"
_FRAMES = 8
_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)

# A key is personal when one of its words is: `client_ip` and `customer_email` are caught as well.
_PERSONAL_WORDS = frozenset({"address", "customer", "email", "ip", "recipient", "visitor"})
_PERSONAL_KEYS = frozenset(
    {"authorization", "client", "cookie", "forwarded", "query", "query_string", "referer",
     "referrer", "user_agent", "useragent", "x_forwarded_for"}
)  # fmt: skip
_QUERY = re.compile(r"""((?:\w+://|/)[^\s?"'<>]*)\?[^\s"'<>]*""")
_EMAIL = re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)+")


def configure_logging(level: Level = "warning", fmt: Format = "json") -> None:
    """Send structlog and the standard library's loggers to stderr in one form.

    May be called again: the last call wins. An unknown `level` or `fmt` raises `ValueError`.
    """
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None or fmt not in ("json", "console"):
        raise ValueError(f"no such log level or format: {level!r}, {fmt!r}")
    shared: list[Processor] = [
        _add_request_id,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    _take_over_stdlib(number, _formatter(shared, fmt))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger by name; safe at module level, since it binds at its first use."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def frames_of(error: BaseException) -> list[str]:
    """Where an exception was raised: the innermost frames as `file:line function`.

    For errors that nobody foresaw. Their messages are left out: they may quote what somebody sent.
    """
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


class request_context:  # noqa: N801 -- used as a statement, like contextlib's own
    """Put `request_id` on every line logged inside, in this task and in those it starts."""

    __slots__ = ("_request_id", "_token")

    # One variable set and reset: every pixel passes here, and structlog's own way costs 10 µs.
    def __init__(self, request_id: str) -> None:
        self._request_id = request_id

    def __enter__(self) -> None:
        self._token = _request_id.set(self._request_id)

    def __exit__(self, *error: object) -> None:
        _request_id.reset(self._token)


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    found = _request_id.get()
    return event if found is None else {"request_id": found, **event}


def drop_personal_data(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Remove members whose key names personal data; blank query strings and e-mail addresses.

    Works on nested mappings and sequences; any other object is written down as text and cleaned,
    so that the renderer's own `repr` cannot let something through.
    """
    return cast("EventDict", _clean(event))


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items() if not _is_personal(str(key))}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else str(value)
    return _EMAIL.sub("[email]", _QUERY.sub(r"\1?[query]", text))


def _is_personal(key: str) -> bool:
    key = key.lower().replace("-", "_")
    return key in _PERSONAL_KEYS or not _PERSONAL_WORDS.isdisjoint(key.split("_"))


def _formatter(shared: list[Processor], fmt: Format) -> structlog.stdlib.ProcessorFormatter:
    # plain_traceback: the pretty ones print local variables, which hold events.
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if fmt == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            drop_personal_data,
            renderer,
        ],
    )


def _take_over_stdlib(level: int, formatter: logging.Formatter) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.set_name(_HANDLER_NAME)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    # Only our own handler is replaced: others (a test's, an embedder's) are not ours to remove.
    root.handlers = [kept for kept in root.handlers if kept.get_name() != _HANDLER_NAME]
    root.addHandler(handler)
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi", "asyncpg", "sqlalchemy", "alembic"):
        library = logging.getLogger(name)
        library.handlers = []
        library.propagate = True
    # An access line is an address and a query string: the request metrics say the rest.
    access = logging.getLogger("uvicorn.access")
    access.handlers = []
    access.propagate = False
    access.setLevel(logging.CRITICAL + 1)
