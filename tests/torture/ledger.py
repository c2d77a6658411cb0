"""What was sent, what was acknowledged, and whether the log holds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

STORED = """
SELECT coalesce(data->>'title', data->'props'->>'mark') AS mark, count(*)
FROM event WHERE coalesce(data->>'title', data->'props'->>'mark') IS NOT NULL GROUP BY 1
"""
"""Marks in the log, and how often each is there."""


@dataclass
class Ledger:
    """Marks of events: every event has one of its own, in its title or its props."""

    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    _numbers: count[int] = field(default_factory=count)

    def marks(self, number: int) -> list[str]:
        """So many new marks, now sent."""
        made = [f"m{next(self._numbers)}" for _ in range(number)]
        self.sent.update(made)
        return made

    def acknowledge(self, marks: Iterable[str]) -> None:
        """These were answered with 2xx."""
        self.acknowledged.update(marks)

    def verdict(self, stored: Mapping[str, int]) -> Verdict:
        """How the log differs from what was promised."""
        return Verdict(
            acknowledged=len(self.acknowledged),
            stored=sum(stored.values()),
            lost=len(self.acknowledged - stored.keys()),
            doubled=sum(number - 1 for number in stored.values()),
            unknown=len(stored.keys() - self.sent),
        )


@dataclass(frozen=True)
class Verdict:
    """`lost` were acknowledged and are not in the log; `doubled` are there too often; `unknown`
    were never sent."""

    acknowledged: int
    stored: int
    lost: int
    doubled: int
    unknown: int

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, doubled or made up, and something was acknowledged at all."""
        return self.acknowledged > 0 and not (self.lost or self.doubled or self.unknown)

    def __str__(self) -> str:
        return (
            f"{self.acknowledged:,} acknowledged, {self.stored:,} stored:"
            f" {self.lost:,} lost, {self.doubled:,} doubled"
        )
