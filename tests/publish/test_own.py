"""The contract of own KPIs is what their rules check: no key more, none less."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from service.app import describe
from service.kpi.catalogue import FOLDER, entry_of_json, read_entries
from service.kpi.definition import OF_A_FORMULA, Entry
from service.kpi.rules import problems_of
from service.kpi.rules.form import TYPES

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "own-kpis.md"
OPERATION = describe()["paths"]["/v1/kpis/{id}"]["put"]
SCHEMA: dict[str, Any] = OPERATION["requestBody"]["content"]["application/json"]["schema"]
BODIES = [
    *(json.loads(body) for body in re.findall(r" -d '(\{.*?\})'\n", GUIDE.read_text(), re.DOTALL)),
    *(
        kpi
        for text in re.findall(r"```toml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        for kpi in tomllib.loads(text)["kpi"]
    ),
]
OURS = [json.loads(json.dumps(entry.data, default=float)) for entry in read_entries(FOLDER)]


def is_valid(body: dict[str, Any]) -> bool:
    return Draft202012Validator(SCHEMA).is_valid(body)


def mistakes(body: dict[str, Any]) -> set[str]:
    """The keys with which the rules find fault."""
    return {problem.field for problem in problems_of([_entry(body)])}


def _entry(body: dict[str, Any]) -> Entry:
    return entry_of_json("mine", {key: value for key, value in body.items() if key != "id"})


@pytest.mark.parametrize("body", BODIES)
def test_the_bodies_of_the_guide_are_valid(body: dict[str, Any]) -> None:
    assert len(BODIES) == 3
    assert list(Draft202012Validator(SCHEMA).iter_errors(body)) == []


@pytest.mark.parametrize("body", OURS, ids=[body["id"] for body in OURS])
def test_whatever_comes_with_kompas_could_be_put(body: dict[str, Any]) -> None:
    assert list(Draft202012Validator(SCHEMA).iter_errors(body)) == []


def test_the_contract_has_the_keys_of_a_definition() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"].keys() == TYPES.keys()
    for view in SCHEMA["properties"]["views"]["properties"].values():
        assert set(view["properties"]) == set(OF_A_FORMULA)


@pytest.mark.parametrize("key", [key for key in TYPES if key not in {"numerator", "denominator"}])
def test_what_the_contract_requires_the_rules_require(key: str) -> None:
    body = {name: value for name, value in BODIES[0].items() if name != key}
    assert (key in mistakes(body)) == (not is_valid(body)) == (key in SCHEMA["required"])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("colour", "red"),
        ("unit", "stones"),
        ("direction", "sideways"),
        ("kind", "sum"),
        ("additivity", "some"),
        ("status", "new"),
        ("interval", "guess"),
        ("default_window", "some_day"),
        ("breakdowns", ["weather"]),
        ("scale", "100"),
        ("bounded", 1),
        ("numerator", {"spend": "1"}),
        ("numerator", {"spend": {"wieght": 1}}),
        ("title", {"en": "Spend", "de": "Ausgaben"}),
        ("title", {"da": "Forbrug"}),
        ("requires", {"equal": ["orders"], "reason": "x"}),
    ],
)
def test_what_the_contract_refuses_the_rules_refuse(key: str, value: object) -> None:
    body = {**copy.deepcopy(BODIES[0]), key: value}
    assert not is_valid(body)
    assert key in mistakes(body)
