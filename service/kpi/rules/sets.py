"""Rules of sets: how the entries of a catalogue go together."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterator, Mapping, Sequence

from service.kpi.definition import UNNAMED, Entry, Kpi, build, parts
from service.kpi.formula import Status
from service.kpi.rules.words import unknown

Of = Iterator[tuple[Entry, str, str]]
"""The entry that has a problem, the path of the key, the problem."""

DEEPEST = 4
"""How many derived KPIs may build on one another."""

MOST_QUANTITIES = 20
"""Of a formula in which those that it derives from are written out: each is computed anew."""


def newest(entries: Sequence[Entry]) -> dict[str, Entry]:
    """The entry with the highest version of each id."""
    found: dict[str, Entry] = {}
    for entry in entries:
        rival = found.get(entry.id)
        if rival is None or entry.data["version"] > rival.data["version"]:
            found[entry.id] = entry
    return found


def known_factors(entries: Sequence[Entry], ids: Collection[str]) -> Of:
    """What a KPI derives from is a KPI of the catalogue."""
    for entry in entries:
        for name in sorted(entry.factors - set(ids)):
            yield entry, "factors", unknown("KPI in factors", name, sorted(ids))


def no_cycles(entries: Sequence[Entry], ids: Collection[str]) -> Of:
    """No KPI derives from itself, whether directly or by way of others."""
    graph = _graph(entries)
    for entry in entries:
        way = _way_back(entry.id, sorted(entry.factors), graph)
        if way:
            yield entry, "factors", f"it derives from itself: {' -> '.join([entry.id, *way])}"


def not_too_deep(entries: Sequence[Entry], ids: Collection[str]) -> Of:
    """Derived KPIs build on one another a few times at most."""
    every = _graph(entries)
    graph = {name: below for name, below in every.items() if not _way_back(name, below, every)}
    for entry in entries:
        names = set(entry.factors)
        for _ in range(DEEPEST):
            names = {other for name in names for other in graph.get(name, ())}
        if names:
            yield entry, "factors", f"more than {DEEPEST} derived KPIs build on one another"


def not_too_large(entries: Sequence[Entry], ids: Collection[str]) -> Of:
    """A formula comes to a few quantities, those of everything that it derives from included."""
    current = newest(entries)
    sizes: Mapping[str, dict[str, int]] = {}
    for _ in range(DEEPEST + 1):  # deeper ones are refused for that
        sizes = {name: _sizes(entry, current, sizes) for name, entry in current.items()}
    for entry in entries:
        for view, size in _sizes(entry, current, sizes).items():
            if size > MOST_QUANTITIES:
                key = "factors" if entry.factors else "numerator"
                problem = f"the formula comes to {size} quantities, and may have {MOST_QUANTITIES}"
                yield entry, entry.path(view, key), problem


def _sizes(
    entry: Entry, current: Mapping[str, Entry], sizes: Mapping[str, Mapping[str, int]]
) -> dict[str, int]:
    """How many quantities the formula of each view has, if those of other KPIs are so large."""

    def of_factor(name: str, view: str) -> int:
        found = sizes.get(name, {})
        default = current[name].data.get("default_view", UNNAMED) if name in current else UNNAMED
        return found.get(view, found.get(default, 0))

    return {
        view: len(part.get("numerator", ()))
        + len(part.get("denominator", ()))
        + sum(of_factor(name, view) for name in part.get("factors", ()))
        for view, part in parts(entry)
    }


def _graph(entries: Sequence[Entry]) -> dict[str, list[str]]:
    return {name: sorted(entry.factors) for name, entry in newest(entries).items()}


def _way_back(start: str, first: Sequence[str], graph: Mapping[str, Sequence[str]]) -> list[str]:
    """The shortest way over factors from an id to itself; none where there is no way."""
    came_from = dict.fromkeys(first, "")
    queue = deque(first)
    while queue and start not in came_from:
        name = queue.popleft()
        new = [other for other in graph.get(name, ()) if other not in came_from]
        came_from |= dict.fromkeys(new, name)
        queue += new
    way = [start] if start in came_from else []
    while way and came_from[way[-1]]:
        way.append(came_from[way[-1]])
    return way[::-1]


def built(entries: Sequence[Entry]) -> list[tuple[Entry, Kpi]]:
    """The definitions of those that can be built: all whose factors can be."""
    current = {id(entry) for entry in newest(entries).values()}
    ready: dict[str, Kpi] = {}
    made: dict[int, Kpi] = {}
    missing = len(entries) + 1
    while missing > len(entries) - len(made):
        missing = len(entries) - len(made)
        for number, entry in enumerate(entries):
            if number not in made and entry.factors <= ready.keys():
                made[number] = kpi = build(entry, ready)
                if id(entry) in current:
                    ready[entry.id] = kpi
    return [(entries[number], kpi) for number, kpi in sorted(made.items())]


def unique_versions(entries: Sequence[Entry], ids: Collection[str]) -> Of:
    """An id and a version name one definition."""
    counts = Counter((entry.id, entry.data["version"]) for entry in entries)
    for entry in entries:
        version = entry.data["version"]
        if counts[entry.id, version] > 1:
            yield entry, "version", f"version {version} of the id is there more than once"


def ids_of_users(entries: Sequence[Entry], ids: Collection[str]) -> Of:
    """The ids of Kompas's own KPIs mean the same everywhere."""
    built_in = {entry.id for entry in entries if not entry.own}
    for entry in entries:
        if entry.own and entry.id in built_in:
            yield entry, "id", "the id is one of Kompas's own KPIs; choose another"


def superseded(entries: Sequence[Entry], ids: Collection[str]) -> Of:
    """Every version but the newest says that it is superseded, and the newest does not."""
    ours, theirs = (newest([e for e in entries if e.own is is_own]) for is_own in (False, True))
    for entry in entries:
        current = (theirs if entry.own else ours)[entry.id]
        version, last = entry.data["version"], current.data["version"]
        is_marked = entry.data["status"] == Status.SUPERSEDED
        if version < last and not is_marked:
            yield entry, "status", f"version {last} is newer, so status must be 'superseded'"
        if version == last and is_marked:
            yield entry, "status", "status is 'superseded', and there is no newer version"


def references(entries: Sequence[Entry], ids: Collection[str]) -> Of:
    """What stays visible when there is no value is another KPI of the catalogue."""
    for entry in entries:
        for other in entry.data.get("also_visible", ()):
            if str(other) not in ids or other == entry.id:
                yield entry, "also_visible", unknown("KPI in also_visible", other, sorted(ids))
