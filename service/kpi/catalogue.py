"""The catalogue: every KPI as data, read from `catalogue/*.toml` and checked before use."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from service.errors import NotFoundError, StartupError
from service.kit.nearest import nearest
from service.kpi.definition import Entry, Kpi, build
from service.kpi.rules import problems_of

FOLDER = Path(__file__).parent / "catalogue"


class CatalogueError(StartupError):
    """The catalogue has mistakes; the message lists every one with its file and KPI."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The KPI catalogue has mistakes:\n" + "\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All KPIs, in the order of the files."""

    kpis: Mapping[str, Kpi]

    def __iter__(self) -> Iterator[Kpi]:
        return iter(self.kpis.values())

    def get(self, kpi_id: str) -> Kpi:
        """The KPI of that id; NotFoundError with the nearest ids otherwise."""
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
        return kpi


def read_entries(folder: Path) -> list[Entry]:
    """Every `[[kpi]]` of a folder's TOML files, in name order; decimals stay exact."""
    entries = []
    for path in sorted(folder.glob("*.toml")):
        try:
            document = tomllib.loads(path.read_text("utf-8"), parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            raise CatalogueError([f"{path.name}: is not TOML: {error}"]) from error
        kpis, defaults = document.pop("kpi", []), document.pop("defaults", {})
        if document or not isinstance(kpis, list) or not isinstance(defaults, dict):
            raise CatalogueError([f"{path.name}: holds [defaults] and [[kpi]] tables only"])
        for data in kpis:
            merged = {**defaults, **data}
            entries.append(Entry(path.name, str(data.get("id", "?")), merged))
    return entries


def load_catalogue(folder: Path = FOLDER) -> Catalogue:
    """Read and check the catalogue; CatalogueError with every problem at once."""
    entries = read_entries(folder)
    problems = problems_of(entries)
    if problems:
        raise CatalogueError(problems)
    return Catalogue({entry.id: build(entry) for entry in entries})
