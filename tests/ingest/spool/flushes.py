"""Flushes to spool: any that there may be, and plain ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID, uuid4

from hypothesis import strategies as st

from service.domain.dimensions import Detail, Dimension
from service.domain.events import LogRow, Refusal
from service.ingest.refusals import RefusalCode
from service.ingest.spool.payload import Flush
from service.store.append import Batch, Rejected

NOW = datetime(2026, 5, 20, 12, 30, tzinfo=UTC)

texts = st.text(max_size=20) | st.text(st.characters(), max_size=8)
"""Lone surrogates and U+0000 included: what Postgres refuses is for it to refuse."""
ids = st.integers(-(2**63), 2**63 - 1)
moments = st.datetimes(
    datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from(
        [UTC, timezone(timedelta(hours=-3, minutes=-30))])
)  # fmt: skip
rows = st.builds(
    LogRow,
    position=st.integers(0, 32767),
    kind=st.integers(0, 90),
    occurred_at=moments,
    visitor=ids,
    dim_id=ids,
    detail_id=ids,
    flags=st.integers(0, 127),
    key=st.none() | st.uuids() | st.just(UUID(int=0)),
    data=texts,
)
details = st.builds(
    Detail, texts, texts, texts, st.lists(st.tuples(texts, texts), max_size=2).map(tuple)
)
refusals = st.builds(
    Refusal, st.integers(-1, 9), st.sampled_from(RefusalCode), texts, texts, texts,
    st.integers(0, 90),
)  # fmt: skip
batches = st.builds(
    Batch,
    site_id=ids,
    token=st.uuids(),
    rows=st.lists(rows, max_size=4),
    dimensions=st.dictionaries(ids, st.builds(Dimension, *[texts] * 8), max_size=3),
    details=st.dictionaries(ids, details, max_size=3),
    rejected=st.lists(st.builds(Rejected, texts, refusals), max_size=2),
)
any_flush = st.builds(Flush, moments, st.lists(batches, max_size=3))


def row(position: int = 0, size: int = 60) -> LogRow:
    data = '{"title":"' + size * "æ" + '"}'
    return LogRow(position, 1, NOW, 2**62 + position, 1, 0, 2, uuid4(), data)


def flush(events: int = 1, *, size: int = 60, rows_of_each: int = 1, site_id: int = 7) -> Flush:
    """Page views of one site."""
    numbered = [row(number, size) for number in range(events) for _ in range(rows_of_each)]
    return Flush(NOW, [Batch(site_id, rows=numbered, dimensions={1: Dimension("direct")})])
