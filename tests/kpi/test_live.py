"""Users' own KPIs: checked like ours, versioned by meaning, seen by every process in a second."""

from __future__ import annotations

import asyncio
import copy
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service import telemetry
from service.errors import ConflictError, NotFoundError, StartupError
from service.kpi.catalogue import CatalogueError, entry_of_json, load_catalogue
from service.kpi.definition import Entry
from service.kpi.formula import Status
from service.kpi.live import LOOK_SECONDS, LiveCatalogue
from service.kpi.own import (
    MAY_CHANGE,
    MOST_KPIS,
    InvalidKpiError,
    Outcome,
    check_number,
    meaning,
    outcomes,
    usable,
)
from service.store.definitions import Definition, changing, put_definition
from service.store.engine import make_engine
from tests.clock import FixedClock
from tests.conftest import Database

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
OWN: dict[str, Any] = {
    "title": {"en": "Spend per visit", "da": "Forbrug pr. besøg"},
    "about": {"en": "Spend, per visit.", "da": "Forbrug, pr. besøg."},
    "unit": "currency",
    "direction": "down",
    "kind": "ratio",
    "numerator": {"spend": Decimal("1.5")},
    "denominator": {"visits": 1},
    "breakdowns": ["channel"],
}
VIEWS: dict[str, Any] = {
    **{key: value for key, value in OWN.items() if key not in {"numerator", "denominator"}},
    "unit": "fraction",
    "views": {
        "cohort": {"numerator": {"leads": 1}, "denominator": {"visits": 1}, "interval": "none"},
        "period": {"numerator": {"leads": 2}, "denominator": {"visits": 1}},
    },
    "default_view": "period",
}
TOML = """
[[kpi]]
id = "spend_per_visit"
title = { en = "Spend per visit" }
about = { en = "Spend, per visit." }
unit = "currency"
direction = "down"
kind = "ratio"
numerator = { spend = 1.5 }
denominator = { visits = 1 }
"""


def entry(kpi_id: str = "spend_per_visit", **changes: Any) -> Entry:
    return entry_of_json(kpi_id, {**copy.deepcopy(OWN), **changes})


def stored(*entries: Entry, retired: bool = False) -> list[Definition]:
    at = NOW if retired else None
    return [Definition(one.id, one.data["version"], one.data, at) for one in entries]


# --- Deciding ---------------------------------------------------------------------------------

NEW_MEANING = {"numerator": {"spend": 2}}
NEW_TEXT = {"title": {"en": "Other", "da": "Andet"}}


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, Outcome.UNCHANGED),
        (NEW_TEXT, Outcome.CHANGED),
        ({"numerator": {"spend": Decimal("1.50")}}, Outcome.UNCHANGED),
        ({"scale": 1, "bounded": False}, Outcome.CHANGED),
        ({"breakdowns": ["campaign"], "direction": "up"}, Outcome.CHANGED),
        ({"version": 2, **NEW_MEANING}, Outcome.CREATED),
        ({"version": 2}, Outcome.CREATED),
    ],
)
def test_what_storing_does(changes: dict[str, Any], outcome: Outcome) -> None:
    assert outcomes([entry(**changes)], stored(entry())) == [outcome]


@pytest.mark.parametrize(
    "changes",
    [
        NEW_MEANING,
        {"denominator": {"visits": 2}},
        {"unit": "factor"},
        {"kind": "simple"},
        {"scale": 1000},
        {"bounded": True},
        {"requires": {"equal": ["orders", "orders_with_cost"], "reason": "x"}},
        {"additivity": "full"},
        {"views": VIEWS["views"]},
        {"version": 3},
    ],
)
def test_a_change_of_meaning_needs_the_next_version(changes: dict[str, Any]) -> None:
    with pytest.raises(ConflictError) as caught:
        outcomes([entry(**changes)], stored(entry()))
    assert caught.value.code == "version_needed"
    assert caught.value.detail == {"field": "version", "current": 1, "needed": 2}
    assert "2" in caught.value.message


def test_what_a_new_kpi_s_version_is_does_not_matter() -> None:
    assert outcomes([entry(version=3)], []) == [Outcome.CREATED]


