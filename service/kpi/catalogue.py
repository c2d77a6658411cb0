"""The catalogue: every KPI as data, read from `catalogue/*.toml` and checked before use."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from service.errors import NotFoundError, StartupError
from service.kit.nearest import nearest
from service.kpi.definition import LANGUAGES, Entry, Kpi
from service.kpi.formula import KpiKind
from service.kpi.lines import lines_of
from service.kpi.rules import problems_of
from service.kpi.rules.sets import built

FOLDER = Path(__file__).parent / "catalogue"
"""The KPIs that come with Kompas; whatever is read from elsewhere is a user's own."""

MOST_LEVELS = 20
"""Of tables and lists in one another."""

OF_USERS: dict[str, Any] = {
    "edge": {
        "en": "Where nothing was ever counted, or there is nothing to divide by: no value.",
        "da": "Hvor intet er talt, eller der ikke er noget at dividere med: ingen værdi.",
    },
    "breakdowns": ["channel", "source", "medium", "campaign", "content", "term"],
    "default_window": "last_30_days",
    "source": "own definition",
    "owner": "own",
    "version": 1,
    "status": "stable",
}
"""What users need not say of a KPI of their own."""


class CatalogueError(StartupError):
    """The catalogue has mistakes; the message lists every one with its file, line and KPI."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The KPI catalogue has mistakes:\n" + "\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All KPIs in the order of the files, in their newest version; `older` are the others."""

    kpis: Mapping[str, Kpi]
    older: tuple[Kpi, ...] = ()

    def __iter__(self) -> Iterator[Kpi]:
        return iter(self.kpis.values())

    def get(self, kpi_id: str, version: int | None = None) -> Kpi:
        """The KPI of that id, in the newest version unless another is asked for.

        Raises NotFoundError with the nearest ids, or with the versions there are.
        """
        kpi = self.kpis.get(kpi_id)
        if kpi is None:
            meant = nearest(kpi_id, self.kpis)
            hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
            raise NotFoundError(
                f"There is no KPI '{kpi_id[:100]}'.{hint} GET /v1/kpis lists all of them.",
                code="unknown_kpi",
                field="kpi",
                nearest=meant,
            )
        if version is None or version == kpi.version:
            return kpi
        versions = {one.version: one for one in self.versions(kpi_id)}
        if version not in versions:
            there_is = ", ".join(str(number) for number in versions)
            raise NotFoundError(
                f"There is no version {str(version)[:20]} of {kpi_id}; there is {there_is}.",
                code="unknown_version",
                field="version",
                versions=list(versions),
            )
        return versions[version]

    def versions(self, kpi_id: str) -> tuple[Kpi, ...]:
        """Every version of a KPI, the newest first; NotFoundError where there is none."""
        older = (kpi for kpi in self.older if kpi.id == kpi_id)
        return (self.get(kpi_id), *sorted(older, key=lambda kpi: -kpi.version))


def read_entries(folder: Path) -> list[Entry]:
    """Every `[[kpi]]` of a folder's TOML files, in name order; decimals stay exact."""
    is_own = folder != FOLDER
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith(".toml"))
    except OSError as error:
        raise CatalogueError([f"{folder}: cannot be read: {error.strerror}"]) from error
    return [entry for path in paths for entry in read_file(path, is_own=is_own)]


def read_file(path: Path, *, is_own: bool = True) -> list[Entry]:
    """Every `[[kpi]]` of a TOML file; CatalogueError where it is no such file."""
    text, document = _parsed(path)
    kpis, defaults = document.pop("kpi", []), document.pop("defaults", {})
    is_catalogue = isinstance(kpis, list) and all(isinstance(data, dict) for data in kpis)
    if document or not is_catalogue or not isinstance(defaults, dict):
        raise CatalogueError([f"{path.name}: holds [defaults] and [[kpi]] tables only"])
    entries = []
    for data, lines in zip(kpis, lines_of(text, len(kpis)), strict=True):
        merged = {**defaults, **data}
        whole = _completed(merged) if is_own else merged
        entries.append(Entry(path.name, str(data.get("id", "?")), whole, is_own, lines))
    return entries


def _parsed(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text("utf-8")
        document = tomllib.loads(text, parse_float=Decimal)
    except OSError as error:
        raise CatalogueError([f"{path.name}: cannot be read: {error.strerror}"]) from error
    except InvalidOperation as error:
        raise CatalogueError([f"{path.name}: has a number with too large an exponent"]) from error
    except ValueError as error:
        raise CatalogueError([f"{path.name}: is not TOML: {error}"]) from error
    except RecursionError as error:
        raise CatalogueError([f"{path.name}: is nested too deeply"]) from error
    if _is_deep(document):
        raise CatalogueError([f"{path.name}: is nested too deeply"])
    return text, document


def _is_deep(document: object) -> bool:
    """Whether it is nested deeper than any definition; dotted keys may nest without recursion."""
    level = [document]
    for _ in range(MOST_LEVELS):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return bool(level)


def entry_of_json(kpi_id: str, data: Mapping[str, Any]) -> Entry:
    """A user's KPI as JSON: the keys of a `[[kpi]]` table, decimals as Decimal."""
    return Entry("request", kpi_id, _completed({"id": kpi_id, "theme": "own", **data}), own=True)


def _completed(data: Mapping[str, Any]) -> dict[str, Any]:
    """With what a user may leave out; what is said in English only is said so in Danish too."""
    whole = {**OF_USERS, **data}
    if "additivity" not in whole:
        whole["additivity"] = "full" if whole.get("kind") == KpiKind.SIMPLE else "none"
    for key in ("title", "about", "edge"):
        text = whole.get(key)
        if isinstance(text, dict) and "en" in text:
            whole[key] = dict.fromkeys(LANGUAGES, text["en"]) | text
    return whole


def load_catalogue(folder: Path = FOLDER, more: Sequence[Entry] = ()) -> Catalogue:
    """Read and check the catalogue, with `more` entries; CatalogueError with every problem."""
    entries = [*read_entries(folder), *more]
    problems = problems_of(entries)
    if problems:
        raise CatalogueError([str(problem) for problem in problems])
    kpis = [kpi for _, kpi in built(entries)]
    last: dict[str, int] = {}
    for kpi in kpis:
        last[kpi.id] = max(kpi.version, last.get(kpi.id, 0))
    return Catalogue(
        {kpi.id: kpi for kpi in kpis if kpi.version == last[kpi.id]},
        tuple(kpi for kpi in kpis if kpi.version != last[kpi.id]),
    )
