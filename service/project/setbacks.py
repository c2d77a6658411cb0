"""What a runner remembers of failures: how to find the one batch that cannot be projected.

A chunk that fails is tried again in halves until a single batch fails by itself; that one gets a
few more attempts with growing rests, and is then parked. A site whose part of the database is away
or busy rests too, and nothing of it is parked. Meanwhile other sites go on. After successes the
chunks grow again.
"""

from __future__ import annotations

from dataclasses import dataclass

from service.project.backlog import LIMIT_BATCHES

ATTEMPTS = 3
FIRST_REST = 0.2
LONGEST_REST = 5.0


@dataclass(slots=True)
class _Setback:
    limit_batches: int = LIMIT_BATCHES
    attempts: int = 0
    interruptions: int = 0
    rest_until: float = 0.0


def rest(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(FIRST_REST * 2.0 ** min(failures - 1, 10), LONGEST_REST)


class Setbacks:
    """Failures by site since its last full recovery; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._sites: dict[int, _Setback] = {}

    def resting(self, now: float) -> list[int]:
        """Sites to leave alone at this moment."""
        return [site_id for site_id, at in self._sites.items() if at.rest_until > now]

    def limit_batches(self, site_id: int) -> int:
        """How many batches to try together."""
        setback = self._sites.get(site_id)
        return LIMIT_BATCHES if setback is None else setback.limit_batches

    def failed(self, site_id: int, batches: int, now: float) -> bool:
        """Note that so many batches failed together; True when the one batch is to be parked."""
        setback = self._sites.setdefault(site_id, _Setback())
        if batches > 1:
            setback.limit_batches = batches // 2
            return False
        setback.limit_batches = 1
        setback.attempts += 1
        if setback.attempts < ATTEMPTS:
            setback.rest_until = now + rest(setback.attempts)
            return False
        setback.attempts = 0
        setback.rest_until = 0.0
        return True

    def interrupted(self, site_id: int, batches: int, now: float) -> None:
        """Note that the database gave up on so many batches: smaller chunks ask less of it."""
        setback = self._sites.setdefault(site_id, _Setback())
        setback.limit_batches = max(1, batches // 2)
        setback.interruptions += 1
        setback.rest_until = now + rest(setback.interruptions)

    def succeeded(self, site_id: int) -> None:
        """Note a success: larger chunks again."""
        setback = self._sites.get(site_id)
        if setback is None:
            return
        setback.attempts = setback.interruptions = 0
        setback.limit_batches *= 2
        if setback.limit_batches >= LIMIT_BATCHES:
            del self._sites[site_id]
