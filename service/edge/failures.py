"""What a door answers when something fails that nobody foresaw."""

from __future__ import annotations

from service.errors import KompasError, RetryableError
from service.kit.log import frames_of, get_logger

_log = get_logger(__name__)


def as_retryable(error: Exception, door: str) -> KompasError:
    """The error itself if it is one of ours; anything else is logged, and may be tried again."""
    if isinstance(error, KompasError):
        return error
    _log.error("door_failed", door=door, error=type(error).__name__, where=frames_of(error))
    return RetryableError("This could not be recorded; try again.", code="internal")
