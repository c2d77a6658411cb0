"""What somebody may have meant: the names closest to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches
from itertools import takewhile


def nearest(name: str, names: Iterable[str], limit: int = 3) -> list[str]:
    """Up to `limit` of `names` that look like `name`, best first, letter case ignored.

    Names that contain the word, or are contained in it, come after those spelled alike.
    """
    by_lower = {candidate.lower(): candidate for candidate in sorted(names)}
    word = name.lower()[:100]  # an answer to a typing error, not a search over any text
    close = get_close_matches(word, by_lower, n=5 * limit, cutoff=0.6)
    # Of those alike in equal measure, who begins the same was meant: DKR is rather DKK than PKR.
    close.sort(key=lambda key: (-_alike(key, word), -_begun_alike(key, word)))
    inside = [key for key in by_lower if len(word) > 1 and (word in key or key in word)]
    return [by_lower[key] for key in dict.fromkeys(close + inside)][:limit]


def _begun_alike(one: str, other: str) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _alike(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()