def test_entries_are_stored_one_after_the_other() -> None:
    second, third = entry(version=2, **NEW_MEANING), entry(version=3)
    assert outcomes([entry(), second, third], []) == [Outcome.CREATED] * 3
    assert outcomes([second, third], stored(entry())) == [Outcome.CREATED] * 2
    old = entry(status="superseded")
    again = [old, second, entry(version=3, **NEW_TEXT)]
    assert outcomes(again, stored(entry(), second, third)) == [
        Outcome.UNCHANGED,
        Outcome.UNCHANGED,
        Outcome.CHANGED,
    ]


def test_an_older_version_stays_as_it_is() -> None:
    with pytest.raises(ConflictError, match='"version": 3'):
        outcomes([entry(**NEW_TEXT)], stored(entry(), entry(version=2, **NEW_MEANING)))


def test_what_was_retired_comes_back_with_the_meaning_it_had() -> None:
    there = stored(entry(), retired=True)
    assert outcomes([entry()], there) == [Outcome.CREATED]
    assert outcomes([entry(**NEW_TEXT)], there) == [Outcome.CREATED]
    with pytest.raises(ConflictError):
        outcomes([entry(**NEW_MEANING)], there)


@given(st.sampled_from([OWN, VIEWS]), st.data())
def test_only_what_may_change_is_no_part_of_the_meaning(
    base: dict[str, Any], data: st.DataObject
) -> None:
    key = data.draw(st.sampled_from(sorted({*base, *MAY_CHANGE, "factors", "plus"})))
    changed = {**base, key: "something else"}
    assert (meaning(changed) == meaning(base)) == (key in MAY_CHANGE)


def test_the_interval_of_a_view_is_no_part_of_the_meaning() -> None:
    other = copy.deepcopy(VIEWS)
    other["views"]["cohort"]["interval"] = "delta"
    assert meaning(other) == meaning(VIEWS)
    other["views"]["cohort"]["numerator"] = {"leads": 3}
    assert meaning(other) != meaning(VIEWS)


def test_there_is_room_for_five_hundred() -> None:
    many = [Definition(f"own_{number}", 1, {}, None) for number in range(MOST_KPIS)]
    check_number([*many, *many, Definition("own_1", 2, {}, None), Definition("old", 1, {}, NOW)])
    with pytest.raises(ConflictError, match="500") as caught:
        check_number([*many, Definition("one_more", 1, {}, None)])
    assert caught.value.code == "too_many_kpis"


