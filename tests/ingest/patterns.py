"""How long a regular expression may take, told from its form instead of a clock."""

from __future__ import annotations

import re
from re import _constants as codes  # type: ignore[attr-defined]  # the parser of `re` has no stubs
from re import _parser as parser  # type: ignore[attr-defined]  # and no public name
from typing import Any, NamedTuple


class Repeats(NamedTuple):
    """Unbounded repeats of a pattern: how deep inside each other, how many in a row."""

    depth: int
    in_a_row: int


def repeats(pattern: re.Pattern[str]) -> Repeats:
    """Tells polynomial patterns from exponential ones.

    With a depth of 1, a search over n characters takes at most n to the power of 1 + `in_a_row`
    steps; repeats inside repeats (depth 2) can take exponentially many.
    """
    return _of(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))


def _of(items: Any) -> Repeats:
    depth = in_a_row = 0
    for code, argument in items:
        found = _one(code, argument)
        depth, in_a_row = max(depth, found.depth), in_a_row + found.in_a_row
    return Repeats(depth, in_a_row)


def _one(code: Any, argument: Any) -> Repeats:
    if code in {codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT}:
        _, most, inside = argument
        inner = _of(inside)
        if most is codes.MAXREPEAT:
            return Repeats(inner.depth + 1, inner.in_a_row + 1)
        return Repeats(inner.depth, inner.in_a_row * most)
    if code is codes.BRANCH:
        branches = [_of(branch) for branch in argument[1]]
        return Repeats(max(b.depth for b in branches), max(b.in_a_row for b in branches))
    if code in {codes.SUBPATTERN, codes.ASSERT, codes.ASSERT_NOT}:
        return _of(argument[-1])
    unknown = {codes.GROUPREF, codes.GROUPREF_EXISTS, codes.ATOMIC_GROUP}
    assert code not in unknown, "its bound cannot be told from the form"
    return Repeats(0, 0)
