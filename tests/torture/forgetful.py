"""A file system that forgets at SIGUSR1 what nobody synced, as a machine does without power.

`python -m tests.torture.forgetful MOUNTPOINT STORE`

It behaves as ext4 does: an fsync makes the file's contents durable, and every change of names so
far (they are one journal); a file that was created but not synced may be there, and then has the
contents it had at its last sync. Contents lie in STORE twice, as they are and as they are durable.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import mfusepy

DIRECTORY_MODE = stat.S_IFDIR | 0o755


@dataclass(eq=False)
class Node:
    """A file, folder or link; of a file `dirty` are the spans written since its last sync, and
    `least` the shortest it has been since then."""

    number: int
    mode: int
    uid: int = field(default_factory=os.geteuid)
    gid: int = field(default_factory=os.getegid)
    target: str = ""
    modified: int = field(default_factory=time.time_ns)
    dirty: list[tuple[int, int]] = field(default_factory=list)
    least: int = 0
    is_changed: bool = False


Names = dict[str, dict[str, Node]]
"""What each folder holds, by its path."""


class Forgetful(mfusepy.Operations):  # type: ignore[misc]  # -- the library has no types
    """The file system; `cut` is the loss of power."""

    use_ns = True

    def __init__(self, store: Path) -> None:
        self._now, self._kept = store / "now", store / "kept"
        for folder in (self._now, self._kept):
            folder.mkdir(parents=True, exist_ok=True)
        self._numbers = count(1)
        self._root = Node(0, DIRECTORY_MODE)
        self._names: Names = {"/": {}}
        self._durable: Names = {"/": {}}
        self._is_renamed = False
        self._open: dict[int, Node] = {}

    # --- Power -----------------------------------------------------------------------------------

    def cut(self) -> None:
        """Forget everything that was not synced; nobody has a file open any more."""
        self._names = {path: dict(names) for path, names in self._durable.items()}
        for names in self._names.values():
            for node in names.values():
                if node.is_changed:
                    self._copy(self._kept, self._now, node)
        self._is_renamed = False

    def _copy(self, source: Path, target: Path, node: Node) -> None:
        name = str(node.number)
        (target / name).write_bytes((source / name).read_bytes())
        node.dirty.clear()
        node.is_changed = False
        node.least = (target / name).stat().st_size

    def _sync_names(self) -> None:
        if self._is_renamed:
            self._durable = {path: dict(names) for path, names in self._names.items()}
            self._is_renamed = False

    def _sync(self, node: Node) -> None:
        self._sync_names()
        if not node.is_changed:
            return
        name = str(node.number)
        with (self._now / name).open("rb") as now, (self._kept / name).open("r+b") as kept:
            kept.truncate(node.least)
            for offset, size in node.dirty:
                now.seek(offset)
                kept.seek(offset)
                kept.write(now.read(size))
            size = os.fstat(now.fileno()).st_size
            kept.truncate(size)
        node.dirty.clear()
        node.is_changed = False
        node.least = size

    # --- Names -----------------------------------------------------------------------------------

    def _find(self, path: str) -> Node:
        if path == "/":
            return self._root
        folder, name = os.path.split(path)
        try:
            return self._names[folder][name]
        except KeyError:
            raise mfusepy.FuseOSError(errno.ENOENT) from None

    def _add(self, path: str, mode: int, target: str = "") -> Node:
        folder, name = os.path.split(path)
        if name in self._names[folder]:
            raise mfusepy.FuseOSError(errno.EEXIST)
        uid, gid, _ = mfusepy.fuse_get_context()
        node = Node(next(self._numbers), mode, uid, gid, target)
        self._names[folder][name] = node
        self._is_renamed = True
        return node

    def _take(self, path: str) -> Node:
        node = self._find(path)
        folder, name = os.path.split(path)
        del self._names[folder][name]
        self._is_renamed = True
        return node

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        """Make a file and open it."""
        node = self._add(path, stat.S_IFREG | mode)
        for folder in (self._now, self._kept):
            (folder / str(node.number)).touch()
        return self._opened(node)

    def mknod(self, path: str, mode: int, dev: int) -> None:
        """Make a socket; what goes through it is not the file system's."""
        self._add(path, mode)

    def mkdir(self, path: str, mode: int) -> None:
        """Make a folder."""
        self._add(path, stat.S_IFDIR | mode)
        self._names[path] = {}

    def symlink(self, target: str, source: str) -> None:
        """Make a link."""
        self._add(target, stat.S_IFLNK | 0o777, source)

    def readlink(self, path: str) -> str:
        """Where a link points."""
        return self._find(path).target

    def unlink(self, path: str) -> None:
        """Take a name away."""
        self._take(path)

    def rmdir(self, path: str) -> None:
        """Take an empty folder away."""
        if self._names[path]:
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        self._take(path)
        del self._names[path]

    def rename(self, old: str, new: str, flags: int = 0) -> None:
        """Give another name; what had it is gone."""
        node = self._take(old)
        folder, name = os.path.split(new)
        self._names[folder][name] = node
        if stat.S_ISDIR(node.mode):
            for path in [p for p in self._names if p == old or p.startswith(f"{old}/")]:
                self._names[new + path[len(old) :]] = self._names.pop(path)

    def readdir(self, path: str, fh: int) -> list[str]:
        """The names in a folder."""
        return [".", "..", *self._names[path]]

    # --- Attributes ------------------------------------------------------------------------------

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        """As stat(2)."""
        node = self._find(path)
        size = 0
        if stat.S_ISREG(node.mode):
            size = (self._now / str(node.number)).stat().st_size
        times = dict.fromkeys(("st_atime", "st_mtime", "st_ctime"), node.modified)
        links = 2 if stat.S_ISDIR(node.mode) else 1
        owner = {"st_uid": node.uid, "st_gid": node.gid}
        return {"st_mode": node.mode, "st_nlink": links, "st_size": size, **owner, **times}

    def chmod(self, path: str, mode: int) -> None:
        """Kept at once."""
        node = self._find(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Kept at once."""
        node = self._find(path)
        node.uid = node.uid if uid in {-1, 0xFFFFFFFF} else uid
        node.gid = node.gid if gid in {-1, 0xFFFFFFFF} else gid

    def utimens(self, path: str, times: Any = None) -> None:
        """Kept at once."""
        self._find(path).modified = times[1] if times else time.time_ns()

    def statfs(self, path: str) -> dict[str, int]:
        """Plenty of room."""
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 22, "f_bavail": 1 << 22,
                "f_bfree": 1 << 22, "f_namemax": 255}  # fmt: skip

    # --- Contents --------------------------------------------------------------------------------

    def _opened(self, node: Node) -> int:
        handle = os.open(self._now / str(node.number), os.O_RDWR)
        self._open[handle] = node
        return handle

    def open(self, path: str, flags: int) -> int:
        """A handle for reading and writing."""
        node = self._find(path)
        handle = self._opened(node)
        if flags & os.O_TRUNC:
            self._shorten(node, handle, 0)
        return handle

    def release(self, path: str, fh: int) -> None:
        """Close a handle."""
        del self._open[fh]
        os.close(fh)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        """What was written, synced or not."""
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        """Write, and remember that it is not durable."""
        node = self._open[fh]
        node.is_changed = True
        node.dirty.append((offset, len(data)))
        node.modified = time.time_ns()
        return os.pwrite(fh, data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        """Cut or lengthen, not durable."""
        if fh is not None:
            self._shorten(self._open[fh], fh, length)
            return
        node = self._find(path)
        handle = self._opened(node)
        self._shorten(node, handle, length)
        self.release(path, handle)

    def _shorten(self, node: Node, handle: int, length: int) -> None:
        node.is_changed = True
        node.least = min(node.least, length)
        node.modified = time.time_ns()
        os.ftruncate(handle, length)

    def flush(self, path: str, fh: int) -> None:
        """Nothing: to close is not to sync."""

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        """Make the file and all names durable."""
        self._sync(self._open[fh])

    def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
        """Make all names durable."""
        self._sync_names()


def main() -> None:
    """Serve until unmounted."""
    mountpoint, store = sys.argv[1:]
    system = Forgetful(Path(store))
    signal.signal(signal.SIGUSR1, lambda *_: system.cut())
    # Nothing is cached by the kernel: it would go on knowing names that power took away.
    fresh = {"attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
    mfusepy.FUSE(system, mountpoint, foreground=True, nothreads=True, allow_other=True,
                 default_permissions=True, **fresh)  # fmt: skip


if __name__ == "__main__":
    main()
