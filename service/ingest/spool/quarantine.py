"""Where segments are kept that could not be replayed as a whole, for whoever finds out why.

Of those that were damaged the oldest go when there are many. In those that are stuck are events
that nobody else has: they stay.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from service.kit.sync import sync

QUARANTINE = "quarantine"
STUCK = "stuck-"
"""How the name of a file begins that is never deleted here."""
_STUCK_NAME = re.compile(
    rf"{STUCK}(?P<folder>.+-.+-[0-9a-f]{{8}})-(?P<segment>\d+-\d+\.spool)", re.ASCII
)
MOST_BYTES = 256 * 1024 * 1024


def quarantine(root: Path, path: Path, *, stuck: bool = False) -> None:
    """Move a segment there; the newest file is kept whatever its size. OSError."""
    path.stat()  # it may be gone
    folder = root / QUARANTINE
    folder.mkdir(mode=0o700, exist_ok=True)
    path.rename(folder / f"{STUCK if stuck else ''}{path.parent.name}-{path.name}")
    # It is in its new place for good before it may be gone from the old one.
    sync(folder)
    sync(root)
    _forget_oldest(folder)


def give_back(root: Path) -> int:
    """Move stuck segments to where they were, to be replayed again; answers how many. OSError."""
    given = 0
    for path, _ in quarantined(root):
        name = _STUCK_NAME.fullmatch(path.name)
        if name:
            folder = root / name["folder"]
            folder.mkdir(mode=0o700, exist_ok=True)
            path.rename(folder / name["segment"])
            sync(folder)
            sync(root)
            given += 1
    return given


def count_stuck(root: Path) -> int:
    """How many stuck segments are there. OSError."""
    return sum(1 for path, _ in quarantined(root) if path.name.startswith(STUCK))


def quarantined(root: Path) -> list[tuple[Path, int]]:
    """The files there and their bytes, the latest last; empty where there is no such folder."""
    try:
        found = [(entry.stat(follow_symlinks=False), Path(entry.path))
                 for entry in os.scandir(root / QUARANTINE)]  # fmt: skip
    except FileNotFoundError:
        return []
    return [(path, status.st_size) for status, path in sorted(found, key=_age)]


def _age(found: tuple[os.stat_result, Path]) -> tuple[int, str]:
    status, path = found
    return status.st_mtime_ns, path.name


def _forget_oldest(folder: Path) -> None:
    files = [found for found in quarantined(folder.parent) if not found[0].name.startswith(STUCK)]
    total = sum(size for _, size in files)
    for path, size in files[:-1]:
        if total <= MOST_BYTES:
            return
        path.unlink(missing_ok=True)
        total -= size
