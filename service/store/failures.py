"""What a failure of the database means: is the data to blame, or the database?"""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError

# SQLSTATE classes: cardinality, data exception, integrity constraint, program limit (a document
# that is nested too deeply). Everything else that a server reports is about its own state.
_DATA = ("21", "22", "23", "54")


def is_data_error(error: Exception) -> bool:
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
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig.__cause__ or error.orig
    return f"{type(error).__name__} {getattr(error, 'sqlstate', None) or ''}".strip()
