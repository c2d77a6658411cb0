"""The self-check: silent about everything that projections make, loud about anything else."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service import telemetry
from service.domain.access import Site
from service.domain.dimensions import Dimension
from service.domain.kinds import Flag, Kind
from service.kit.clock import SystemClock
from service.kit.log import configure_logging
from service.project import selfcheck
from service.project.checks import CHECKS, Reach
from service.project.compact import TIERS
from service.project.rebuild import rebuild, rebuild_months
from service.project.runner import Runner
from service.project.selfcheck import (
    Found,
    Limits,
    Place,
    SelfCheck,
    Slice,
    check_slice,
    days_of,
    mend,
)
from service.store.engine import reading
from tests.clock import FixedClock
from tests.project.log import Row, append, uid
from tests.project.streams import Stream, streams
from tests.project.test_recount import play

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
DAY = date(2026, 5, 10)
GOOGLE = Dimension("Organic Search", "google", "organic")
ADA, LEAD, MAIL = uid("ada"), uid("lead"), uid("mail")
PAID = {"quantity": 1, "value": 100, "currency": "DKK"}

NewSite = Callable[..., Awaitable[Site]]


def place(site: Site) -> Place:
    return Place(site.id, site.slug, site.timezone)


def a_day() -> list[Row]:
    """Something of everything, within one quarter hour."""
    ask = {"survey": "nps", "grade": 1, "respondent": ADA}
    return [
        Row(Kind.PAGE_VIEW, NOON - timedelta(days=3), GOOGLE, 1),
        Row(Kind.PAGE_VIEW, NOON, GOOGLE, 1),
        Row(Kind.PAGE_VIEW, NOON + timedelta(minutes=3), visitor=1),
        Row(Kind.CONVERSION, NOON, GOOGLE, 1, Flag.CONSENT,
            {**PAID, "order": uid("1"), "customer": ADA, "lead": LEAD}),
        Row(Kind.CONVERSION, NOON, data={**PAID, "order": uid("2"), "customer": ADA}),
        Row(Kind.LEAD, NOON, visitor=1, flags=Flag.CONSENT, data={"lead": LEAD}),
        Row(Kind.EMAIL_SENT, NOON, data={"message": MAIL}),
        Row(Kind.AD_SPEND, NOON, data={"key": uid("ad"), "cost": 5, "currency": "DKK"}),
        Row(Kind.SURVEY_ANSWER, NOON, data=ask),
        Row(Kind.PAGE_VIEW, NOON, visitor=9, flags=Flag.BOT),
    ]  # fmt: skip


@pytest.fixture
async def site(engine: AsyncEngine, new_site: NewSite) -> Site:
    """A site with a day's events, projected."""
    made = await new_site()
    await append(engine, made.id, a_day())
    await Runner(engine, SystemClock()).run_once()
    return made


async def check_day(engine: AsyncEngine, site: Site, day: date = DAY) -> Found:
    (slice_,) = days_of(place(site), day, day + timedelta(days=1))
    return await check_slice(engine, slice_)


def names(found: Found) -> set[str]:
    return {difference.check.name for difference in found.differences}


# --- Nothing is wrong -------------------------------------------------------------------------


