"""What can happen to a file: it is written over, cut, and has bytes inserted or removed."""

from __future__ import annotations

import io
import json
from random import Random
from typing import NamedTuple

from hypothesis import strategies as st

from service.ingest.spool.records import HEADER_BYTES, MAGIC, framed

payloads = st.lists(
    st.text(max_size=60).map(lambda text: json.dumps(text, ensure_ascii=False).encode()),
    min_size=1,
    max_size=8,
)

garbage = st.lists(
    st.binary(max_size=40)
    | st.sampled_from([
        MAGIC,
        MAGIC[:5],
        3 * MAGIC,
        framed(1, b"no record has this")[:HEADER_BYTES],
        framed(3, Random(3).randbytes(100))[:-20],
        bytes(600),
    ]),
    max_size=4,
).map(b"".join)  # fmt: skip


class Piece(NamedTuple):
    """A record that is there as it was written."""

    index: int
    start: int
    end: int


class File(NamedTuple):
    """The bytes of a segment, and its records as they were written."""

    data: bytes
    frames: tuple[bytes, ...]

    @property
    def whole(self) -> list[Piece]:
        """What is still there, wherever it is now; no two records have the same bytes."""
        starts = [(index, self.data.find(frame)) for index, frame in enumerate(self.frames)]
        return [
            Piece(index, start, start + len(self.frames[index]))
            for index, start in starts
            if start >= 0
        ]

    @property
    def lost(self) -> list[int]:
        """The indexes of the others."""
        return [index for index, frame in enumerate(self.frames) if frame not in self.data]

    def overwritten(self, start: int, new: bytes) -> File:
        data = self.data[:start] + new + self.data[start + len(new) :]
        return self._replace(data=data[: len(self.data)])

    def flipped(self, bit: int) -> File:
        byte = self.data[bit // 8] ^ (1 << bit % 8)
        return self.overwritten(bit // 8, bytes([byte]))

    def cut(self, length: int) -> File:
        return self._replace(data=self.data[:length])

    def spliced(self, start: int, removed: int, new: bytes) -> File:
        """Some bytes are gone, and others stand in their place."""
        return self._replace(data=self.data[:start] + new + self.data[start + removed :])


def written(payloads: list[bytes], first: int = 0) -> File:
    """A segment with these payloads."""
    frames = tuple(framed(index, payload) for index, payload in enumerate(payloads, first))
    return File(b"".join(frames), frames)


class CountingFile(io.BytesIO):
    """Counts what is read of it, and notes the largest request that was answered."""

    read_bytes = 0
    largest = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.read_bytes += len(data)
        self.largest = max(self.largest, len(data))
        return data


@st.composite
def wounded(draw: st.DrawFn, file: File) -> File:
    """The file after one to three mishaps."""
    for _ in range(draw(st.integers(1, 3))):
        size = len(file.data)
        if not size:
            break
        start = draw(st.integers(0, size - 1))
        match draw(st.sampled_from(["flip", "overwrite", "cut", "insert", "remove"])):
            case "flip":
                file = file.flipped(8 * start + draw(st.integers(0, 7)))
            case "overwrite":
                file = file.overwritten(start, draw(garbage))
            case "cut":
                file = file.cut(start)
            case "insert":
                file = file.spliced(start, 0, draw(garbage))
            case _:
                file = file.spliced(start, draw(st.integers(1, 80)), b"")
    return file
