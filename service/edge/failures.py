"""What a door answers when something fails that nobody foresaw."""

from __future__ import annotations

import traceback

from service.errors import KompasError, RetryableError
from service.kit.log import get_logger

_FRAMES = 6
_log = get_logger(__name__)


def as_retryable(error: Exception, door: str) -> KompasError:
    """The error itself if it is one of ours; anything else is logged, and may be tried again."""
    if isinstance(error, KompasError):
        return error
    # Only where it happened: the message of an exception may quote what somebody sent.
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    where = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    _log.error("door_failed", door=door, error=type(error).__name__, where=where)
    return RetryableError("This could not be recorded; try again.", code="internal")
