"""Rules of the house that a linter does not know."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
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
    """Constraints carry hashes and no addresses; paths are those of any machine."""
    for name in ("constraints.txt", "constraints-dev.txt", "pyproject.toml", "Makefile"):
        assert "://" not in texts()[name]
    words = ("pypi.org", "pythonhosted", "/root/", "/Users/", "/work/", "/home/")
    found = {(name, word) for name, text in others() for word in words if word in text}
    # A made-up user's home, to test where data goes by default.
    assert found - {("tests/test_settings.py", "/home/")} == set()


# --- What git knows ---------------------------------------------------------------------------


@cache
def tracked() -> tuple[str, ...]:
    """The files of the project: committed, or new and not ignored."""
    if not (ROOT / ".git").exists() or not shutil.which("git"):
        pytest.skip("no checkout or no git here, to say which files belong to the project")
    # Whoever owns the checkout: nothing of it is run.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z"]
    command += ["--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    names = (name for name in listed.stdout.split("\0") if name)
    return tuple(sorted(name for name in names if (ROOT / name).is_file()))


@cache
def texts() -> dict[str, str]:
    """The texts among them, by name."""
    found = {}
    for name in tracked():
        with suppress(UnicodeDecodeError):
            found[name] = (ROOT / name).read_text("utf-8")
    return found


@cache
def modules() -> dict[str, ast.Module]:
    """The Python files among them, parsed."""
    return {name: ast.parse(text) for name, text in texts().items() if name.endswith(".py")}


def others() -> Iterator[tuple[str, str]]:
    """Texts by name, without this file, which has to name what it looks for."""
    itself = Path(__file__).relative_to(ROOT).as_posix()
    yield from ((name, text) for name, text in texts().items() if name != itself)


def test_nothing_is_left_to_do() -> None:
    words = re.compile(r"\b(?:TODO|FIXME|HACK|XXX)\b")
    assert [name for name, text in others() if words.search(text)] == []


EXCEPTION = re.compile(
    r"#\s*(?:ruff:\s*)?(?:noqa(?::\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)?|type:\s*ignore(?:\[[^]]*\])?"
    r"|pragma:\s*no\s+cover)(.*)"
)


def without_reason(line: str) -> bool:
    """Whether a line has an exception to a rule and does not say why."""
    found = EXCEPTION.search(line)
    return found is not None and len(re.findall(r"\w{2,}", found[1])) < 2


def test_what_counts_as_a_reason() -> None:
    assert without_reason("x = 1  # noqa")
    assert without_reason("x = 1  # noqa: E501, N802")
    assert without_reason("x = 1  # type: ignore[misc]")
    assert not without_reason("x = 1  # noqa: E501 - one string that is searched for")
    assert not without_reason("x = 1  # type: ignore[misc]  # the parser has no stubs")
    assert not without_reason("x = 1  # why it is one")


def test_every_exception_to_a_rule_has_its_reason_on_the_line() -> None:
    found = [
        f"{name}:{number}"
        for name, text in others()
        if name.endswith(".py")
        for number, line in enumerate(text.splitlines(), start=1)
        if without_reason(line)
    ]
    assert found == []


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the text of what is called, such as `time.sleep`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_every_skipped_test_says_why() -> None:
    silent = [
        f"{name}:{call.lineno}"
        for name, tree in modules().items()
        if name.startswith("tests/")
        for called, call in calls(tree)
        if re.fullmatch(r"pytest\.(?:mark\.)?(?:skip|skipif|xfail)", called)
        and not any(keyword.arg == "reason" for keyword in call.keywords)
        and not (called == "pytest.skip" and call.args)
    ]
    assert silent == []
    bare = re.compile(r"@pytest\.mark\.(?:skip|xfail)$", re.MULTILINE)
    assert [name for name, text in texts().items() if bare.search(text)] == []


def test_tests_do_not_wait_by_the_clock_nor_replace_our_parts() -> None:
    for name, tree in modules().items():
        if not name.startswith("tests/"):
            continue
        for called, call in calls(tree):
            if name.startswith("tests/torture/"):
                continue  # commands of their own, which let time pass on purpose
            if called.rpartition(".")[2] == "sleep" and isinstance(call.args[0], ast.Constant):
                assert float(str(call.args[0].value)) < 0.5, f"{name}:{call.lineno}"
        assert not {"unittest.mock", "mock"} & set(imports(tree, name)), name


# --- What imports what ------------------------------------------------------------------------


def module_of(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(tree: ast.AST, name: str) -> Iterator[str]:
    """Dotted names that a module imports, and `from` names as if they were modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute here"
            source = node.module or ""
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def test_every_module_is_imported_by_another() -> None:
    """A module that nobody imports is dead, or a test helper that no test uses."""
    trees = modules()
    used = {found for name, tree in trees.items() for found in imports(tree, name)}
    by_service = {
        found
        for name, tree in trees.items()
        if name.startswith("service/")
        for found in imports(tree, name)
    }
    dead = []
    for name in trees:
        stem = Path(name).stem
        if stem in {"__init__", "__main__", "conftest"} or stem.startswith("test_"):
            continue
        if name.startswith("service/") and module_of(name) not in by_service:
            dead.append(name)
        if name.startswith("tests/") and module_of(name) not in used | scripts():
            dead.append(name)
    assert dead == []


