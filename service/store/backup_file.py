"""A file that appears under its name when it is complete and on the disk, and never before."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from service.kit.sync import sync
from service.store.backup_archive import BackupError


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """Write to `target.part`, mode 0600; renamed when the block ends, removed when it raises.

    What a killed process left under that name is written over. Raises `BackupError` when `target`
    exists or another process writes it, and for any OSError, also of the block.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        with _open(target, part) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                _must_be_free(target)
                part.rename(target)
            except BaseException:
                # Both under the lock: nobody else's file may be renamed or removed.
                with suppress(OSError):
                    part.unlink()
                raise
        sync(target.parent)
    except OSError as error:
        where = error.filename or part
        raise BackupError(f"{where}: {error.strerror or error}; no backup was made.") from error


def _must_be_free(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise BackupError(f"{target} exists already: choose another name for the backup.")


def _open(target: Path, part: Path) -> BinaryIO:
    _must_be_free(target)
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    file = os.fdopen(handle, "w+b")
    try:
        _take(file, target, part)
    except BaseException:
        file.close()
        raise
    return file


def _take(file: BinaryIO, target: Path, part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it before may have given it its final name meanwhile.
        is_ours = os.path.samestat(os.fstat(file.fileno()), part.stat())
    except (BlockingIOError, FileNotFoundError):
        is_ours = False
    if not is_ours:
        raise BackupError(f"{target} is being written by another process.")
    os.fchmod(file.fileno(), 0o600)
    file.truncate(0)
