"""The file of a backup: a plain tar, so that any `tar` and `sha256sum` read it as well.

Its members are segments of the spool (`spool/<folder>/<segment>`), the database (`postgres.dump`,
what `pg_dump --format=custom` writes), `manifest.json`, and last `manifest.sha256`: a file that
ends early has no manifest, and no bit of a member can change unnoticed. Everything is copied in
pieces, so that memory does not grow with the database.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from tarfile import BLOCKSIZE, GNU_FORMAT, HeaderError, TarInfo
from typing import IO, Any, NamedTuple

from service.errors import StartupError

DUMP = "postgres.dump"
MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
FORMAT = 1
PIECE = 1 << 20

_SEGMENT = re.compile(r"spool/\d[\w-]{0,39}/\d[\w-]{0,39}\.spool", re.ASCII)
_END = bytes(2 * BLOCKSIZE)
_LONGEST_MANIFEST = 16 << 20


class BackupError(StartupError):
    """A backup cannot be made, read or restored; the message is one sentence for the operator."""


def said_by(errors: IO[bytes]) -> str:
    """What a program of Postgres complained of first, out of everything it wrote to `errors`."""
    errors.seek(0)
    lines = [line.strip() for line in errors.read().decode(errors="replace").splitlines()]
    complaints = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return (complaints or lines or ["it gave no reason"])[0].rstrip(".")


class Member(NamedTuple):
    """A file inside the archive: its size in bytes, its SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """What the archive holds: versions (`schema` is a migration's), and when it was made.

    What was acknowledged before `started_at` is inside, what after `snapshot_at` is not.
    """

    kompas: str
    schema: str
    postgres: int
    started_at: datetime
    snapshot_at: datetime


class Placed(NamedTuple):
    """A member, and where in the archive its first byte is."""

    member: Member
    start: int


class _DamageError(Exception):
    """What is wrong with an archive, to be put behind its name."""


@dataclass(frozen=True)
class Archive:
    """An archive that was read from end to end, and is what was written."""

    path: Path
    contents: Contents
    placed: tuple[Placed, ...]

    @property
    def size(self) -> int:
        """Bytes of all members."""
        return sum(found.member.size for found in self.placed)

    def segments(self) -> list[Placed]:
        """The segments of the spool, folder by folder."""
        return [found for found in self.placed if found.member.name != DUMP]

    def dump(self) -> Placed:
        """The database."""
        return next(found for found in self.placed if found.member.name == DUMP)

    def pieces(self, placed: Placed) -> Iterator[bytes]:
        """A member's bytes; `BackupError` when they are no longer what was read before."""
        digest = sha256()
        with self.path.open("rb") as file:
            file.seek(placed.start)
            while left := placed.member.size - file.tell() + placed.start:
                piece = file.read(min(PIECE, left))
                if not piece:
                    break
                digest.update(piece)
                yield piece
        if digest.hexdigest() != placed.member.sha256:
            raise BackupError(f"{self.path} changed while it was read.")


class ArchiveWriter:
    """Appends members to a file that can be sought in; `close` writes the manifest."""

    def __init__(self, file: IO[bytes], started_at: datetime) -> None:
        self.started_at = started_at
        self._file = file
        self._members: list[Member] = []

    def add(self, name: str, source: IO[bytes]) -> None:
        """Append everything that `source` gives, which may be a pipe."""
        # How long a pipe is, is known at its end: the header is written last, over its own room.
        header_at = self._file.tell()
        self._file.write(bytes(BLOCKSIZE))
        digest, size = sha256(), 0
        while piece := _read(source, name):
            self._file.write(piece)
            digest.update(piece)
            size += len(piece)
        self._file.write(bytes(-size % BLOCKSIZE))
        end = self._file.tell()
        self._file.seek(header_at)
        self._file.write(self._header(name, size))
        self._file.seek(end)
        self._members.append(Member(name, size, digest.hexdigest()))

    def close(self, contents: Contents) -> None:
        """Write the manifest and the end of the archive; syncing the file is the caller's."""
        members = [member._asdict() for member in self._members]
        data = {"format": FORMAT, **asdict(contents), "members": members}
        text = json.dumps(data, indent=1, default=datetime.isoformat).encode() + b"\n"
        for name, body in ((MANIFEST, text), (DIGEST, _digest_line(text))):
            padding = bytes(-len(body) % BLOCKSIZE)
            self._file.write(self._header(name, len(body)) + body + padding)
        self._file.write(_END)

    def _header(self, name: str, size: int) -> bytes:
        info = TarInfo(name)
        info.size = size
        info.mode = 0o600
        info.mtime = int(self.started_at.timestamp())
        return info.tobuf(GNU_FORMAT)


