"""How long a client may keep the service waiting, and how much it may make it hold.

Every connection is always somebody's turn: the service's, which has no deadline here and is never
cut short, or the client's. Whoever keeps the service waiting against a rule of the table is closed;
and where there are too many connections, or too much memory waits for slow clients, whoever has
kept it waiting for the longest makes room. So no limit is a lever against the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol

from service.edge.body import BodyTimeoutError
from service.errors import KompasError, RequestError, RetryableError

KIB = 1 << 10
SOON = 0.02
"""Seconds until a sweep goes on that left something."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all of them together, may take.

    A body must arrive within `body_seconds`, never pause for `silence_seconds`, and after
    `grace_seconds` have come at `body_rate` bytes a second on the whole. Of an answer that waits
    for its reader, `answer_bytes` must be taken every `answer_seconds`. `held_bytes` is the memory
    of all bodies that are not complete or not answered, and all answers that are not taken.
    """

    head_seconds: float = 10.0
    idle_seconds: float = 20.0
    body_seconds: float = 60.0
    silence_seconds: float = 30.0
    grace_seconds: float = 10.0
    body_rate: int = 500
    answer_seconds: float = 30.0
    answer_bytes: int = 16 * KIB
    leave_seconds: float = 2.0
    greet_seconds: float = 1.0
    """While the service stops: how long a connection without a request may still send one."""
    stop_seconds: float = 7.0
    """While the service stops: how long those who are in the middle of sending have."""
    sweep_seconds: float = 1.0
    sweep_ends: int = 50
    """Connections that one sweep closes: more would keep those waiting who are answered."""
    target_bytes: int = 8 * KIB
    head_bytes: int = 16 * KIB
    headers: int = 100
    pipelined: int = 16
    connections: int = 4000
    held_bytes: int = 64 * KIB * KIB


class HeadTimeoutError(RequestError):
    """The head of a request took longer than its deadline."""

    status = 408
    code = "request_timeout"


class Phase(Enum):
    """What a connection is at; in all phases but ANSWER it is the client's turn."""

    GREETING = auto()
    """Accepted, and not a byte came."""
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    """A request came completely, and the service is at work."""
    SENDING = auto()
    """The client does not take its answer as fast as it comes."""
    IDLE = auto()
    LEAVING = auto()
    """Refused: what the client still sends is thrown away until it has read why."""


class Connection(Protocol):
    """What is seen of a connection here; times are those of `Connections.now`.

    `since` is when its phase began (SENDING: when it last took something), `heard` when the last
    byte of a body came, `body_bytes` how many of the body came; `held` is the memory that it takes.
    """

    phase: Phase
    since: float
    heard: float
    body_bytes: int
    held: int

    def look(self) -> None:
        """Bring `since` up to date with what the client took of its answer."""

    def end(self, error: KompasError | None) -> None:
        """Close; with an error, answer it first if an answer is due and still possible."""


Broken = Callable[[Connection, float, Limits], bool]


class Rule(NamedTuple):
    """A rule of a phase: `broken(connection, now, limits)`; `error` is what the client is told."""

    phase: Phase
    name: str
    broken: Broken
    error: KompasError | None = None


def _longer_than(limit: Callable[[Limits], float]) -> Broken:
    return lambda connection, now, limits: now - connection.since > limit(limits)


def _silent(connection: Connection, now: float, limits: Limits) -> bool:
    return now - connection.heard > limits.silence_seconds


def _trickling(connection: Connection, now: float, limits: Limits) -> bool:
    counted = now - connection.since - limits.grace_seconds
    return connection.body_bytes < counted * limits.body_rate


LATE_HEAD = HeadTimeoutError("The request did not arrive in time.")
LATE_BODY = BodyTimeoutError("The body did not arrive in time, or too slowly.")
STOPPING = RetryableError("The service is stopping; send the same again.")

RULES = (
    Rule(Phase.GREETING, "silent", _longer_than(lambda limits: limits.head_seconds)),
    Rule(Phase.HEAD, "head", _longer_than(lambda limits: limits.head_seconds), LATE_HEAD),
    Rule(Phase.BODY, "body", _longer_than(lambda limits: limits.body_seconds), LATE_BODY),
    Rule(Phase.BODY, "body_silent", _silent, LATE_BODY),
    Rule(Phase.BODY, "body_trickles", _trickling, LATE_BODY),
    Rule(Phase.SENDING, "unread", _longer_than(lambda limits: limits.answer_seconds)),
    Rule(Phase.IDLE, "idle", _longer_than(lambda limits: limits.idle_seconds)),
    Rule(Phase.LEAVING, "refused", _longer_than(lambda limits: limits.leave_seconds)),
)
"""What a client may keep waiting; the first broken rule ends its connection."""