def scripts() -> set[str]:
    """Modules that a Makefile or a page runs by their path or name."""
    plain = "".join(text for name, text in texts().items() if not name.endswith(".py"))
    # `make torture-slow` runs tests/torture/slow.py.
    plain += "".join(f"tests/torture/{name}.py" for name in re.findall(r"torture-(\w+)", plain))
    # Others are started as processes of their own: python -m tests.torture.forgetful.
    started = re.findall(r'"tests\.(?:\w+\.)+\w+"', "".join(texts().values()))
    plain += "".join(f"{name.strip(chr(34)).replace('.', '/')}.py" for name in started)
    return {module_of(name) for name in tracked() if name.endswith(".py") and name in plain}


def test_every_other_file_is_named_somewhere() -> None:
    """Cheap, but finds what was left behind: nobody mentions its name, nor its folder's."""
    names = tracked()
    everything = "\n".join(texts().values())
    by_tools = {".gitignore", ".dockerignore", "alembic.ini", "LICENSE", "README.md", "run"}
    lost = []
    for name in names:
        path = Path(name)
        if path.suffix == ".py" or path.name in by_tools or name.startswith("docs/"):
            continue  # modules are checked above, pages by their links
        folder = path.parent.name
        if path.name not in everything and not (folder and f'"{folder}"' in everything):
            lost.append(name)
    assert lost == []


def test_every_floor_stands_in_the_import_contract() -> None:
    """`exhaustive` holds for the floors: so each must be a package or module below `service`."""
    contracts = tomllib.loads(texts()["pyproject.toml"])["tool"]["importlinter"]["contracts"]
    (floors,) = [contract for contract in contracts if contract["type"] == "layers"]
    assert floors["exhaustive"] is True
    assert floors["containers"] == ["service"]
    listed = {floor.strip() for layer in floors["layers"] for floor in re.split(r"[|:]", layer)}
    there = {Path(name).parts[1].removesuffix(".py") for name in modules() if "service/" in name}
    assert there - {"__init__"} == listed
    (settings,) = [c for c in contracts if c.get("forbidden_modules") == ["service.settings"]]
    roots = {"cli", "app", "worker", "errors", "telemetry", "settings"}
    assert {
        floor.removeprefix("service.") for floor in settings["source_modules"]
    } == listed - roots


def test_words_and_tools_need_no_library() -> None:
    """`domain` is pure; `kit` knows only what it wraps."""
    allowed = {"domain": set(), "kit": {"starlette", "pydantic", "pydantic_core", "structlog"}}
    for name, tree in modules().items():
        floor = name.split("/")[1] if name.startswith("service/") else ""
        if floor in allowed:
            roots = {found.split(".")[0] for found in imports(tree, name)}
            foreign = roots - sys.stdlib_module_names - {"service"} - allowed[floor]
            assert foreign == set(), name


OWN_CLOCK = {"kit/clock.py", "store/embedded.py", "store/embedded_cluster.py"}
"""The clock's home, and the supervisor of another process, which waits for real."""
CLOCKS = {
    *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
    *("time.time", "time.time_ns", "time.monotonic", "time.perf_counter"),
}


def test_time_is_passed_in() -> None:
    looked = [
        f"{name}:{call.lineno}"
        for name, tree in modules().items()
        if name.startswith("service/") and name.removeprefix("service/") not in OWN_CLOCK
        for called, call in calls(tree)
        if called in CLOCKS
    ]
    assert looked == []
