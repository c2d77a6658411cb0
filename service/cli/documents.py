"""`kompas openapi` and `kompas docs`: generated files, written or held against the code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from service.app import describe
from service.errors import StartupError
from service.kpi.document import render
from service.publish.document import metrics_page
from service.settings import Settings


def openapi_text() -> str:
    """The contract as it is committed: `openapi.json`."""
    return json.dumps(describe(), indent=2, ensure_ascii=False) + "\n"


def settings_page() -> str:
    """`docs/reference/settings.md`: every environment variable, as the code has it."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default if field.default_factory is None else None
        shown = ",".join(default) if isinstance(default, tuple) else default
        shown = str(shown).lower() if isinstance(shown, bool) else shown
        extra = field.json_schema_extra
        must_be = extra["must_be"] if isinstance(extra, dict) else ""
        value = "" if shown in {None, ""} else f"`{shown}`"
        rows.append(f"| `KOMPAS_{name.upper()}` | {field.description} | {must_be} | {value} |")
    head = "| variable | meaning | must be | default |\n|---|---|---|---|\n"
    return (
        f"# Settings\n\nAll settings are environment variables.\n\n{head}" + "\n".join(rows) + "\n"
    )


GENERATED = {"kpis.md": render, "metrics.md": metrics_page, "settings.md": settings_page}
"""Pages of `docs/reference/` that are made from code, by file name."""


def _hold(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        raise StartupError(f"{path} is not what the code says; run `make docs` and review it.")


def openapi(
    write: Annotated[Path | None, typer.Option(help="Write the contract to this file.")] = None,
    check: Annotated[Path | None, typer.Option(help="Fail unless this file is current.")] = None,
) -> None:
    """Print the OpenAPI contract, write it, or check that a file is current."""
    text = openapi_text()
    if check:
        _hold(check, text)
    elif write:
        write.write_text(text)
    else:
        typer.echo(text, nl=False)


def docs(
    write: Annotated[Path | None, typer.Option(help="Write the pages into this folder.")] = None,
    check: Annotated[Path | None, typer.Option(help="Fail unless its pages are current.")] = None,
) -> None:
    """Make the generated reference pages again, or check that they are current."""
    for name, make in GENERATED.items():
        if check:
            _hold(check / name, make())
        elif write:
            (write / name).write_text(make())
        else:
            typer.echo(make(), nl=False)
