"""`kompas openapi` and `kompas docs`: generated files, written or held against the code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.errors import StartupError


def _hold(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        raise StartupError(f"{path} is not what the code says; run `make docs` and review it.")


def openapi(
    write: Annotated[Path | None, typer.Option(help="Write the contract to this file.")] = None,
    check: Annotated[Path | None, typer.Option(help="Fail unless this file is current.")] = None,
) -> None:
    """Print the OpenAPI contract, write it, or check that a file is current."""
    from service.cli.pages import openapi_text

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
    from service.cli.pages import GENERATED

    for name, make in GENERATED.items():
        if check:
            _hold(check / name, make())
        elif write:
            (write / name).write_text(make())
        else:
            typer.echo(make(), nl=False)
