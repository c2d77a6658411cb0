"""Migrations fill what they add: afterwards a database is as if it had always been there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

from hypothesis import HealthCheck, given, settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.kinds import Flag, Kind
from service.kit.clock import SystemClock
from service.project.runner import Runner
from service.store.engine import reading
from service.store.migrate import script_location
from tests.project.facts import ROLLUPS, facts, rollup
from tests.project.log import Row, append, uid
from tests.project.streams import Stream, streams
from tests.project.test_recount import NewSite, credit_anew, play

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
FILLING = ("0002_any_question", "0004_chains")

BEFORE = """
DELETE FROM answer;
DELETE FROM rollup_month;
DELETE FROM rollup_total;
DELETE FROM rollup_total_quarter;
DELETE FROM rollup_recency;
DELETE FROM identity;
UPDATE conversion SET lead = NULL;
DELETE FROM rollup_quarter WHERE measure >= 1000;
DELETE FROM rollup_day WHERE measure >= 1000;
UPDATE visit SET campaign_key = 0, campaign_previous_at = NULL;
UPDATE conversion SET touch_dims = NULL, touch_details = NULL, touch_weights = NULL;
UPDATE lead SET touch_dims = NULL, touch_details = NULL, touch_weights = NULL;
UPDATE conversion SET previous_at = NULL, repeated_at = NULL, follows_new = false;
"""
"""Takes away what the first version did not have."""


def fill(migration: str) -> str:
    path = script_location() / "versions" / f"{migration}.py"
    spec = spec_from_file_location(migration, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    statements: str = module.FILL
    return statements


async def upgrade(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        for statement in (BEFORE + "".join(map(fill, FILLING))).split(";\n"):
            if statement.strip():
                await connection.execute(text(statement))


async def state(engine: AsyncEngine, site_ids: list[int]) -> list[Any]:
    recency = text(
        "SELECT scope, bucket, previous, dim_id, sum(value) FROM rollup_recency"
        " WHERE site_id = :site_id GROUP BY 1, 2, 3, 4 HAVING sum(value) <> 0 ORDER BY 1, 2, 3, 4"
    )
    found: list[Any] = []
    for site_id in site_ids:
        found += [await rollup(engine, site_id, tier) for tier in ROLLUPS]
        found.append(await facts(engine, site_id))
        async with reading(engine) as connection:
            found.append((await connection.execute(recency, {"site_id": site_id})).all())
    return found


@settings(
    max_examples=4,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(stream=streams())
async def test_a_filled_database_is_as_if_nothing_had_been_missing(
    engine: AsyncEngine, new_site: NewSite, stream: Stream
) -> None:
    made = [await new_site(zone) for zone in stream.zones]
    await play(engine, made, stream)
    sites = [site.id for site in made]
    expected = await state(engine, sites)
    await upgrade(engine)
    await credit_anew(engine, 3)
    assert await state(engine, sites) == expected


async def test_answers_are_filled_as_far_as_they_are_projected(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    """Neither bots nor those who do not say who they are; the runner brings what is new."""
    site, runner = await new_site(), Runner(engine, SystemClock())
    nobody = {"survey": "nps", "grade": 1}
    ada = Row(Kind.SURVEY_ANSWER, NOON, data={**nobody, "respondent": uid("ada")})
    others = [replace(ada, flags=Flag.BOT), replace(ada, data=nobody)]
    for number in (1, 2):
        await append(engine, site.id, [ada, *others])
        await upgrade(engine)
        assert len((await facts(engine, site.id))["answer"]) == number - 1
        await runner.run_once()
        assert len((await facts(engine, site.id))["answer"]) == number
