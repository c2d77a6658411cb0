"""The framing of a segment: `magic, index, length, checksums, payload`, one record after the other.

Reading goes on behind any damage. The magic has bytes that no UTF-8 text has, so it stands in no
payload; a record that claims to reach over the next magic is damaged, whatever its checksum. Each
byte is therefore checksummed once at most, and a file of any content is read in linear time.
"""

from __future__ import annotations

import errno
import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from google_crc32c import value as crc32c

MAGIC = b"\xfeKOMPAS\xff"
MOST_PAYLOAD = 256 * 1024 * 1024
"""Bytes; what claims to be longer is damaged."""

_COVERED = struct.Struct(">8sQII")
_CHECKSUM = struct.Struct(">I")
HEADER_BYTES = _COVERED.size + _CHECKSUM.size
_START = re.compile(re.escape(MAGIC) + rb"\0.{7}[\0-\x10]", re.DOTALL)
"""The magic, an index below 2**56, a length that may be: rarely in what is no record at all."""
_START_BYTES = 17
_CHUNK = 1024 * 1024
_ZEROS = 512
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Record:
    """An intact record; it occupies the bytes from `start` up to `end`."""

    index: int
    payload: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes that are no record, from `start` up to `end`.

    `records` is how many acknowledged records are missing because of it: the gap of the index.
    Where nothing follows that would tell, it is at least 1. With `torn` it is the rest of a write
    that was never acknowledged, and `records` is 0.
    """

    start: int
    end: int
    records: int
    torn: bool


def framed(index: int, payload: bytes) -> bytes:
    """The record; OverflowError for too long a payload, ValueError for one with the magic."""
    if len(payload) > MOST_PAYLOAD:
        raise OverflowError("too long for a record")
    if MAGIC in payload:
        raise ValueError("no text")
    covered = _COVERED.pack(MAGIC, index, len(payload), crc32c(payload))
    return b"".join((covered, _CHECKSUM.pack(crc32c(covered)), payload))


@dataclass(frozen=True, slots=True)
class _Header:
    index: int
    length: int
    checksum: int


def _header(data: bytes) -> _Header | None:
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        return None
    _, *fields = _COVERED.unpack_from(data)
    header = _Header(*fields)
    if header.length > MOST_PAYLOAD:
        return None
    (checksum,) = _CHECKSUM.unpack_from(data, _COVERED.size)
    return header if crc32c(data[: _COVERED.size]) == checksum else None


class _Source:
    """A file's bytes; those that the disk does not give back any more are zeros."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, io.SEEK_END)
        self._chunk_at = 0
        self._chunk = b""

    def read(self, start: int, length: int) -> bytes:
        """So many bytes, or fewer where the file ends."""
        inside = start - self._chunk_at
        if inside >= 0 and inside + length <= len(self._chunk):
            return self._chunk[inside : inside + length]
        return self._fetch(start, min(length, self.size - start))

    def _fetch(self, start: int, length: int) -> bytes:
        data = bytearray()
        while (missing := length - len(data)) > 0:
            at = start + len(data)
            try:
                self._file.seek(at)
                piece = self._file.read(missing)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                piece = bytes(min(missing, _PAGE - at % _PAGE))
            # Nothing comes from a file that was cut since.
            data += piece or bytes(missing)
        return bytes(data)

    def find(self, start: int, stop: int) -> int:
        """Where the next record between `start` and `stop` seems to begin; `stop` for nowhere.

        Whoever goes on where the last answer was reads each byte about once.
        """
        while start + _START_BYTES <= stop:
            if not self._chunk_at <= start <= self._chunk_at + len(self._chunk) - _START_BYTES:
                self._chunk = self._fetch(start, min(_CHUNK, self.size - start))
                self._chunk_at = start
            found = _START.search(self._chunk, start - self._chunk_at, stop - self._chunk_at)
            if found:
                return self._chunk_at + found.start()
            # One may begin in the last bytes of this chunk.
            start = self._chunk_at + len(self._chunk) - _START_BYTES + 1
        return stop


def _record(source: _Source, at: int) -> Record | None:
    start = at + HEADER_BYTES
    header = _header(source.read(at, HEADER_BYTES))
    if header is None:
        return None
    end = start + header.length
    if end > source.size or source.find(start, end) < end:
        return None
    payload = source.read(start, header.length)
    return Record(header.index, payload, at, end) if crc32c(payload) == header.checksum else None


def scan(file: BinaryIO, first: int = 0, after: int | None = None) -> Iterator[Record | Damage]:
    """Everything in a segment, in its order: what is intact, and what is not.

    `first` is the index that it begins with, `after` the first that it cannot have, where that is
    known: records from there on were never acknowledged. Never raises for what is in the file;
    OSError when it cannot be read at all.
    """
    source = _Source(file)
    at = good_end = 0
    expected = first
    while at < source.size:
        record = _record(source, at)
        if record is None:
            at = source.find(at + 1, source.size)
            continue
        if after is not None and record.index >= after:
            break
        if good_end < at or record.index > expected:
            yield Damage(good_end, at, max(0, record.index - expected), torn=False)
        yield record
        expected = max(expected, record.index + 1)
        at = good_end = record.end
    yield from _tail(source, good_end, expected, after)


def _tail(source: _Source, start: int, expected: int, after: int | None) -> Iterator[Damage]:
    """What is behind the last record."""
    if after is not None:
        missing = max(0, after - expected)
        if missing or start < source.size:
            yield Damage(start, source.size, missing, torn=not missing)
        return
    if start == source.size:
        return
    last, begun = _begun(source, start)
    if not _is_torn(source, last):
        yield Damage(start, source.size, max(1, begun + 1 - expected), torn=False)
        return
    if start < last:
        header = _header(source.read(last, HEADER_BYTES))
        yield Damage(start, last, max(1, header.index - expected if header else 0), torn=False)
    yield Damage(last, source.size, 0, torn=True)


def _begun(source: _Source, start: int) -> tuple[int, int]:
    """Where the last record behind `start` seems to begin, and the highest index, -1 for none."""
    last, highest = start, -1
    at = source.find(start, source.size)
    while at < source.size:
        last = at
        header = _header(source.read(at, HEADER_BYTES))
        highest = max(highest, header.index if header else -1)
        at = source.find(at + 1, source.size)
    return last, highest


def _is_torn(source: _Source, at: int) -> bool:
    """Whether this is the beginning of a record, and zeros for what was not written any more."""
    begun = source.read(at, HEADER_BYTES)
    header = _header(begun)
    if header is None:
        written = begun.rstrip(b"\0")
        rest = source.read(at + HEADER_BYTES, _ZEROS)
        is_start = MAGIC.startswith(written) or written.startswith(MAGIC)
        return is_start and len(written) < HEADER_BYTES and not any(rest)
    start = at + HEADER_BYTES
    end = start + header.length
    if end != source.size:
        return end > source.size
    # JSON ends with no zero byte, what was not written does.
    return source.read(end - 1, 1) == b"\0"
