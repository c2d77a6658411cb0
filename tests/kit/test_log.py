from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import structlog

from service.kit.log import configure_logging, frames_of, get_logger, request_context


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def _lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_a_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    get_logger("kompas.test").info("batch_written", events=3, site="æble")
    (line,) = _lines(capsys)
    when = datetime.fromisoformat(line.pop("timestamp"))
    assert when.utcoffset() is not None
    assert line == {
        "event": "batch_written", "events": 3, "site": "æble",
        "level": "info", "logger": "kompas.test",
    }  # fmt: skip


def test_it_is_quiet_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging()
    get_logger("kompas.test").info("nothing")
    logging.getLogger("uvicorn.error").info("nothing")
    get_logger("kompas.test").warning("something")
    assert [line["event"] for line in _lines(capsys)] == ["something"]


def test_library_loggers_take_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    for name in ("uvicorn.error", "asyncpg.pool", "sqlalchemy.engine"):
        logging.getLogger(name).warning("from %s", name)
    lines = _lines(capsys)
    assert [line["logger"] for line in lines] == [
        "uvicorn.error", "asyncpg.pool", "sqlalchemy.engine",
    ]  # fmt: skip
    assert lines[0]["event"] == "from uvicorn.error"
    assert all({"timestamp", "level"} <= set(line) for line in lines)


def test_access_lines_are_never_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json")
    logging.getLogger("uvicorn.access").info('203.0.113.7:1 - "GET /v1/pixel.gif?k=pk_1"')
    assert _lines(capsys) == []


def test_configuring_twice_writes_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    configure_logging("info", "json")
    get_logger("kompas.test").info("once")
    assert len(_lines(capsys)) == 1


@pytest.mark.parametrize(
    "key",
    ["ip", "client_ip", "address", "email", "customer_email", "user_agent", "User-Agent",
     "visitor", "customer", "recipient", "X-Forwarded-For", "cookie", "query_string"],
)  # fmt: skip
def test_personal_keys_are_dropped_at_any_depth(
    key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "json")
    get_logger("kompas.test").info(
        "seen", **{key: "SECRET"}, inner={key: "SECRET", "kept": [{key: "SECRET"}]}, count=1
    )
    logging.getLogger("asyncpg").warning("seen", extra={})
    captured = capsys.readouterr().err
    assert "SECRET" not in captured
    line = json.loads(captured.splitlines()[0])
    assert (line["inner"], line["count"]) == ({"kept": [{}]}, 1)


def test_words_that_only_look_personal_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    get_logger("kompas.test").info("seen", visitors=3, description="x", zip="8000")
    (line,) = _lines(capsys)
    assert (line["visitors"], line["description"], line["zip"]) == (3, "x", "8000")


def test_query_strings_and_addresses_are_blanked_wherever_they_stand(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Odd:
        def __repr__(self) -> str:
            return "Odd(anna@example.dk)"

    configure_logging("info", "json")
    get_logger("kompas.test").info("GET /v1/open?token=SECRET done?", url="https://x.dk/a?m=SECRET")
    get_logger("kompas.test").info("object", value=Odd(), listed={"anna@example.dk"})
    logging.getLogger("uvicorn.error").warning("bad %s from %s", "/p?SECRET", "anna@example.dk")
    lines = _lines(capsys)
    assert lines[0]["event"] == "GET /v1/open?[query] done?"
    assert lines[0]["url"] == "https://x.dk/a?[query]"
    assert lines[1]["value"] == "Odd([email])"
    assert lines[1]["listed"] == ["[email]"]
    assert lines[2]["event"] == "bad /p?[query] from [email]"


@pytest.mark.parametrize("fmt", ["json", "console"])
def test_tracebacks_are_written_without_locals_or_addresses(
    fmt: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", fmt)

    def fail() -> None:
        hidden = "LOCAL-" + "VALUE"
        raise ValueError("no anna@example.dk" if hidden else "")

    try:
        fail()
    except ValueError:
        get_logger("kompas.test").exception("failed")
        logging.getLogger("asyncpg").exception("failed")
    captured = capsys.readouterr().err
    assert captured.count("ValueError: no [email]") == 2
    assert "LOCAL-VALUE" not in captured


async def test_a_request_id_stays_with_its_task(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")

    async def serve(request_id: str) -> None:
        with request_context(request_id):
            await asyncio.sleep(0)
            get_logger("kompas.test").info("served", expected=request_id)
            logging.getLogger("asyncpg").warning("also")

    await asyncio.gather(*(serve(f"r{n}") for n in range(5)))
    get_logger("kompas.test").info("outside")
    lines = _lines(capsys)
    served = [line for line in lines if line["event"] == "served"]
    assert len(served) == 5
    assert all(line["request_id"] == line["expected"] for line in served)
    assert all(line["request_id"] for line in lines if line["event"] == "also")
    assert "request_id" not in lines[-1]


def test_the_console_form_is_for_eyes(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    get_logger("kompas.test").info("started", port=8000, visitor="SECRET")
    captured = capsys.readouterr().err
    assert "started" in captured
    assert "port=8000" in captured
    assert "SECRET" not in captured


@pytest.mark.parametrize(("level", "fmt"), [("loud", "json"), ("info", "xml")])
def test_unknown_levels_and_formats_are_refused(level: Any, fmt: Any) -> None:
    with pytest.raises(ValueError, match="no such log level or format"):
        configure_logging(level, fmt)


def test_frames_say_where_and_nothing_of_what() -> None:
    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise ValueError("somebody@example.com")

    try:
        fail(20)
    except ValueError as error:
        frames = frames_of(error)
    assert len(frames) == 8
    assert all(frame.startswith(f"{__file__}:") and frame.endswith(" fail") for frame in frames)
    assert "somebody" not in str(frames)
    assert frames_of(ValueError("never raised")) == []
