"""A segment: one append-only file of records, first written, then only read.

`append` returns when its record is on the disk. After any error the file is written no more: what
the system could not write it forgets, and the next sync of the same file reports success.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.ingest.spool.records import Damage, Record, scan
from service.kit.sync import sync

SEGMENT_BYTES = 8 * 1024 * 1024
"""A segment gets no further record that would make it longer; a longer record has its own."""

# Whatever else is wrong (too many open files, no right to read) may pass, or be mended.
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_NAME = re.compile(r"(?P<serial>\d{8,})-(?P<first>\d{16})\.spool", re.ASCII)


@dataclass(slots=True, eq=False)
class Segment:
    """A file that nothing is appended to any more.

    `first` is the index of its first record, `after` that of the first in the next segment, where
    that is known. `size` in bytes; `records` as its index says, damaged ones included. `noted` is
    where damage (bytes from, to) was found and counted already. With `is_stuck` intact records of
    it are not in the database.
    """

    path: Path
    first: int
    size: int
    records: int
    after: int | None = None
    is_damaged: bool = False
    is_stuck: bool = False
    noted: set[tuple[int, int]] = field(default_factory=set)

    def read(self) -> list[Record | Damage]:
        """All that is in the file; when it is gone, that all of it is damaged.

        OSError when it is there and cannot be read now.
        """
        try:
            with self.path.open("rb", buffering=0) as file:
                return list(scan(file, self.first, self.after))
        except OSError as error:
            if error.errno not in _GONE:
                raise
            return [Damage(0, self.size, self.records, torn=False)]


class Appender:
    """The segment that is appended to, by one caller at a time; `size` is what is acknowledged."""

    def __init__(self, path: Path, first: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._handle = os.open(path, flags, 0o600)
        self._path = path
        self._first = first
        self._is_entered = False
        self.size = 0
        self.records = 0

    def append(self, frame: bytes) -> None:
        """Returns when the record is on the disk, and the file's name, too.

        After an OSError nothing but `give_up` may be called.
        """
        left = memoryview(frame)
        while left:
            left = left[os.write(self._handle, left) :]
        _sync_data(self._handle)
        if not self._is_entered:
            sync(self._path.parent)
            self._is_entered = True
        if not os.fstat(self._handle).st_nlink:
            raise FileNotFoundError(errno.ENOENT, "the segment was removed while it was written")
        self.size += len(frame)
        self.records += 1

    def close(self) -> Segment:
        """The segment, to be read from now on."""
        with suppress(OSError):  # everything is on the disk
            os.close(self._handle)
        after = self._first + self.records
        return Segment(self._path, self._first, self.size, self.records, after)

    def give_up(self) -> Segment | None:
        """Cut back what was not acknowledged, as far as the disk allows; None if nothing was."""
        segment = self.close()
        with suppress(OSError):  # what stays is behind `after`, and read as torn
            if not segment.records:
                self._path.unlink()
                return None
            os.truncate(self._path, segment.size)
        return segment if segment.records else None


def _sync_data(handle: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(handle)


def segment_path(folder: Path, serial: int, first: int) -> Path:
    """Where a segment is: names sort by `serial`, the number of the file in its folder."""
    return folder / f"{serial:08d}-{first:016d}.spool"


def find_segments(folder: Path) -> list[Segment]:
    """The segments in a folder, oldest first; other files are none of them. OSError."""
    named = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = _NAME.fullmatch(entry.name)
            if name and entry.is_file(follow_symlinks=False):
                size = entry.stat(follow_symlinks=False).st_size
                named.append((int(name["serial"]), int(name["first"]), size, Path(entry.path)))
    named.sort()
    segments = []
    for number, (_, first, size, path) in enumerate(named):
        after = named[number + 1][1] if number + 1 < len(named) else None
        if after is not None and after < first:
            after = None
        segments.append(Segment(path, first, size, 0, after))
    for segment in segments:
        segment.records = _records(segment)
    return segments


def _records(segment: Segment) -> int:
    if segment.after is not None:
        return segment.after - segment.first
    return sum(1 if isinstance(item, Record) else item.records for item in segment.read())