_BY_PHASE = {phase: [rule for rule in RULES if rule.phase is phase] for phase in Phase}


def broken_rule(connection: Connection, now: float, limits: Limits) -> Rule | None:
    """The rule of its phase that a connection breaks, if any."""
    for rule in _BY_PHASE[connection.phase]:
        if rule.broken(connection, now, limits):
            return rule
    return None


class Connections:
    """All connections of a process. `ended` is told why one was closed: a rule's name, `crowded`
    (too many connections), `memory` or `stopping`.
    """

    def __init__(self, limits: Limits, ended: Callable[[str], None]) -> None:
        self.limits = limits
        self.now = 0.0
        """Seconds, as of the last sweep: reading a clock for every request would cost more."""
        self.stopping = False
        self._ended = ended
        self._stopping_since = 0.0
        self._number = 0
        self._held = 0
        # In the order in which their present turn began: the first has waited for the longest.
        self._waiting: dict[Connection, None] = {}
        self._holding: dict[Connection, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def number(self) -> int:
        """Open connections."""
        return self._number

    @property
    def held(self) -> int:
        """Bytes in memory of requests and answers under way."""
        return self._held

    # --- What connections tell -------------------------------------------------------------------

    def joined(self, connection: Connection) -> bool:
        """A new one; False when there is no room, and nobody who could make it."""
        self._number += 1
        if self._number > self.limits.connections:
            longest = next(iter(self._waiting), None)
            if longest is None:
                self._ended("crowded")
                return False
            self._end(longest, "crowded")
        return True

    def left(self, connection: Connection) -> None:
        """It is closed."""
        self._number -= 1
        self.release(connection, connection.held)
        self._waiting.pop(connection, None)
        self._holding.pop(connection, None)

    def clients_turn(self, connection: Connection) -> None:
        """From now on the service waits for the client."""
        self._waiting.pop(connection, None)
        self._waiting[connection] = None
        if connection.held:
            self._holding.setdefault(connection)

    def own_turn(self, connection: Connection) -> None:
        """From now on the client waits for the service."""
        self._waiting.pop(connection, None)
        if connection.held:
            self._holding.pop(connection, None)

    def hold(self, connection: Connection, size: int) -> bool:
        """Memory is taken for a client; False when it is this one who has to make room."""
        connection.held += size
        self._held += size
        if connection.phase is not Phase.ANSWER:
            self._holding.setdefault(connection)
        while self._held > self.limits.held_bytes:
            longest = next(iter(self._holding), connection)
            if longest is connection:
                self._ended("memory")
                return False
            self.release(longest, longest.held)
            self._end(longest, "memory")
        return True

    def release(self, connection: Connection, size: int) -> None:
        """Memory is given back."""
        size = min(size, connection.held)
        connection.held -= size
        self._held -= size
        if not connection.held:
            self._holding.pop(connection, None)

    # --- Time ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Look after the connections from now on."""
        loop = asyncio.get_running_loop()
        interval = self.limits.sweep_seconds
        last = loop.time()

        def tick() -> None:
            nonlocal last
            # A process that stood still must not close those whose bytes wait to be read.
            passed, last = min(loop.time() - last, 2 * interval), loop.time()
            is_done = True
            try:
                is_done = self.sweep(self.now + passed)
            finally:
                self._timer = loop.call_later(interval if is_done else SOON, tick)

        self._timer = loop.call_later(interval, tick)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def sweep(self, now: float) -> bool:
        """Close who breaks a rule at this time, unless they are too many: then it says False."""
        self.now = now
        rest = self._number if self.stopping else self.limits.sweep_ends
        for connection in list(self._waiting):
            connection.look()
            rule = broken_rule(connection, now, self.limits)
            if rule is not None:
                if not rest:
                    return False
                rest -= 1
                self._end(connection, rule.name, rule.error)
        if self.stopping:
            self._hurry()
        return True

    def drain(self) -> None:
        """The service stops: who asks nothing leaves, the others may finish what they began."""
        self.stopping = True
        self._stopping_since = self.now
        self._hurry()

    def _hurry(self) -> None:
        patience = {Phase.IDLE: 0.0, Phase.GREETING: self.limits.greet_seconds}
        for connection in list(self._waiting):
            seconds = patience.get(connection.phase, self.limits.stop_seconds)
            if self.now - self._stopping_since >= seconds:
                self._end(connection, "stopping", STOPPING)

    def _end(self, connection: Connection, why: str, error: KompasError | None = None) -> None:
        self._waiting.pop(connection, None)
        self._holding.pop(connection, None)
        self._ended(why)
        connection.end(error)
