"""Makes files and names outlive a power cut: what was only written or renamed may be forgotten."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Make the contents of a file, or the names in a folder, durable; raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make everything below a folder durable."""
    for path in (*folder.rglob("*"), folder):
        if not path.is_symlink():
            sync(path)
