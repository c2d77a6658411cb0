"""What is in the spool, for an operator: looks only, beside running services too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from service.ingest.spool.claim import FOLDER, has_owner
from service.ingest.spool.payload import PayloadError, decode
from service.ingest.spool.records import Record
from service.ingest.spool.segment import Segment, find_segments


@dataclass(frozen=True, slots=True)
class Listed:
    """A segment: its intact records, and those that are not.

    `damaged`, `unreadable` and `torn` are numbers of records as
    `kompas_spool_damaged_records_total` would count them; `written_at` is the time of the last
    write.
    """

    name: str
    bytes: int
    written_at: datetime
    records: int
    damaged: int
    unreadable: int
    torn: int

    @property
    def is_sound(self) -> bool:
        """Whether nothing that was acknowledged is missing, as far as can be known."""
        return not self.damaged and not self.unreadable


@dataclass(frozen=True, slots=True)
class Folder:
    """A process's folder; `is_alive` says whether that one, or whoever drains it, is running.

    `error` says why it cannot be looked into.
    """

    name: str
    pid: int
    is_alive: bool = False
    segments: tuple[Listed, ...] = ()
    error: str = ""


def folders(root: Path) -> list[Folder]:
    """All folders of the spool, the oldest first; none where there is no spool. OSError."""
    if not root.exists():
        return []
    found = []
    for path in sorted(root.iterdir()):
        name = FOLDER.fullmatch(path.name)
        if name and path.is_dir():
            found.append(_looked_into(path, int(name["pid"])))
    return found


def _looked_into(path: Path, pid: int) -> Folder:
    try:
        return Folder(path.name, pid, has_owner(path), _listed(path))
    except OSError as error:
        return Folder(path.name, pid, error=error.strerror or str(error))


def _listed(folder: Path) -> tuple[Listed, ...]:
    try:
        segments = find_segments(folder)
    except FileNotFoundError:  # drained, just now
        return ()
    return tuple(listed for segment in segments if (listed := _look(segment)) is not None)


def _look(segment: Segment) -> Listed | None:
    counts = {"records": 0, "damaged": 0, "unreadable": 0, "torn": 0}
    for item in segment.read():
        if isinstance(item, Record):
            counts["records" if _is_readable(item) else "unreadable"] += 1
        else:
            counts["torn" if item.torn else "damaged"] += 1 if item.torn else item.records
    try:
        written_at = datetime.fromtimestamp(segment.path.stat().st_mtime, UTC)
    except FileNotFoundError:  # drained while we looked
        return None
    return Listed(segment.path.name, segment.size, written_at, **counts)


def _is_readable(record: Record) -> bool:
    try:
        decode(record.payload)
    except PayloadError:
        return False
    return True