@settings(
    max_examples=6,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(stream=streams())
async def test_projections_leave_no_difference(
    engine: AsyncEngine, new_site: NewSite, stream: Stream
) -> None:
    made = [await new_site(zone) for zone in stream.zones]
    await play(engine, made, stream)
    # What nobody has projected yet is in nothing.
    await append(engine, made[0].id, [row for batch in stream.batches for row in batch.rows])
    for site in made:
        for slice_, reach in await slices_of(engine, place(site)):
            assert (await check_slice(engine, slice_, frozenset({reach}))).differences == []
    # The chore of another test looks at these sites, too.
    while await Runner(engine, SystemClock()).run_once():
        pass


async def slices_of(engine: AsyncEngine, site: Place) -> list[tuple[Slice, Reach]]:
    """All that a site has at once, and its days and months one by one."""
    async with reading(engine) as connection:
        bounds = await selfcheck.span(connection, site)
        rows = "SELECT DISTINCT bucket FROM {} WHERE site_id = :site_id"
        buckets = {
            reach: await connection.scalars(text(rows.format(tier)), {"site_id": site.id})
            for reach, tier in ((Reach.DAY, "rollup_day"), (Reach.MONTH, "rollup_month"))
        }
    if bounds is None:
        return []
    everything = Slice(site, bounds[0], bounds[1] + timedelta(minutes=15))
    parts = [(Slice(site, at, at), reach) for reach, found in buckets.items() for at in found]
    return [(everything, Reach.SLICE), *parts]


async def test_the_chore_finds_random_slices_with_something_in_them(
    engine: AsyncEngine, site: Site
) -> None:
    """Sites of other tests have the same times, and nothing wrong either."""
    clock = FixedClock(NOON)
    check = SelfCheck(engine, clock, Random(7))
    before = sample("kompas_selfcheck_differences_total")
    clock.advance(90)
    assert [age(where) for where in selfcheck.WHERE] == [90, 90]
    for _ in range(5):
        assert await check.run_once() == Found([])
    assert [age(where) for where in selfcheck.WHERE] == [0, 0]
    assert sample("kompas_selfcheck_differences_total") == before


def sample(name: str, **labels: str) -> float:
    return telemetry.REGISTRY.get_sample_value(name, labels) or 0


def age(where: str) -> float:
    return sample("kompas_selfcheck_age_seconds", slice=where)


# --- Something is wrong -----------------------------------------------------------------------


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    "wrong",
    [
        "UPDATE {tier} SET value = value + 1 WHERE ctid = {row}",
        "DELETE FROM {tier} WHERE ctid = {row}",
        "UPDATE {tier} SET dim_id = dim_id + 1 WHERE ctid = {row}",
    ],
)
async def test_one_wrong_row_of_any_tier_is_found_and_mended(
    engine: AsyncEngine, site: Site, tier: str, wrong: str
) -> None:
    bucket = "bucket = '2026-04-30T22:00Z'"
    if tier not in {"rollup_month", "rollup_recency"}:
        bucket = "bucket >= '2026-05-09T22:00Z'"
    row = f"(SELECT min(ctid) FROM {tier} WHERE site_id = {site.id} AND {bucket})"
    async with engine.begin() as connection:
        result = await connection.execute(text(wrong.format(tier=tier, row=row)))
        assert result.rowcount == 1
    found = await check_day(engine, site)
    assert any(name.startswith(tier) for name in names(found))
    assert mend(place(site), found.differences, DAY, DAY) == (
        f"kompas rebuild --site {site.slug} --from 2026-05-10 --to 2026-05-11"
    )
    await rebuild_months(engine, site.id, DAY, DAY + timedelta(days=1))
    assert (await check_day(engine, site)).differences == []


async def test_visitors_recency_is_found_too(engine: AsyncEngine, site: Site) -> None:
    wrong = "UPDATE rollup_recency SET value = 3 WHERE site_id = :site_id AND scope = 0"
    async with engine.begin() as connection:
        await connection.execute(text(wrong), {"site_id": site.id})
    assert names(await check_day(engine, site)) == {"rollup_recency of visitors"}


WRONG_FACTS = {
    "chains of visits": "UPDATE visit SET previous_at = NULL",
    "first orders": "UPDATE conversion SET is_new = NOT is_new",
    "hits of visits": "UPDATE visit SET hits = hits + 1",
    "views of no visit": "DELETE FROM visit",
    "conversions": "DELETE FROM conversion",
    "answers": "DELETE FROM answer",
    "messages": "UPDATE message SET seen_at = seen_at + interval '1 day'",
    "leads": "UPDATE lead SET won_at = NULL",
    "leads that converted": "UPDATE lead SET converted_at = NULL",
    "statements": "UPDATE statement SET batch_id = batch_id - 1",
    "identities of customers": "DELETE FROM identity",
    "identities of leads": "DELETE FROM identity",
}


@pytest.mark.parametrize("check", [check.name for check in CHECKS if check.of_facts])
async def test_a_wrong_fact_is_found_and_mended(
    engine: AsyncEngine, site: Site, check: str
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(f"{WRONG_FACTS[check]} WHERE site_id = {site.id}"))
    found = await check_day(engine, site)
    assert check in names(found)
    assert mend(place(site), found.differences, DAY, DAY) == f"kompas rebuild --site {site.slug}"
    await rebuild(engine, site.id)
    assert (await check_day(engine, site)).differences == []


