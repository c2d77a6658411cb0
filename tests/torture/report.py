"""One line of the table in `docs/reliability.md`: what was tried, what was to hold, what did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """`holds` says whether `result` reaches `target`."""

    test: str
    target: str
    result: str
    holds: bool

    def __str__(self) -> str:
        return (
            f"{'ok  ' if self.holds else 'FAIL'} {self.test}: {self.result} (target: {self.target})"
        )
