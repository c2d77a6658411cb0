"""Where in a catalogue file something was written, for the messages about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_ENTRY = re.compile(r"\s*\[\[\s*kpi\s*\]\]")
_DEFAULTS = re.compile(r"\s*\[\s*defaults\s*\]")
_TABLE = re.compile(r"\s*\[\s*kpi\s*\.\s*([\w.]+)\s*\]")
_KEY = re.compile(r"\s*([\w.]+)\s*=")


def lines_of(text: str, entries: int) -> Sequence[Mapping[str, int]]:
    """For each `[[kpi]]` of a TOML file, the line numbers by path of a key; '' is its own.

    A key of `[defaults]` has its line there. Nothing is known of a file that is written in another
    style, such that not all of its entries begin with a line of their own.
    """
    defaults: dict[str, int] = {}
    found: list[dict[str, int]] = []
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        lines = found[-1] if found else defaults
        if _ENTRY.match(line):
            found.append({**defaults, "": number})
            table = ""
        elif match := _TABLE.match(line):
            table = match[1] + "."
            lines[match[1]] = number
        elif _DEFAULTS.match(line):
            table = ""
        elif match := _KEY.match(line):
            lines[table + match[1]] = number
    return found if len(found) == entries else [{}] * entries
