"""The OpenAPI fragment says what the doors do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from service.edge import pixel, reader
from service.edge.contract import edge_paths
from service.edge.doors import DOORS
from tests.edge.conftest import Edge, receipt
from tests.edge.test_doors import GOOD

CONTRACT = edge_paths()
PROBLEM = {"type": "object", "required": ["type", "title", "status", "code", "message"]}
SCHEMAS = {**CONTRACT["components"]["schemas"], "Problem": PROBLEM}


def valid(schema: dict[str, Any], value: Any) -> bool:
    whole = {**schema, "components": {"schemas": SCHEMAS}}
    return Draft202012Validator(whole).is_valid(value)


def answer_schema(path: str, status: int) -> dict[str, Any]:
    """The schema of a door's answer; fails when the status is not documented."""
    answer = CONTRACT["paths"][path]["post"]["responses"][str(status)]
    (content,) = answer["content"].values()
    schema: dict[str, Any] = content["schema"]
    return schema


def examples() -> Iterator[tuple[str, str, Any]]:
    for door in DOORS:
        body = CONTRACT["paths"][door.path]["post"]["requestBody"]
        for name, example in body["content"]["application/json"]["examples"].items():
            yield door.path, name, example["value"]


def test_every_door_is_described() -> None:
    described = {door.path for door in DOORS} | {pixel.PATH, reader.OPEN, reader.CLICK}
    assert set(CONTRACT["paths"]) == described


def test_schemas_are_schemas_and_references_lead_somewhere() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)

    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            node = list(node.values())
        if isinstance(node, list):
            for item in node:
                yield from references(item)

    known = {f"#/components/schemas/{name}" for name in SCHEMAS}
    assert set(references(CONTRACT)) <= known


def test_operations_have_names_of_their_own() -> None:
    operations = [operation for item in CONTRACT["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(operation["summary"] for operation in operations)


@pytest.mark.parametrize(("path", "name", "example"), list(examples()))
async def test_examples_are_valid_and_taken(edge: Edge, path: str, name: str, example: Any) -> None:
    body = CONTRACT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert valid(body, example)
    assert valid(body, [example])
    answer = await edge.post(path, example)
    assert answer.status_code == 200, answer.text
    assert valid(answer_schema(path, 200), answer.json())


BAD: tuple[tuple[Any, dict[str, Any]], ...] = (
    ("oops", {}),
    ([{}], {}),
    ([{"occurred_at": "2999-01-01"}, {"a": 1}], {}),
    ([], {}),
    ("x" * 6_000_000, {}),
    ({}, {"key": "read"}),
    ({}, {"key": None}),
    ({}, {"headers": {"Content-Encoding": "br"}}),
)


@pytest.mark.parametrize("path", GOOD)
async def test_answers_are_as_described(edge: Edge, path: str) -> None:
    for body, how in BAD:
        answer = await edge.post(path, body, **how)
        assert answer.status_code >= 400
        assert valid(answer_schema(path, answer.status_code), receipt(answer)), answer.text


def test_parameters_of_the_pixel_are_those_it_reads() -> None:
    described = CONTRACT["paths"][pixel.PATH]["get"]["parameters"]
    read = {parameter.name for parameter in pixel.PARAMETERS}
    assert {parameter["name"] for parameter in described} == read - {"k"}
