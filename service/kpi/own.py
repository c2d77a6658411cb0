"""Users' own KPIs: what storing one does, and which of the stored ones can be used.

Everything here decides; `live` reads and writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from service.errors import ConflictError, InvalidError
from service.kpi.catalogue import entry_of_json
from service.kpi.definition import Entry
from service.kpi.formula import Status
from service.kpi.rules import Problem, problems_of
from service.store.definitions import Definition

MOST_KPIS = 500
"""Own KPIs at most: each is computed for every site and window of /metrics."""

MAY_CHANGE = frozenset(
    {"id", "version", "theme", "title", "about", "edge", "source", "owner", "status",
     "direction", "breakdowns", "default_window", "also_visible", "interval"}
)  # fmt: skip
"""Keys that do not say what a value is: they may change within a version, all others may not."""

_DEFAULTS = {"scale": 1, "bounded": False}

Key = tuple[str, int]
"""A KPI's id and version."""


class Outcome(StrEnum):
    """What storing a definition did."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


class InvalidKpiError(InvalidError):
    """A definition has mistakes: `problems` are all of them."""

    code = "invalid_kpi"

    def __init__(self, problems: Sequence[Problem]) -> None:
        count = f"{len(problems)} mistakes" if len(problems) > 1 else "a mistake"
        super().__init__(
            f"The definition has {count}; detail.problems says which.",
            problems=[_told(problem) for problem in problems],
        )
        self.problems = problems


def _told(problem: Problem) -> dict[str, str]:
    return {"kpi": problem.kpi, "field": problem.field, "message": problem.text}


def meaning(data: dict[str, Any]) -> dict[str, Any]:
    """What a definition's value is: its keys without texts and other things that may change."""
    said = {key: value for key, value in data.items() if key not in MAY_CHANGE}
    if isinstance(said.get("views"), dict):
        said["views"] = {name: _view(view) for name, view in said["views"].items()}
    return {**_DEFAULTS, **said}


def _view(view: Any) -> Any:
    if not isinstance(view, dict):
        return view
    return {key: value for key, value in view.items() if key not in MAY_CHANGE}


def outcomes(entries: Iterable[Entry], stored: Iterable[Definition]) -> list[Outcome]:
    """What storing sound entries does, one after the other.

    Raises ConflictError where a version cannot be.
    """
    there = {(one.id, one.version): one for one in stored}
    done = []
    for entry in entries:
        key = entry.id, entry.data["version"]
        of_kpi = {one.version: one for one in there.values() if one.id == entry.id}
        done.append(_outcome(entry, of_kpi))
        there[key] = Definition(*key, entry.data, None)
    return done


def _outcome(entry: Entry, versions: Mapping[int, Definition]) -> Outcome:
    version, newest = entry.data["version"], max(versions, default=0)
    if not versions or version == newest + 1:
        return Outcome.CREATED
    there = versions.get(version)
    if there is not None and there.retired_at is None and _same(there.data, entry.data, newest):
        return Outcome.UNCHANGED
    if there is not None and version == newest and meaning(there.data) == meaning(entry.data):
        return Outcome.CHANGED if there.retired_at is None else Outcome.CREATED
    raise ConflictError(
        f"Version {newest} of {entry.id} is stored, and says something else; a change of meaning"
        f' needs "version": {newest + 1}.',
        code="version_needed",
        field="version",
        current=newest,
        needed=newest + 1,
    )


def _same(there: dict[str, Any], given: dict[str, Any], newest: int) -> bool:
    # An older version is superseded, whether it was stored with that word or not.
    status = {"status": ""} if given["version"] < newest else {}
    return {**there, **status} == {**given, **status}


def check_ids(ids: Collection[str], built_in: Collection[str], of_files: Collection[str]) -> None:
    """ConflictError for KPIs that only their files can change."""
    for kpi_id in ids:
        if kpi_id in built_in:
            raise ConflictError(
                f"{kpi_id} comes with Kompas, and cannot be changed; choose another id.",
                code="kpi_is_built_in",
                field="id",
            )
        if kpi_id in of_files:
            raise ConflictError(
                f"{kpi_id} stands in a file of KOMPAS_KPI_DIR; change it there.",
                code="kpi_is_in_a_file",
                field="id",
            )


def check_number(stored: Iterable[Definition]) -> None:
    """ConflictError when there are too many own KPIs."""
    if len({one.id for one in stored if one.retired_at is None}) > MOST_KPIS:
        raise ConflictError(
            f"There may be {MOST_KPIS} own KPIs; retire some with DELETE /v1/kpis/{{id}}.",
            code="too_many_kpis",
            most=MOST_KPIS,
        )


def superseded(entries: Iterable[Entry], newest: Mapping[str, int]) -> list[Entry]:
    """The entries, those marked as superseded of which a newer version than theirs is there."""
    mark = {"status": Status.SUPERSEDED.value}
    return [
        replace(entry, data=entry.data | mark)
        if entry.data["version"] < newest.get(entry.id, 0)
        else entry
        for entry in entries
    ]


def usable(base: Sequence[Entry], stored: Iterable[Definition]) -> tuple[list[Entry], set[Key]]:
    """The stored definitions that can stand beside the sound `base`, and the ones that cannot.

    What was stored was sound then; a newer version of Kompas may have other words, or a KPI of its
    own by that id. What needs a definition that is left out is left out as well, and no older
    version takes its place: that would be another meaning.
    """
    there = [one for one in stored if one.retired_at is None]
    newest: dict[str, int] = {}
    for one in there:
        newest[one.id] = max(one.version, newest.get(one.id, 0))
    kept = superseded(map(_entry, there), newest)
    while kept and (problems := problems_of([*base, *kept])):
        wrong = {problem.file for problem in problems}
        sound = [entry for entry in kept if entry.file not in wrong]
        kept = sound if len(sound) < len(kept) else []
    found = {key_of(entry) for entry in kept}
    return kept, {key for one in there if (key := (one.id, one.version)) not in found}


def key_of(entry: Entry) -> Key:
    """The id and version of an entry of the right form."""
    return entry.id, entry.data["version"]


def _entry(one: Definition) -> Entry:
    # The file is what a problem says it is in: here it tells one version from another.
    return replace(entry_of_json(one.id, one.data), file=f"{one.id} {one.version}")
