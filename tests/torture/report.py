"""One line of the table in `docs/reliability.md`: what was tried, what was to hold, what did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """Whether `result` reaches `target`: what is promised `holds`, and the figures are `in_time`.

    Figures are of an idle machine, so a short run on a busy one only says that they were missed.
    """

    test: str
    target: str
    result: str
    holds: bool
    in_time: bool = True

    def __str__(self) -> str:
        word = "ok  " if self.holds and self.in_time else "SLOW" if self.holds else "FAIL"
        return f"{word} {self.test}: {self.result} (target: {self.target})"