@pytest.mark.parametrize(
    ("there", "left", "out"),
    [
        # What is sound stays, beside what is not.
        ([entry("good"), entry("bad", unit="stones")], {("good", 1)}, {("bad", 1)}),
        # Ours has come to have that id.
        ([entry("roas"), entry("good")], {("good", 1)}, {("roas", 1)}),
        # An older version that nobody understands any more; the newest one that nobody does.
        ([entry(unit="stones"), entry(version=2)], {("spend_per_visit", 2)},
         {("spend_per_visit", 1)}),
        ([entry(), entry(version=2, unit="stones")], set(),
         {("spend_per_visit", 1), ("spend_per_visit", 2)}),
        # What is needed is not there.
        ([entry("first", also_visible=["gone"]), entry("second", also_visible=["first"])], set(),
         {("first", 1), ("second", 1)}),
        ([entry("list", numerator=[])], set(), {("list", 1)}),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_left_out(
    there: list[Entry], left: set[tuple[str, int]], out: set[tuple[str, int]]
) -> None:
    kept, left_out = usable(BASE, stored(*there))
    assert {(one.id, one.data["version"]) for one in kept} == left
    assert left_out == out
    load_catalogue(more=kept)


def test_what_is_retired_is_neither_used_nor_left_out() -> None:
    assert usable(BASE, stored(entry(), retired=True)) == ([], set())


BASE = [
    Entry("sales.toml", "roas", {**entry("roas").data, "id": "roas"}),
]
"""A catalogue that is enough for the rules of sets."""


# --- The catalogue that lives ----------------------------------------------------------------


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def live(database: Database, clock: FixedClock) -> LiveCatalogue:
    return LiveCatalogue(database.engine, clock)


async def test_what_was_put_is_there_at_once_and_elsewhere_in_a_second(
    live: LiveCatalogue, database: Database, clock: FixedClock
) -> None:
    other = LiveCatalogue(database.engine, clock)
    before = await other.current()
    (done,) = await live.put([entry()])
    assert (done.kpi.id, done.kpi.version, done.outcome) == ("spend_per_visit", 1, Outcome.CREATED)
    assert live.catalogue.get("spend_per_visit").own
    assert await other.current() is before
    clock.advance(LOOK_SECONDS)
    seen = await other.current()
    assert list(seen.kpis) == [*before.kpis, "spend_per_visit"]
    assert seen.get("spend_per_visit").views[""].numerator[0].weight * 2 == 3
    clock.advance(LOOK_SECONDS)
    assert await other.current() is seen


async def test_a_new_version_supersedes_the_old_one(live: LiveCatalogue) -> None:
    await live.put([entry()])
    (done,) = await live.put([entry(version=2, **NEW_MEANING)])
    assert done.outcome is Outcome.CREATED
    old, new = (live.catalogue.get("spend_per_visit", version) for version in (1, None))
    assert (old.version, old.status) == (1, Status.SUPERSEDED)
    assert (new.version, new.status) == (2, Status.STABLE)
    assert live.entry(old).data["numerator"] == {"spend": Decimal("1.5")}
    assert [one.version for one in live.catalogue.versions("spend_per_visit")] == [2, 1]


async def test_without_a_version_the_current_one_is_meant(live: LiveCatalogue) -> None:
    first = await live.drafted("spend_per_visit", OWN)
    assert first.data["version"] == 1
    await live.put([first])
    await live.put([entry(version=2, **NEW_MEANING)])
    again = await live.drafted("spend_per_visit", {**OWN, **NEW_MEANING, **NEW_TEXT})
    (done,) = await live.put([again])
    assert (done.kpi.version, done.outcome) == (2, Outcome.CHANGED)
    assert live.catalogue.get("spend_per_visit").title["da"] == "Andet"


async def test_without_a_version_what_was_retired_comes_back(
    live: LiveCatalogue, database: Database, clock: FixedClock
) -> None:
    changed = {**OWN, **NEW_MEANING}
    await live.put([entry()])
    await live.put([entry(version=2, **NEW_MEANING)])
    await live.retire("spend_per_visit")
    for one in (live, LiveCatalogue(database.engine, clock)):
        again = await one.drafted("spend_per_visit", changed)
        assert again.data["version"] == 2
    (done,) = await live.put([again])
    assert (done.kpi.version, done.outcome) == (2, Outcome.CREATED)


async def test_all_mistakes_come_at_once_and_nothing_is_stored(live: LiveCatalogue) -> None:
    bad = entry(unit="stones", direction="sideways", colour="red", version=[])
    with pytest.raises(InvalidKpiError) as caught:
        await live.put([entry("good"), bad])
    fields = {problem["field"] for problem in caught.value.detail["problems"]}
    assert {"colour", "version"} <= fields
    assert {problem["kpi"] for problem in caught.value.detail["problems"]} == {"spend_per_visit"}
    assert "good" not in (await live.current()).kpis


async def test_entries_of_one_file_may_need_each_other(live: LiveCatalogue) -> None:
    first, second = entry("first", also_visible=["second"]), entry("second")
    await live.put([first, second])
    with pytest.raises(ConflictError) as caught:
        await live.retire("second")
    assert caught.value.code == "kpi_in_use"
    assert caught.value.detail["used_by"] == ["first"]
    await live.retire("first")
    await live.retire("second")
    assert not {"first", "second"} & set(live.catalogue.kpis)


async def test_what_comes_with_kompas_cannot_be_changed(live: LiveCatalogue) -> None:
    with pytest.raises(ConflictError) as caught:
        await live.put([entry("roas")])
    assert caught.value.code == "kpi_is_built_in"
    with pytest.raises(ConflictError):
        await live.retire("roas")
    assert not live.is_own("roas")
    assert live.is_own("spend_per_visit")


async def test_what_is_retired_is_gone_and_can_come_back(live: LiveCatalogue) -> None:
    with pytest.raises(NotFoundError):
        await live.retire("spend_per_visit")
    await live.put([entry()])
    await live.retire("spend_per_visit")
    with pytest.raises(NotFoundError):
        live.catalogue.get("spend_per_visit")
    with pytest.raises(NotFoundError):
        await live.retire("spend_per_visit")
    (done,) = await live.put([entry()])
    assert done.outcome is Outcome.CREATED
    assert live.catalogue.get("spend_per_visit").version == 1


async def test_who_puts_the_same_at_once_changes_it_once(
    live: LiveCatalogue, database: Database, clock: FixedClock
) -> None:
    other = LiveCatalogue(database.engine, clock)
    done = await asyncio.gather(*(one.put([entry()]) for one in (live, other, live, other)))
    assert sorted(one.outcome for (one,) in done) == ["created", *["unchanged"] * 3]


async def test_an_invalid_stored_one_is_counted_once_and_breaks_nothing(
    live: LiveCatalogue, database: Database, clock: FixedClock
) -> None:
    counter = telemetry.KPI_DEFINITIONS_INVALID
    async with changing(database.engine) as connection:
        await put_definition(connection, "strange", 1, {"unit": "stones"})
        await put_definition(connection, "good", 1, OWN)
    before = counter._value.get()
    assert "good" in (await live.current()).kpis
    assert "strange" not in live.catalogue.kpis
    await live.put([entry()])
    clock.advance(LOOK_SECONDS)
    await live.current()
    assert counter._value.get() - before == 1
    await live.retire("strange")


async def test_a_database_that_is_away_leaves_the_last_catalogue(
    live: LiveCatalogue, database: Database, clock: FixedClock, postgres_url: str
) -> None:
    name = database.engine.url.database
    admin = make_engine(postgres_url).execution_options(isolation_level="AUTOCOMMIT")
    await live.put([entry()])
    async with admin.connect() as connection:
        await connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        await database.engine.dispose()
        clock.advance(LOOK_SECONDS)
        assert "spend_per_visit" in (await live.current()).kpis
        with pytest.raises(DBAPIError):
            await live.reload()
        await connection.execute(text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    await LiveCatalogue(database.engine, clock).put([entry("another")])
    assert "another" not in (await live.current()).kpis
    clock.advance(LOOK_SECONDS)
    assert "another" in (await live.current()).kpis
    await admin.dispose()


# --- Files ------------------------------------------------------------------------------------


async def test_files_of_a_folder_are_part_of_the_catalogue(
    database: Database, clock: FixedClock, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(TOML)
    live = LiveCatalogue(database.engine, clock, tmp_path)
    assert live.catalogue.get("spend_per_visit").own
    with pytest.raises(ConflictError) as caught:
        await live.put([entry()])
    assert caught.value.code == "kpi_is_in_a_file"
    await live.put([entry("other", also_visible=["spend_per_visit"])])
    assert not live.is_own("spend_per_visit")
    assert list((await live.current()).kpis)[-2:] == ["spend_per_visit", "other"]


async def test_a_file_wins_over_what_is_stored(
    live: LiveCatalogue, database: Database, clock: FixedClock, tmp_path: Path
) -> None:
    await live.put([entry(**NEW_TEXT)])
    (tmp_path / "mine.toml").write_text(TOML)
    of_files = LiveCatalogue(database.engine, clock, tmp_path)
    assert (await of_files.current()).get("spend_per_visit").title["en"] == "Spend per visit"


def test_mistakes_in_files_stop_the_start_with_file_and_line(
    database: Database, clock: FixedClock, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(TOML.replace('"currency"', '"stones"') + 'colour = "red"\n')
    (tmp_path / "other.toml").write_text(TOML.replace("visits", "visitss"))
    with pytest.raises(CatalogueError) as caught:
        LiveCatalogue(database.engine, clock, tmp_path)
    message = str(caught.value)
    assert "mine.toml:11: spend_per_visit: key 'colour'" in message
    assert "other.toml:10: spend_per_visit: " in message


def test_a_folder_that_is_none_stops_the_start(
    database: Database, clock: FixedClock, tmp_path: Path
) -> None:
    with pytest.raises(StartupError, match="KOMPAS_KPI_DIR"):
        LiveCatalogue(database.engine, clock, tmp_path / "nowhere")
