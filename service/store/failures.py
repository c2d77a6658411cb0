"""What a failure of the database means: is the data to blame, or the database?"""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

# SQLSTATE classes: cardinality, data exception, integrity constraint, program limit (a document
# that is nested too deeply). Everything else that a server reports is about its own state.
_DATA = ("21", "22", "23", "54")

# Connection, transaction state (a server that became read-only), authorization, rollback
# (deadlock), resources, object state, operator intervention, system; and XX, which a stopped Citus
# worker answers.
_ENVIRONMENT = ("08", "25", "28", "40", "53", "55", "57", "58", "XX")


CONNECTION_ERRORS = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    # A server's last words to an idle connection leave asyncpg in a state that it does not expect.
    asyncpg.InternalClientError,
)
"""What asking by a connection of one's own may raise, whatever is wrong with it."""


def _origin(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def is_environmental(error: BaseException) -> bool:
    """Whether the database was away, busy or full: nothing that was sent is to blame."""
    state = getattr(_origin(error), "sqlstate", None)
    if state is not None:
        return str(state)[:2] in _ENVIRONMENT
    ours = OSError | PoolTimeoutError | DBAPIError
    return isinstance(error, ours | asyncpg.InterfaceError | asyncpg.InternalClientError)


# admin_shutdown, crash_shutdown: the server ended this connection, perhaps only this one.
_ENDED = ("57P01", "57P02")


def is_rollback(error: BaseException) -> bool:
    """Whether nothing but other transactions was in the way: a deadlock, a serialization failure.

    The connection is as good as before, and the same thing may succeed at once.
    """
    return str(getattr(error, "sqlstate", None))[:2] == "40"


# lock_not_available, deadlock_detected.
_BLOCKED = ("55P03", "40P01")


def is_blocked(error: BaseException) -> bool:
    """Whether a lock that somebody else has was in the way: that will pass."""
    return str(getattr(_origin(error), "sqlstate", None)) in _BLOCKED


def is_lost_connection(error: BaseException) -> bool:
    """Whether a connection broke, which says little about the next one."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate)
        return state[:2] == "08" or state in _ENDED
    if isinstance(error, TimeoutError):
        return False
    lost = OSError | asyncpg.InterfaceError | asyncpg.InternalClientError
    return isinstance(error, lost) and not is_data_error(error)


def is_data_error(error: BaseException) -> bool:
    """Whether the same rows will be refused again by a database in perfect health."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.sqlstate)[:2] in _DATA
    # asyncpg could not encode a value: its own DataError, which it does not export.
    return (
        isinstance(error, asyncpg.InterfaceError)
        and isinstance(error, ValueError)
        and not isinstance(error, asyncpg.ClientConfigurationError)
    )


def describe(error: BaseException) -> str:
    """Class and SQLSTATE: a message of the database may quote what somebody sent."""
    origin = _origin(error)
    state = getattr(origin, "sqlstate", None) or ""
    return f"{type(origin.__cause__ or origin).__name__} {state}".strip()
