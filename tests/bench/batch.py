"""The batch door: 500 mixed events with ids a request, beside a plain COPY of as many rows."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import asyncpg

from service.store.embedded import EmbeddedPostgres
from tests.bench.events import bodies
from tests.bench.load import data_folder, post_all
from tests.bench.sizes import Sizes
from tests.running import ADMIN_KEY, kompas_serve

SIZE = 500
CONNECTIONS = 8
COPIED = """
CREATE TABLE copied (site_id bigint, batch_id bigint, occurred_at timestamptz, visitor bigint,
    dim_id bigint, seq smallint, kind smallint, flags smallint, data jsonb);
"""


def _jsonb(text: str) -> bytes:
    # The wire format of jsonb: a version byte before the text.
    return b"\x01" + text.encode()


async def plain_copy(url: str, rows: int) -> float:
    """Seconds to COPY rows like the log's into a table without indexes, 500 a commit."""
    connection = await asyncpg.connect(url)
    await connection.set_type_codec(
        "jsonb", encoder=_jsonb, decoder=bytes, schema="pg_catalog", format="binary"
    )
    await connection.execute(COPIED)
    data = '{"page":"shop.example/p/1","title":"A page of the shop"}'
    row = (1, 1, datetime.now(UTC), 2**60, 2**61, 1, 1, 0, data)
    batch = [row] * SIZE
    started = time.perf_counter()
    for _ in range(rows // SIZE):
        await connection.copy_records_to_table("copied", records=batch)
    taken = time.perf_counter() - started
    await connection.execute("DROP TABLE copied")
    await connection.close()
    return taken


async def batch_door(sizes: Sizes) -> None:
    """Print events a second through HTTP and through COPY, and when they were all counted."""
    events = sizes.batches * SIZE
    print(
        f"Batch door, {sizes.batches} requests of {SIZE} events with ids, {CONNECTIONS} connections"
    )
    with data_folder() as folder:
        environment = {"KOMPAS_DATA_DIR": f"{folder}/kompas"}
        with kompas_serve(**environment) as service:
            url = EmbeddedPostgres(Path(folder, "kompas")).running_url()
            assert url
            floor = events / await plain_copy(url, events)
            print(f"  {'plain COPY, no keys, no indexes':<34}{floor:>9,.0f} events/s")
            load = bodies(sizes.batches, SIZE)
            post_all(service.port, "/v1/events", ADMIN_KEY, bodies(4, SIZE, seed=2), 2)
            taken = post_all(service.port, "/v1/events", ADMIN_KEY, load, CONNECTIONS)
            accepted = time.perf_counter()
            orders = service.kpi("orders", window="last_7_days", wait=60_000)
            caught_up = time.perf_counter() - accepted
    assert orders["value"] is not None
    print(f"  {'Kompas batch door, durable':<34}{events / taken:>9,.0f} events/s")
    print(
        f"  counted {caught_up:.2f} s after the last answer; ratio to the floor"
        f" {events / taken / floor:.2f}\n"
    )
