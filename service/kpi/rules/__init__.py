"""What a catalogue entry must satisfy: an ordered list of small rules, all problems at once.

Form rules look at the keys of an entry and the types of their values; where they find nothing,
shape rules look at what was written; factor rules look at what sound entries derive from; where
they find nothing, meaning rules look at the definition that was built; set rules look at all
sound entries together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from service.kpi.definition import Entry, Kpi
from service.kpi.rules import form, meaning, sets, shape
from service.kpi.rules.words import Found, Problems


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake of a catalogue: where it is, whose it is, what it is.

    `line` is None where it is not known; `field` is the path of the key, '' for the whole entry.
    """

    file: str
    line: int | None
    kpi: str
    field: str
    text: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.kpi}: {self.text}"


EntryRule = Callable[[Entry], Problems]
MeaningRule = Callable[[Kpi], Problems]
SetRule = Callable[[Sequence[Entry], Collection[str]], sets.Of]

FORM_RULES: tuple[EntryRule, ...] = (
    form.lengths, form.known_keys, form.required_keys, form.types, form.one_id,
)  # fmt: skip
SHAPE_RULES: tuple[EntryRule, ...] = (
    shape.words, shape.view_names, shape.default_view, shape.parts_of_kind, shape.quantities,
    shape.weights, shape.factors, shape.dimensions, shape.requirements,
)  # fmt: skip
FACTOR_RULES: tuple[SetRule, ...] = (
    sets.known_factors, sets.no_cycles, sets.not_too_deep, sets.not_too_large,
)  # fmt: skip
MEANING_RULES: tuple[MeaningRule, ...] = (
    meaning.identifier, meaning.texts, meaning.origin, meaning.kind, meaning.cohort,
    meaning.additivity, meaning.sides, meaning.unit, meaning.interval, meaning.bounded,
    meaning.breakdowns, meaning.filters,
)  # fmt: skip
SET_RULES: tuple[SetRule, ...] = (
    sets.unique_versions, sets.ids_of_users, sets.superseded, sets.references,
)  # fmt: skip


def problems_of(entries: Sequence[Entry]) -> list[Problem]:
    """Every problem of a catalogue."""
    problems: list[Problem] = []
    sound: list[Entry] = []
    for entry in entries:
        found = [some for rule in FORM_RULES for some in rule(entry)]
        found = found or [some for rule in SHAPE_RULES for some in rule(entry)]
        problems += _problems(entry, found)
        if not found:
            sound.append(entry)
    ids = {entry.id for entry in entries}
    apart = [some for rule in FACTOR_RULES for some in rule(sound, ids)]
    bad = {id(entry) for entry, *_ in apart}
    for entry, kpi in sets.built([entry for entry in sound if id(entry) not in bad]):
        problems += _problems(entry, (some for rule in MEANING_RULES for some in rule(kpi)))
    apart += [some for rule in SET_RULES for some in rule(sound, ids)]
    for entry, path, text in apart:
        problems += _problems(entry, [(path, text)])
    return problems


def _problems(entry: Entry, found: Iterable[Found]) -> list[Problem]:
    return [
        Problem(entry.file, entry.line(path), entry.id, path, text)
        for path, text in dict.fromkeys(found)
    ]
