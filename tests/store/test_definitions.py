"""Users' own KPIs in the database: exact, versioned, retired and never lost."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from service.store.definitions import (
    changing,
    list_definitions,
    put_definition,
    retire,
    stamp,
)
from service.store.engine import reading
from tests.conftest import Database

DATA: dict[str, Any] = {
    "unit": "points",
    "numerator": {"nps_promoters": Decimal("0.10"), "a": 1, "nps_detractors": -1},
    "title": {"en": "Æ", "da": "“ø”"},
}


async def stored(database: Database) -> list[tuple[str, int, dict[str, Any], bool]]:
    async with reading(database.engine) as connection:
        found = await list_definitions(connection)
    return [(one.id, one.version, one.data, one.retired_at is not None) for one in found]


async def put(database: Database, kpi_id: str, version: int, data: dict[str, Any]) -> None:
    async with changing(database.engine) as connection:
        await put_definition(connection, kpi_id, version, data)


async def stamped(database: Database) -> tuple[Any, ...]:
    async with reading(database.engine) as connection:
        return await stamp(connection)


async def test_a_definition_comes_back_to_the_last_digit_and_in_its_order(
    database: Database,
) -> None:
    await put(database, "own", 1, DATA)
    ((kpi_id, version, data, retired),) = await stored(database)
    assert (kpi_id, version, data, retired) == ("own", 1, DATA, False)
    assert list(data["numerator"]) == list(DATA["numerator"])
    assert str(data["numerator"]["nps_promoters"]) == "0.10"


async def test_versions_stand_beside_each_other(database: Database) -> None:
    await put(database, "own", 1, {"a": 1})
    await put(database, "own", 2, {"a": 2})
    await put(database, "own", 1, {"a": 3})
    assert [row[:3] for row in await stored(database)] == [
        ("own", 1, {"a": 3}),
        ("own", 2, {"a": 2}),
    ]


async def test_what_is_retired_stays_and_can_come_back(database: Database) -> None:
    for kpi_id, version in (("own", 1), ("own", 2), ("other", 1)):
        await put(database, kpi_id, version, {})
    async with changing(database.engine) as connection:
        await retire(connection, "own")
    assert [(row[0], row[3]) for row in await stored(database)] == [
        ("other", False),
        ("own", True),
        ("own", True),
    ]
    await put(database, "own", 2, {"back": True})
    assert not any(row[3] for row in await stored(database))


async def test_every_change_has_another_stamp(database: Database) -> None:
    seen = [await stamped(database)]
    for change in (1, 2, 3):
        await put(database, "own", 1, {"a": change})
        seen.append(await stamped(database))
    for kpi_id in ("later", "own"):
        await put(database, kpi_id, 1, {})
        async with changing(database.engine) as connection:
            await retire(connection, kpi_id)
        seen.append(await stamped(database))
    await put(database, "later", 1, {})
    seen.append(await stamped(database))
    assert len(set(seen)) == len(seen)
    assert await stamped(database) == seen[-1]


async def test_who_changes_is_alone_and_readers_do_not_wait(database: Database) -> None:
    async def second() -> int:
        async with changing(database.engine) as connection:
            return len(await list_definitions(connection))

    async with changing(database.engine) as connection:
        other = asyncio.create_task(second())
        assert await stored(database) == []
        await put_definition(connection, "own", 1, {})
        await asyncio.sleep(0.05)
        assert not other.done()
    assert await other == 1
