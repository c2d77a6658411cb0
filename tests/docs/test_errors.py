"""`docs/reference/errors.md` lists every code that an answer can carry, with its status."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import service
from service.errors import KompasError
from service.ingest.refusals import RefusalCode
from service.kit.payload import Strict
from service.kpi import compute, uncertainty
from service.kpi.catalogue import load_catalogue

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/errors.md").read_text("utf-8")
Class = TypeVar("Class", bound=type)


def below(parent: Class) -> Iterator[Class]:
    yield parent
    for child in parent.__subclasses__():
        yield from below(child)


def everything() -> None:
    """Imports every module, so that every subclass is known."""
    for module in pkgutil.walk_packages(service.__path__, "service."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


everything()
ERRORS = {error.__name__: error for error in below(KompasError)}


def texts(node: ast.expr) -> Iterator[str]:
    """The constant texts that an expression can be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)


def raised() -> dict[str, set[int]]:
    """Codes of problem documents and the statuses they come with, as the code has them."""
    found: dict[str, set[int]] = defaultdict(set)
    for error in ERRORS.values():
        found[error.code].add(error.status)
    for path in (ROOT / "service").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = node.func.id
                for keyword in node.keywords:
                    if keyword.arg == "code" and name in ERRORS:
                        for code in texts(keyword.value):
                            found[code].add(ERRORS[name].status)
                # What is no JSON has its code first, and becomes a plain 400.
                if name == "JsonError":
                    for code in texts(node.args[0]):
                        found[code].add(400)
    for noun in {model.noun for model in below(Strict)}:
        found[f"missing_{noun}"].add(422)
        found[f"unknown_{noun}"].add(422)
    return dict(found)


def section(*titles: str) -> list[list[str]]:
    """The rows of the tables under some headings: cells without their back quotes."""
    parts = [PAGE.split(f"## {title}\n")[1].split("\n## ")[0] for title in titles]
    lines = [line for part in parts for line in part.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [[row[0].strip("`"), *row[1:]] for row in rows]


PROBLEMS = section(
    "Problems of a request", "Bodies that are not read", "What was asked cannot be answered"
)
REFUSALS = section("Refused events")
NULLS = section("Values that are null")


def test_every_problem_is_documented_with_its_status() -> None:
    documented = {row[0]: {int(status) for status in row[1].split(",")} for row in PROBLEMS}
    assert documented == raised()
    assert len(documented) == len(PROBLEMS), "a code stands in two rows"


def test_every_refusal_is_documented() -> None:
    assert sorted(row[0] for row in REFUSALS) == sorted(RefusalCode)


def test_every_refusal_is_used() -> None:
    """A code that nothing raises is a promise that nobody keeps."""
    text = "".join(path.read_text("utf-8") for path in (ROOT / "service").rglob("*.py"))
    used = set(re.findall(r"\b(?:Refusal)?Code\.([A-Z_]+)", text))
    assert {code.name for code in RefusalCode} - used == set()


def test_every_reason_and_flag_of_a_value_is_documented() -> None:
    formulas = [formula for kpi in load_catalogue() for formula in kpi.views.values()]
    needed = [formula.requires.reason for formula in formulas if formula.requires]
    assert {row[0] for row in NULLS} == {*compute.Reason, *uncertainty.Flag, *needed}


def test_every_row_says_what_it_means_and_what_to_do() -> None:
    rows = {4: PROBLEMS, 3: REFUSALS}
    for cells, table in rows.items():
        for row in table:
            assert len(row) == cells, row
            assert all(cell.strip(" |") for cell in row), row


def test_only_what_can_be_sent_again_is_called_retryable() -> None:
    for code, statuses in raised().items():
        if statuses & {429, 503}:
            (row,) = [row for row in PROBLEMS if row[0] == code]
            assert "again" in row[2] + row[3]
