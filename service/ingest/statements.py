"""Statements: figures with a natural key, over a day or spread over the days of a period.

A statement over several days becomes one row a day, each with its own key, so that a newer figure
for any of these days replaces just that one. Amounts are split so that the parts add up exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from service.domain.dimensions import Dimension
from service.ingest.context import Context
from service.ingest.dimensions import Values
from service.ingest.refusals import RefusalCode as Code
from service.ingest.refusals import RefusedError
from service.kit import json

LONGEST_DAYS = 366

Piece = tuple[datetime, dict[str, Any]]
"""When a row of the log happened, and its data."""


def days_of(values: Values) -> tuple[date, int]:
    """First day and number of the days that a statement is about: `date`, or `from` up to `to`."""
    if "date" in values:
        return values["date"], 1
    first: date = values["from"]
    count = (values["to"] - first).days + 1
    if count < 1:
        raise RefusedError(Code.INVALID_DATE, "must not be before `from`", "to")
    if count > LONGEST_DAYS:
        raise RefusedError(
            Code.DATE_RANGE_TOO_LONG, f"must make at most {LONGEST_DAYS} days with `from`", "to"
        )
    return first, count


def shares(total: int, parts: int) -> list[int]:
    """`total` in equal parts that sum to it exactly; none differs from another by more than 1.

    What is left over falls evenly over the parts, so any run of parts is within 1 of its share.
    """
    return [
        end - start for start, end in pairwise(total * part // parts for part in range(parts + 1))
    ]


def _hashed(context: Context, parts: list[str]) -> str:
    # JSON, so that no two lists of parts look alike.
    return context.keyring.text("statement", json.dumps(parts))


@dataclass(frozen=True, slots=True)
class Statement:
    """What identifies a statement, and which members of its data are split over its days.

    `spread` is empty for a statement that has a moment instead of days.
    """

    key: Callable[[Values, Dimension], list[str]]
    spread: tuple[str, ...]

    def rows(self, values: Values) -> int:
        """How many rows the log gets."""
        return days_of(values)[1] if self.spread else 1

    def pieces(
        self, values: Values, dimension: Dimension, moment: Piece, context: Context
    ) -> list[Piece]:
        """The rows, each with its key.

        `moment` is time and data as if there were one. A statement about days has a row for each:
        at the first instant of the local day, with the day's share.
        """
        at, data = moment
        key = self.key(values, dimension)
        if not self.spread:
            return [(at, {"key": _hashed(context, key), **data})]
        first, count = days_of(values)
        spread = {name: shares(data[name], count) for name in self.spread if name in data}
        found = []
        for number in range(count):
            day = first + timedelta(days=number)
            text = day.isoformat()
            share = {name: parts[number] for name, parts in spread.items()}
            piece = {"key": _hashed(context, [*key, text]), "day": text, **data, **share}
            found.append((context.start_of(day), piece))
        return found


AD_SPEND = Statement(
    lambda _, dimension: list(dimension[1:6]),
    ("cost", "impressions", "clicks", "invalid_clicks", "viewable", "measurable"),
)
SOCIAL_POST = Statement(lambda values, _: [values["network"].lower(), values["post"]], ())
SEARCH_VOLUME = Statement(lambda values, _: [values["term"].lower(), values["group"]], ("volume",))