async def test_an_invented_fact_is_found(engine: AsyncEngine, site: Site) -> None:
    invented = "UPDATE answer SET seq = 99 WHERE site_id = :site_id"
    async with engine.begin() as connection:
        await connection.execute(text(invented), {"site_id": site.id})
    found = await check_day(engine, site)
    sides = {(difference.expected, difference.stored) for difference in found.differences}
    assert (names(found), sides) == ({"answers"}, {(0, 1), (1, 0)})


async def test_the_chore_counts_and_says_where_and_how_to_mend_it(
    engine: AsyncEngine,
    site: Site,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slice_ = Slice(place(site), NOON, NOON + timedelta(minutes=15))
    wrong = "UPDATE rollup_month SET value = 17 WHERE site_id = :site_id AND measure = 2"
    async with engine.begin() as connection:
        await connection.execute(text(wrong), {"site_id": site.id})
    check = SelfCheck(engine, FixedClock(NOON), Random(7))
    monkeypatch.setattr(check, "_choose", _chosen(slice_))
    before = sample("kompas_selfcheck_differences_total")
    configure_logging("error", "json")
    await check.run_once()
    assert sample("kompas_selfcheck_differences_total") == before + 1
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert said["event"] == "selfcheck_differs"
    assert (said["site"], said["checks"]) == (site.slug, ["rollup_month"])
    assert said["mend"].endswith("--from 2026-05-10 --to 2026-05-11")
    assert "17" not in line.replace(said["timestamp"], "")


def _chosen(slice_: Slice) -> Callable[[str], Awaitable[Slice]]:
    async def choose(_: str) -> Slice:
        return slice_

    return choose


# --- What it leaves out -----------------------------------------------------------------------


async def test_where_the_log_is_gone_only_what_does_not_need_it_is_held_against_it(
    engine: AsyncEngine, site: Site
) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE event DETACH PARTITION event_y2026m05"))
    try:
        found = await check_day(engine, site)
        wrong = "UPDATE rollup_quarter SET value = 9 WHERE site_id = :site_id AND measure = 40"
        async with engine.begin() as connection:
            await connection.execute(text(wrong), {"site_id": site.id})
        spoilt = await check_day(engine, site)
    finally:
        async with engine.begin() as connection:
            await connection.execute(
                text(
                    "ALTER TABLE event ATTACH PARTITION event_y2026m05"
                    " FOR VALUES FROM ('2026-05-01Z') TO ('2026-06-01Z')"
                )
            )
    assert found.differences == []
    assert "rollup_quarter" in names(spoilt)


async def test_a_slice_that_takes_too_long_is_given_up(engine: AsyncEngine, site: Site) -> None:
    async with engine.begin() as connection:
        await connection.execute(text("LOCK TABLE rollup_day IN ACCESS EXCLUSIVE MODE"))
        slice_ = Slice(place(site), NOON, NOON + timedelta(hours=1))
        found = await check_slice(engine, slice_, limits=Limits(seconds=0.1))
    assert found == Found([], is_whole=False)


async def test_a_slice_of_the_chore_is_no_larger_than_it_may_be(
    engine: AsyncEngine, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selfcheck, "MOST_EVENTS", 0)
    check = SelfCheck(engine, FixedClock(NOON), Random(7))
    for _ in range(3):
        slice_ = await check._choose(selfcheck.ANY)
        assert slice_ is not None
        assert slice_.before - slice_.since <= timedelta(hours=1)


async def test_recency_of_a_month_with_too_many_visits_is_left_to_the_command(
    engine: AsyncEngine, site: Site
) -> None:
    wrong = "UPDATE rollup_recency SET value = 3 WHERE site_id = :site_id"
    async with engine.begin() as connection:
        await connection.execute(text(wrong), {"site_id": site.id})
    slice_ = Slice(place(site), NOON, NOON + timedelta(minutes=15))
    assert (await check_slice(engine, slice_, limits=Limits(visits=0))).differences == []
    assert (await check_slice(engine, slice_, limits=Limits(visits=2))).differences != []


def test_every_tier_is_checked() -> None:
    assert {check.name.split()[0] for check in CHECKS if not check.of_facts} == set(TIERS)


def test_every_check_of_facts_is_seen_to_fail() -> None:
    assert {check.name for check in CHECKS if check.of_facts} == set(WRONG_FACTS)
