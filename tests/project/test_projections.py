"""Which projections run for which kinds, and what a window's edge may see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.kinds import Flag, Kind
from service.kit.clock import SystemClock
from service.project.backlog import waiting
from service.project.projections import PROJECTIONS, Projection, apply
from service.project.runner import Runner
from service.store.engine import writing
from tests.project.facts import edge, rollup
from tests.project.log import NOWHERE, Row, append, uid

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ALWAYS = {"identities", "events"}
MAILS = {"messages", *ALWAYS}
STATEMENTS = {"statements", *ALWAYS}

NEEDED = {
    Kind.PAGE_VIEW: {"visits", "conversions", "leads", *ALWAYS},
    **{kind: MAILS for kind in Kind if kind.name.startswith("EMAIL_")},
    Kind.LEAD: {"leads", *ALWAYS},
    Kind.CONVERSION: {"conversions", "leads", *ALWAYS},
    Kind.REFUND: {"conversions", *ALWAYS},
    Kind.SURVEY_ANSWER: {"answers", *ALWAYS},
    Kind.AD_SPEND: STATEMENTS,
    Kind.SOCIAL_POST: STATEMENTS,
    Kind.SEARCH_VOLUME: STATEMENTS,
    Kind.CUSTOM: ALWAYS,
}

NewSite = Callable[..., Awaitable[Site]]


def fails(projection: Projection) -> Projection:
    return replace(projection, statement=text("SELECT 1 / 0"))


async def applied(engine: AsyncEngine, site: Site, projections: list[Projection]) -> None:
    async with writing(engine) as connection:
        chunk = await waiting(connection, site.id)
        assert chunk is not None
        await apply(connection, chunk, projections)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
async def test_a_projection_is_skipped_when_no_row_is_of_its_kinds(
    engine: AsyncEngine, new_site: NewSite, kind: Kind
) -> None:
    site = await new_site()
    await append(engine, site.id, [Row(kind, NOON)])
    needed = [projection for projection in PROJECTIONS if projection.name in NEEDED[kind]]
    others = [fails(projection) for projection in PROJECTIONS if projection not in needed]
    assert len(needed) == len(NEEDED[kind])
    await applied(engine, site, others)
    for projection in needed:
        with pytest.raises(DBAPIError):
            await applied(engine, site, [fails(projection)])


async def test_visits_and_people_come_before_what_is_credited_to_them() -> None:
    names = [projection.name for projection in PROJECTIONS]
    credited = min(names.index("conversions"), names.index("leads"))
    assert names.index("visits") < names.index("identities") < credited


async def test_a_login_alone_looks_at_conversions_and_leads_again(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site = await new_site()
    page = {"page": "shop.example/"}
    await append(engine, site.id, [Row(Kind.PAGE_VIEW, NOON, visitor=1, data=page)])
    await applied(engine, site, list(PROJECTIONS))
    await Runner(engine, SystemClock()).run_once()
    login = {"name": "login", "customer": uid("a")}
    await append(engine, site.id, [Row(Kind.CUSTOM, NOON, NOWHERE, 1, Flag.CONSENT, login)])
    for name in ("conversions", "leads"):
        others = [fails(each) if each.name == name else each for each in PROJECTIONS]
        with pytest.raises(DBAPIError):
            await applied(engine, site, others)


async def test_an_edge_sees_no_more_than_the_rollups_beside_it(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site = await new_site()
    download = Row(Kind.CUSTOM, NOON, data={"name": "download"})
    await append(engine, site.id, [download])
    await Runner(engine, SystemClock()).run_once()
    await append(engine, site.id, [download, download])
    window = NOON - MINUTE, NOON + MINUTE
    assert Counter(await edge(engine, site.id, *window)).total() == 1
    assert Counter(await rollup(engine, site.id, "rollup_quarter")).total() == 1
    await Runner(engine, SystemClock()).run_once()
    assert Counter(await edge(engine, site.id, *window)).total() == 3
