"""`kompas` with a broken promise, so that the harness can show that it would notice.

`KOMPAS_SABOTAGE` says which: `sync` leaves out every sync of the spool, `early` answers before
anything is durable. With `errors` the disk is broken instead: every third sync fails, and now and
then twenty in a row.
"""

from __future__ import annotations

import asyncio
import errno
import os
from itertools import count

from service.cli import main
from service.domain.events import Receipt, Submission
from service.ingest.writer import Writer

_submit = Writer.submit
_promised: set[asyncio.Task[Receipt]] = set()


async def _early(writer: Writer, submission: Submission) -> Receipt:
    task = asyncio.create_task(_submit(writer, submission))
    _promised.add(task)
    task.add_done_callback(_promised.discard)
    return Receipt(len({row.position for row in submission.rows}), 0, list(submission.refusals))


def _no_sync(_handle: int) -> None:
    """As a disk that lies, or code that forgot."""


_syncs = count(1)
_fdatasync = os.fdatasync


def _failing(handle: int) -> None:
    """As a disk with bad blocks."""
    number = next(_syncs)
    if number % 3 == 0 or number % 100 < 20:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    _fdatasync(handle)


if __name__ == "__main__":
    match os.environ.pop("KOMPAS_SABOTAGE"):
        case "early":
            Writer.submit = _early  # type: ignore[method-assign]  # -- sabotage, on purpose
        case "sync":
            os.fdatasync = os.fsync = _no_sync
        case "errors":
            os.fdatasync = _failing
    main()
