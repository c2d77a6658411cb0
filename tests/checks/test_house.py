"""Rules of the house that a linter does not know."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES = 400
FUNCTION_LINES = 40
VAGUE_NAMES = {"service", "utils", "helpers", "manager", "common"}

SOURCES = sorted((ROOT / "service").rglob("*.py"))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body without the docstring: what has to be held in the head."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return 0 if not body else (body[-1].end_lineno or 0) - body[0].lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= FILE_LINES
    long = {f.name: n for f in functions(ast.parse(text)) if (n := body_lines(f)) > FUNCTION_LINES}
    assert long == {}


def test_names_say_what_is_inside() -> None:
    assert [path for path in SOURCES if path.stem in VAGUE_NAMES] == []


def test_nothing_names_a_package_index_or_a_machine() -> None:
    """Constraints carry hashes and no addresses."""
    for name in ("constraints.txt", "constraints-dev.txt", "pyproject.toml", "Makefile"):
        text = (ROOT / name).read_text()
        assert "index-url" not in text
        assert "find-links" not in text
        assert "://" not in text
