"""The catalogue as it is while Kompas runs: what comes with it, files of a folder, users' own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from service import telemetry
from service.errors import ConflictError, NotFoundError, StartupError
from service.kit.clock import Clock
from service.kit.log import get_logger
from service.kpi.catalogue import FOLDER, Catalogue, entry_of_json, load_catalogue, read_entries
from service.kpi.definition import Entry, Kpi
from service.kpi.own import (
    InvalidKpiError,
    Key,
    Outcome,
    check_ids,
    check_number,
    key_of,
    outcomes,
    superseded,
    usable,
)
from service.kpi.rules import problems_of
from service.store.definitions import (
    Definition,
    changing,
    list_definitions,
    put_definition,
    retire,
    stamp,
)
from service.store.engine import reading
from service.store.failures import describe, is_environmental

LOOK_SECONDS = 1.0
"""How old the catalogue may be: so long another process's change may stay unseen."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """What storing one definition did, and the KPI that it is."""

    kpi: Kpi
    outcome: Outcome


class LiveCatalogue:
    """The catalogue with users' own KPIs, which may change at any time in any process.

    `folder` holds TOML files like those of the built-in catalogue; CatalogueError (a StartupError)
    lists every mistake in them.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock, folder: Path | None = None) -> None:
        self._engine = engine
        self._clock = clock
        built_in, of_files = read_entries(FOLDER), _read_folder(folder)
        self._built_in = frozenset(entry.id for entry in built_in)
        self._of_files = frozenset(entry.id for entry in of_files)
        self._given = of_files
        self._base = [*built_in, *of_files]
        self._catalogue = load_catalogue(more=of_files)
        self._entries = _by_key(self._base)
        self._lock = asyncio.Lock()
        self._stamp: tuple[object, ...] | None = None
        self._looked_at: float | None = None
        self._newest: dict[str, int] = {}
        self._left_out: set[Key] = set()
        self._is_away = False

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue as it was last seen."""
        return self._catalogue

    async def current(self) -> Catalogue:
        """The catalogue as it is, or was a second ago; the last one while the database is away."""
        if self._is_due():
            async with self._lock:
                if self._is_due():  # somebody else may have looked meanwhile
                    self._looked_at = self._clock.monotonic()
                    await self._look()
        return self._catalogue

    async def reload(self) -> None:
        """Look at once. Raises what the database raises."""
        async with self._lock:
            await self._load()
            self._looked_at = self._clock.monotonic()

    def entry(self, kpi: Kpi) -> Entry:
        """What was written of a KPI of the catalogue."""
        return self._entries[kpi.id, kpi.version]

    def is_own(self, kpi_id: str) -> bool:
        """Whether a KPI can be changed by `put` and `retire`."""
        return kpi_id not in self._built_in and kpi_id not in self._of_files

    async def drafted(self, kpi_id: str, data: Mapping[str, Any]) -> Entry:
        """An own KPI out of JSON, not checked yet.

        Without a version the newest that is stored is meant, retired or not.
        """
        await self.current()
        return entry_of_json(kpi_id, {"version": self._newest.get(kpi_id, 1), **data})

    async def put(self, given: Sequence[Entry]) -> list[Stored]:
        """Store definitions, all or none; they hold here at once, and in a second everywhere.

        Raises ConflictError for an id or a version that cannot be, InvalidKpiError for mistakes.
        """
        check_ids([entry.id for entry in given], self._built_in, self._of_files)
        async with changing(self._engine) as connection:
            stored = await list_definitions(connection)
            await asyncio.to_thread(self._check, given, stored)
            entries = [_whole(entry) for entry in given]
            done = outcomes(entries, stored)
            for entry, what in zip(entries, done, strict=True):
                if what is not Outcome.UNCHANGED:
                    await put_definition(connection, *key_of(entry), entry.data)
            check_number(await list_definitions(connection))
        await self.reload()
        kpis = [self._catalogue.get(*key_of(entry)) for entry in entries]
        return [Stored(kpi, what) for kpi, what in zip(kpis, done, strict=True)]

    async def retire(self, kpi_id: str) -> None:
        """Take an own KPI out of use; what was stored of it stays.

        Raises NotFoundError where there is none, ConflictError while another KPI needs it.
        """
        check_ids([kpi_id], self._built_in, self._of_files)
        async with changing(self._engine) as connection:
            stored = await list_definitions(connection)
            if not any(one.id == kpi_id and one.retired_at is None for one in stored):
                raise NotFoundError(
                    f"There is no KPI of your own '{kpi_id[:100]}'.", code="unknown_kpi", field="id"
                )
            await asyncio.to_thread(self._check_unused, kpi_id, stored)
            await retire(connection, kpi_id)
        await self.reload()

    def _is_due(self) -> bool:
        if self._looked_at is None:
            return True
        return self._clock.monotonic() - self._looked_at >= LOOK_SECONDS

    async def _look(self) -> None:
        try:
            await self._load()
        except Exception as error:
            if not is_environmental(error):
                raise
            if not self._is_away:
                _log.warning("definitions_not_read", error=describe(error))
            self._is_away = True
        else:
            self._is_away = False

    async def _load(self) -> None:
        async with reading(self._engine) as connection:
            found = await stamp(connection)
            if found == self._stamp:
                return
            stored = await list_definitions(connection)
        own, left_out = await asyncio.to_thread(usable, self._base, stored)
        self._catalogue = await asyncio.to_thread(load_catalogue, more=[*self._given, *own])
        self._entries = _by_key([*self._base, *own])
        self._newest = {one.id: one.version for one in stored}  # by version, the newest last
        self._note(left_out)
        self._stamp = found

    def _note(self, left_out: set[Key]) -> None:
        for kpi_id, version in sorted(left_out - self._left_out):
            telemetry.KPI_DEFINITIONS_INVALID.inc()
            _log.error("definition_left_out", kpi=kpi_id, version=version)
        self._left_out = left_out

    def _check(self, new: Sequence[Entry], stored: Collection[Definition]) -> None:
        """InvalidKpiError unless the new entries can stand beside all that are in use."""
        own, _ = usable(self._base, stored)
        # Nobody has looked yet whether what is new has a version that is a number.
        versions = [(entry.id, entry.data.get("version")) for entry in new]
        kept = [entry for entry in own if key_of(entry) not in versions]
        numbers = sorted((version, kpi_id) for kpi_id, version in versions if type(version) is int)
        newest = {kpi_id: version for version, kpi_id in numbers}
        problems = problems_of([*self._base, *superseded(kept, newest), *new])
        if problems:
            raise InvalidKpiError(problems)

    def _check_unused(self, kpi_id: str, stored: Collection[Definition]) -> None:
        own, _ = usable(self._base, stored)
        rest = [entry for entry in own if entry.id != kpi_id]
        needing = sorted({problem.kpi for problem in problems_of([*self._base, *rest])})
        if needing:
            raise ConflictError(
                f"{kpi_id} is used by {', '.join(needing)}; change or retire that first.",
                code="kpi_in_use",
                used_by=needing,
            )


def _by_key(entries: Sequence[Entry]) -> dict[Key, Entry]:
    return {key_of(entry): entry for entry in entries}


def _whole(entry: Entry) -> Entry:
    """With what is understood when it is left out, however it was handed in."""
    return replace(entry, data=entry_of_json(entry.id, entry.data).data)


def _read_folder(folder: Path | None) -> list[Entry]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise StartupError(f"KOMPAS_KPI_DIR is {folder}, which is not a folder.")
    return read_entries(folder)
