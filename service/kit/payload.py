"""What a request asks for, held against a pydantic model; every mistake is one clear sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from service.errors import InvalidError, RequestError, TooLargeError
from service.kit import json
from service.kit.nearest import nearest

BODY_BYTES = 1024 * 1024
SHOWN = 100
"""Characters of a mistaken text that an answer repeats."""

WORDS = {"field": "member", "parameter": "parameter"}
"""What messages call a member, by its noun: a body is a JSON object, which has members."""

NO_OBJECT = frozenset({"model_type", "model_attributes_type"})
"""Pydantic's errors for what is no object, whose messages name the model's class."""

Text = Annotated[str, AfterValidator(json.clean)]
"""A text that Postgres can take: U+0000 and lone surrogates have become U+FFFD."""

Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """A model that refuses members it does not know, with the nearest names it does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    noun: ClassVar[str] = "field"
    """What the codes `unknown_<noun>` and `missing_<noun>` call a member: `field` in a body,
    `parameter` in a query."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        names = [field.alias or name for name, field in cls.model_fields.items()]
        for name in value:
            if name not in names:
                raise _unknown(str(name), names, cls.noun)
        return value


def _unknown(name: str, names: Sequence[str], noun: str) -> PydanticCustomError:
    meant = nearest(name, names)
    hint = f"Did you mean {' or '.join(meant)}?" if meant else f"There are: {', '.join(names)}."
    shown = name[:SHOWN]
    message = f"There is no {WORDS[noun]} '{shown}'. {hint}"
    context = {"message": message, "field": shown, "nearest": meant}
    # The library would format braces in the message itself.
    return PydanticCustomError(f"unknown_{noun}", "{message}", context)


def refusal(errors: Sequence[Any], noun: str = "field") -> InvalidError:
    """The first of pydantic's errors as our own; `field` is its path, with slashes."""
    first = errors[0]
    context = first.get("ctx", {})
    if "message" in context:
        detail = {name: context[name] for name in ("field", "nearest") if name in context}
        return InvalidError(context["message"], code=first["type"], **detail)
    path = "/".join(str(part) for part in first["loc"])
    what = f"The {WORDS[noun]} '{path}'" if path else "The body"
    if first["type"] == "missing":
        return InvalidError(f"{what} is required.", code=f"missing_{noun}", field=path)
    if first["type"] in NO_OBJECT:
        return InvalidError(f"{what} must be an object.", code="invalid", field=path)
    message = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
    return InvalidError(f"{what} is not acceptable: {message}.", code="invalid", field=path)


def checked(model: type[Model], value: Any) -> Model:
    """The value as a model; InvalidError with its first mistake."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        noun = model.noun if issubclass(model, Strict) else "field"
        raise refusal(error.errors(include_url=False), noun) from None


async def read_json(request: Request, limit: int = BODY_BYTES) -> Any:
    """The decoded body, whatever its Content-Type says.

    Raises TooLargeError above `limit` bytes, RequestError for what is not strict JSON.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLargeError(f"The body may have at most {limit} bytes.")
    try:
        value, _ = json.loads(bytes(body))
    except json.JsonError as error:
        raise RequestError(error.message, code=error.code) from None
    return value


def refuse_repeats(request: Request) -> None:
    """InvalidError when a query names one parameter twice: nobody can tell which was meant."""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name, count in counts.items():
        if count > 1:
            raise InvalidError(
                f"The parameter '{name[:SHOWN]}' is given {count} times; give it once.",
                code="repeated_parameter",
                field=name[:SHOWN],
            )
