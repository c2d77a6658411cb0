"""Where segments are kept that could not be replayed as a whole, for whoever finds out why.

Of those that were damaged the oldest go when there are many. In those that are stuck are events
that nobody else has: they stay.
"""

from __future__ import annotations

import os
from pathlib import Path

QUARANTINE = "quarantine"
STUCK = "stuck-"
"""How the name of a file begins that is never deleted here."""
MOST_BYTES = 256 * 1024 * 1024


def quarantine(root: Path, path: Path, *, stuck: bool = False) -> None:
    """Move a segment there; the newest file is kept whatever its size. OSError."""
    path.stat()  # it may be gone
    folder = root / QUARANTINE
    folder.mkdir(mode=0o700, exist_ok=True)
    path.rename(folder / f"{STUCK if stuck else ''}{path.parent.name}-{path.name}")
    _forget_oldest(folder)


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
