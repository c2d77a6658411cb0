"""Requests held against a model: what is wrong, where, and what would be right."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pytest
from pydantic import Field
from starlette.requests import Request
from starlette.types import Message

from service.errors import InvalidError, RequestError, TooLargeError
from service.kit.payload import Strict, Text, checked, read_json, refuse_repeats


class Part(Strict):
    size: int = 0


class Question(Strict):
    noun: ClassVar[str] = "parameter"

    part: Part = Part()
    window: Text | None = None
    from_: str | None = Field(None, alias="from")
    kpis: list[Annotated[str, Field(max_length=4)]] = Field(min_length=1)


def refused(value: object) -> InvalidError:
    with pytest.raises(InvalidError) as caught:
        checked(Question, value)
    return caught.value


def test_a_good_value_is_the_model() -> None:
    question = checked(Question, {"from": "x", "kpis": ["a"], "window": "a\x00b\ud800"})
    assert question.from_ == "x"
    assert question.window == "a\ufffdb\ufffd"


def test_an_unknown_name_comes_with_the_nearest() -> None:
    error = refused({"widnow": "today", "kpis": ["a"]})
    assert error.code == "unknown_parameter"
    assert error.detail == {"field": "widnow", "nearest": ["window"]}
    assert error.message == "There is no parameter 'widnow'. Did you mean window?"


def test_an_unknown_name_without_a_likeness_lists_all() -> None:
    error = refused({"{name}%s": 1})
    assert error.message == "There is no parameter '{name}%s'. There are: part, window, from, kpis."
    assert error.detail["nearest"] == []


@pytest.mark.parametrize(
    ("value", "code", "field"),
    [
        ({}, "missing_parameter", "kpis"),
        ({"kpis": []}, "invalid", "kpis"),
        ({"kpis": ["a", "abcde"]}, "invalid", "kpis/1"),
        ({"kpis": "a"}, "invalid", "kpis"),
        ([], "invalid", ""),
        (None, "invalid", ""),
    ],
)
def test_every_mistake_has_a_code_and_a_field(value: object, code: str, field: str) -> None:
    error = refused(value)
    assert (error.code, error.detail["field"]) == (code, field)
    assert error.message.endswith(".")


@pytest.mark.parametrize("value", [[], None, "text", 7])
def test_what_is_no_object_is_told_so_without_the_name_of_a_class(value: object) -> None:
    assert refused(value).message == "The body must be an object."
    error = refused({"kpis": ["a"], "part": value})
    assert error.message == "The parameter 'part' must be an object."


def test_a_body_has_members() -> None:
    with pytest.raises(InvalidError, match=r"^There is no member 'sise'\. Did you mean size\?$"):
        checked(Part, {"sise": 1})
    with pytest.raises(InvalidError, match=r"^The member 'size' is not acceptable: "):
        checked(Part, {"size": "large"})


def request(body: bytes = b"", query: bytes = b"") -> Request:
    parts = [body[:3], body[3:]]

    async def receive() -> Message:
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    scope = {"type": "http", "method": "POST", "headers": [], "query_string": query}
    return Request(scope, receive)


async def test_a_body_is_json_whatever_it_is_called() -> None:
    assert await read_json(request(b'{"a": [1, "2"]}')) == {"a": [1, "2"]}


async def test_a_body_that_is_no_json_is_refused_by_its_own_code() -> None:
    with pytest.raises(RequestError) as caught:
        await read_json(request(b'{"a": 1, "a": 2}'))
    assert caught.value.code == "duplicate_key"


async def test_a_body_is_read_up_to_its_limit() -> None:
    with pytest.raises(TooLargeError):
        await read_json(request(b"[1,2,3,4]"), limit=8)
    assert await read_json(request(b"[1,2,3,4]"), limit=9) == [1, 2, 3, 4]


def test_a_parameter_given_twice_is_refused() -> None:
    with pytest.raises(InvalidError) as caught:
        refuse_repeats(request(query=b"window=today&window=yesterday"))
    assert caught.value.code == "repeated_parameter"
    refuse_repeats(request(query=b"window=today&by=channel"))
