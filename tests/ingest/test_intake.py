"""The façade on a real Postgres: what a door hands in is in the log, or refused, or both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from service.domain.access import Site
from service.domain.events import Receipt
from service.domain.kinds import Flag, Kind
from service.errors import RetryableError
from service.ingest.intake import Intake, RequestFacts
from service.ingest.tokens import Purpose
from service.ingest.writer import Writer
from service.kit.json import JsonError
from service.store.secrets import Vault
from tests.clock import FixedClock
from tests.conftest import Database
from tests.ingest.given import FIREFOX, GOOD, NOW, good

MakeSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def site(database: Database, make_site: MakeSite) -> Site:
    return await make_site(database.engine)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
async def intake(database: Database, clock: FixedClock) -> AsyncIterator[Intake]:
    writer = Writer(database.engine, clock)
    await writer.start()
    made = Intake(writer, Vault(database.engine), clock)
    await made.start()
    yield made
    await writer.stop()


async def stored(database: Database, table: str) -> list[Any]:
    async with database.engine.connect() as connection:
        return list((await connection.execute(text(f"SELECT * FROM {table}"))).all())


async def test_good_events_are_stored_and_bad_ones_recorded(
    database: Database, site: Site, intake: Intake
) -> None:
    error = JsonError("invalid_json", "No.")
    objects = [good(Kind.LEAD, id="a"), {"kind": "lead"}, good(Kind.LEAD, id="a"), error]
    receipt = await intake.take(objects, RequestFacts(site, "events"))
    assert (receipt.accepted, receipt.duplicates) == (1, 1)
    assert [(r.position, r.code) for r in receipt.refusals] == [
        (1, "missing_field"),
        (3, "invalid_json"),
    ]
    (event,) = await stored(database, "event")
    assert (event.site_id, event.kind, event.occurred_at) == (site.id, Kind.LEAD, NOW)
    rejections = sorted(await stored(database, "rejection"), key=lambda row: row.id)
    assert [(r.door, r.code, r.field) for r in rejections] == [
        ("events", "missing_field", "/lead"),
        ("events", "invalid_json", ""),
    ]
    assert rejections[1].payload == ""


async def test_the_database_takes_every_kind(
    database: Database, site: Site, intake: Intake
) -> None:
    awkward = {"props": {"a\ufffd": ['"\\\n\u2028', 10**30, True]}, "campaign": "\x07\x1f😀"}
    receipt = await intake.take(
        [good(kind, **awkward) for kind in Kind], RequestFacts(site, "events")
    )
    assert receipt == Receipt(len(Kind), 0, [])
    assert {event.kind for event in await stored(database, "event")} == set(Kind)


async def test_the_facts_of_a_request_decide(
    database: Database, site: Site, intake: Intake
) -> None:
    facts = RequestFacts(
        site, "pixel", Kind.PAGE_VIEW, FIREFOX, "203.0.113.7", browser=True, repaired=True
    )
    bot = RequestFacts(site, "pixel", Kind.PAGE_VIEW, "curl/8", opted_out=True, browser=True)
    for one in (facts, bot):
        assert (await intake.take([GOOD[Kind.PAGE_VIEW]], one)).accepted == 1
    person, program = sorted(await stored(database, "event"), key=lambda row: row.batch_id)
    assert person.visitor != 0
    assert person.flags == Flag.REPAIRED
    assert (program.visitor, program.flags) == (0, Flag.BOT | Flag.OPTED_OUT)
    # Neither address nor user agent is anywhere.
    for table in ("event", "batch", "rejection", "dimension"):
        shown = str(await stored(database, table))
        assert "203.0.113.7" not in shown
        assert "Firefox" not in shown


async def test_a_statement_is_one_event_of_many_rows(
    database: Database, site: Site, intake: Intake
) -> None:
    month = good(Kind.AD_SPEND, date=None, id="x", **{"from": "2026-04-01", "to": "2026-04-30"})
    assert await intake.take([month], RequestFacts(site, "ad-spend")) == Receipt(1, 0, [])
    assert await intake.take([month], RequestFacts(site, "ad-spend")) == Receipt(0, 1, [])
    assert len(await stored(database, "event")) == 30


async def test_a_new_day_has_a_new_salt(
    database: Database, site: Site, intake: Intake, clock: FixedClock
) -> None:
    facts = RequestFacts(site, "pixel", Kind.PAGE_VIEW, FIREFOX, "203.0.113.7", browser=True)
    for _ in range(2):
        await intake.take([GOOD[Kind.PAGE_VIEW]], facts)
    clock.advance(timedelta(days=1).total_seconds())
    await intake.take([GOOD[Kind.PAGE_VIEW]], facts)
    first, second, third = sorted(await stored(database, "event"), key=lambda row: row.batch_id)
    assert first.visitor == second.visitor != third.visitor


async def test_nothing_needs_no_commit(database: Database, site: Site, intake: Intake) -> None:
    assert await intake.take([], RequestFacts(site, "events")) == Receipt(0, 0, [])
    assert await stored(database, "batch") == []


async def test_the_refusal_of_a_whole_request_is_recorded(
    database: Database, site: Site, intake: Intake
) -> None:
    await intake.refuse(site.id, "events", "invalid_utf8", "No: anna@example.dk.", 29)
    (row,) = await stored(database, "rejection")
    assert (row.site_id, row.door, row.code, row.message) == (
        site.id,
        "events",
        "invalid_utf8",
        "No: [email].",
    )
    assert row.payload == "(29 bytes)"


async def test_recording_a_refusal_never_raises(
    database: Database, site: Site, clock: FixedClock
) -> None:
    away = Intake(Writer(database.engine, clock), Vault(database.engine), clock)
    await away.refuse(site.id, "events", "invalid_utf8", "No.", "x")
    assert await stored(database, "rejection") == []


async def test_every_process_signs_with_the_same_keys(
    database: Database, intake: Intake, clock: FixedClock
) -> None:
    other = Intake(Writer(database.engine, clock), Vault(database.engine), clock)
    with pytest.raises(RetryableError, match="not loaded"):
        _ = other.tokens
    await other.start()
    token = intake.tokens.mint_open("shop", "m-1")
    claims = other.tokens.verify(token, Purpose.OPEN)
    assert claims is not None
    assert claims.fields == {"message": "m-1"}
