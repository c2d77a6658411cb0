"""Whose folder it is: one process at a time, by a lock that ends with the process."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from service.ingest.spool.segment import Segment, find_segments
from service.kit.log import get_logger
from service.kit.sync import sync

LOCK = "lock"
FOLDER = re.compile(r"\d{8}T\d{6}-(?P<pid>\d+)-[0-9a-f]{8}", re.ASCII)
"""Names sort by the time (UTC) at which their process began to spool."""
_TRIES = 10

_log = get_logger(__name__)


class Claim:
    """A folder that is this process's, its own or a dead one's, and the segments in it."""

    def __init__(self, path: Path, handle: int, segments: list[Segment]) -> None:
        self.path = path
        self._handle = handle
        self.segments = segments

    def release(self) -> None:
        """Leave the folder to whoever finds it."""
        os.close(self._handle)

    def remove(self) -> bool:
        """Remove the folder, unless there is something in it that is none of ours."""
        try:
            if any(entry.name != LOCK for entry in self.path.iterdir()):
                return False
            (self.path / LOCK).unlink(missing_ok=True)
            self.path.rmdir()
            sync(self.path.parent)
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("spool_folder_stays", folder=self.path.name, error=str(error.strerror))
            return False
        self.release()
        return True


def make(root: Path, now: datetime) -> Claim:
    """A new folder, durable. OSError."""
    for _ in range(_TRIES):
        path = root / f"{now:%Y%m%dT%H%M%S}-{os.getpid()}-{secrets.token_hex(4)}"
        path.mkdir(mode=0o700)
        claim = _claimed(path)
        # In between somebody may have taken it for a leftover, who then removes it.
        if claim is not None:
            return claim
    raise BlockingIOError(errno.EAGAIN, "every new folder is taken for a leftover at once")


def _claimed(path: Path) -> Claim | None:
    """A folder just made, or nothing of it when the disk fails."""
    handle = None
    try:
        handle = _lock(path)
        sync(path.parent)
    except OSError:
        with suppress(OSError):
            (path / LOCK).unlink(missing_ok=True)
            path.rmdir()
        if handle is not None:
            os.close(handle)
        raise
    return None if handle is None else Claim(path, handle, [])


def leftovers(root: Path, unusable: set[str]) -> list[Claim]:
    """Folders of dead processes that have segments, taken over; the oldest first. OSError.

    Empty ones are removed. What is none of ours is left alone; what is not for us to open, too,
    and remembered in `unusable`, so that it is complained about once.
    """
    claims = []
    for path in sorted(path for path in root.iterdir() if FOLDER.fullmatch(path.name)):
        try:
            claims.append(_take_over(path))
        except OSError as error:
            if path.name not in unusable:
                _log.warning("spool_folder_unusable", folder=path.name, error=str(error.strerror))
            unusable.add(path.name)
    return [claim for claim in claims if claim is not None]


def _take_over(path: Path) -> Claim | None:
    handle = _lock(path)
    if handle is None:
        return None
    try:
        claim = Claim(path, handle, find_segments(path))
    except OSError:
        os.close(handle)
        raise
    if claim.segments:
        return claim
    if not claim.remove():
        claim.release()
    return None


def _lock(folder: Path) -> int | None:
    """The handle that holds a folder's lock; None when another process has it."""
    path = folder / LOCK
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its last owner may have removed it after we opened it.
        if path.stat().st_ino == os.fstat(handle).st_ino:
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        os.close(handle)
        raise
    os.close(handle)
    return None


def has_owner(folder: Path) -> bool:
    """Whether a living process has the folder; looks without taking it. OSError."""
    try:
        handle = os.open(folder / LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared, so that several may look at once; given back at once.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
