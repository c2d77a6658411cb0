"""What somebody may have meant: the names closest to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, names: Iterable[str], limit: int = 3) -> list[str]:
    """Up to `limit` of `names` that look like `name`, best first, letter case ignored.

    Names that contain the word, or are contained in it, come after those spelled alike.
    """
    by_lower = {candidate.lower(): candidate for candidate in sorted(names)}
    word = name.lower()[:100]  # an answer to a typing error, not a search over any text
    close = get_close_matches(word, by_lower, n=limit, cutoff=0.6)
    inside = [key for key in by_lower if len(word) > 1 and (word in key or key in word)]
    return [by_lower[key] for key in dict.fromkeys(close + inside)][:limit]