def _read(source: IO[bytes], name: str) -> bytes:
    try:
        return source.read(PIECE)
    except OSError as error:
        raise BackupError(f"{name} cannot be read: {error.strerror or error}.") from error


def read_archive(path: Path) -> Archive:
    """Read everything and hold it against the manifest; `BackupError` says what is wrong."""
    try:
        with path.open("rb") as file:
            return Archive(path, *_read_all(file))
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror or error}.") from error
    except _DamageError as error:
        raise BackupError(f"{path} is no whole backup: {error}.") from error


def _read_all(file: IO[bytes]) -> tuple[Contents, tuple[Placed, ...]]:
    placed, texts = [], {MANIFEST: b"", DIGEST: b""}
    for name, size, start in _headers(file):
        if name in texts and size <= _LONGEST_MANIFEST:
            texts[name] = file.read(size)
        else:
            placed.append(Placed(Member(name, size, _digest(file, size)), start))
    manifest = texts[MANIFEST]
    if texts[DIGEST] != _digest_line(manifest):
        raise _DamageError("its manifest is not what was written")
    contents, members = _read_manifest(manifest)
    _compare([found.member for found in placed], members)
    return contents, tuple(placed)


def _digest(file: IO[bytes], size: int) -> str:
    digest, left = sha256(), size
    while left:
        piece = file.read(min(PIECE, left))
        if not piece:
            raise _DamageError("it is cut off")
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()


def _digest_line(manifest: bytes) -> bytes:
    """What `sha256sum` writes, and reads with `--check`."""
    return f"{sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


def _headers(file: IO[bytes]) -> Iterator[tuple[str, int, int]]:
    """Name, size and start of each member; the file may be read in between."""
    while (block := file.read(BLOCKSIZE)) != _END[:BLOCKSIZE]:
        start = file.tell()
        try:
            info = TarInfo.frombuf(block, "utf-8", "strict")
        except (HeaderError, ValueError):
            raise _DamageError(
                f"what stands before byte {start} is damaged, or no backup at all"
            ) from None
        if not info.isreg() or info.size < 0:
            raise _DamageError(f"what stands before byte {start} is damaged, or no backup at all")
        yield info.name, info.size, start
        file.seek(start + info.size + -info.size % BLOCKSIZE)
    if file.read(BLOCKSIZE + 1) != _END[BLOCKSIZE:]:
        raise _DamageError("it is cut off, or something was added to it")


def _read_manifest(text: bytes) -> tuple[Contents, list[Member]]:
    data: dict[str, Any] = json.loads(text)
    if data["format"] != FORMAT:
        raise _DamageError(
            f"it has format {data['format']}, and this Kompas reads format {FORMAT}: install the"
            " version of Kompas that made it, or a later one"
        )
    contents = Contents(
        data["kompas"],
        data["schema"],
        data["postgres"],
        datetime.fromisoformat(data["started_at"]),
        datetime.fromisoformat(data["snapshot_at"]),
    )
    return contents, [Member(**member) for member in data["members"]]


def _compare(found: list[Member], said: list[Member]) -> None:
    for here, there in zip(found, said, strict=False):
        if here != there:
            raise _DamageError(f"{there.name} is damaged")
    names = [member.name for member in found if member.name != DUMP]
    if found != said or len(found) != len(names) + 1 or not all(map(_SEGMENT.fullmatch, names)):
        raise _DamageError("its members are not those of a backup")
