"""`kompas check` and `kompas rebuild` on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from service.cli import commands
from service.domain.access import Site
from service.domain.kinds import Kind
from service.errors import InvalidError, StartupError
from service.kit.clock import SystemClock
from service.project.runner import Runner
from service.store.partitions import ensure_partitions
from tests.conftest import Database
from tests.project.log import Row, append

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(database: Database, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the test's database; in a thread, because commands bring their own loop."""
    monkeypatch.setenv("KOMPAS_DATABASE_URL", database.url)

    async def invoke(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, commands, arguments)

    return invoke


async def test_what_differs_is_shown_and_mended(
    run: Run, database: Database, make_site: Callable[..., Awaitable[Site]]
) -> None:
    engine = database.engine
    await ensure_partitions(engine, NOON)
    site = await make_site(engine)
    await make_site(engine, "blog")
    await append(engine, site.id, [Row(Kind.PAGE_VIEW, NOON, visitor=1)])
    await Runner(engine, SystemClock()).run_once()
    clean = await run("check")
    assert clean.exit_code == 0
    assert clean.output == (
        "shop: 1 days checked, 0 differences\nblog: 0 days checked, 0 differences\n"
    )

    async with engine.begin() as connection:
        await connection.execute(text("UPDATE rollup_day SET value = 7 WHERE measure = 2"))
    spoilt = await run("check", "--site", "shop", "--from", "2026-05-09", "--to", "2026-05-11")
    assert spoilt.exit_code == 1
    lines = spoilt.output.splitlines()
    assert "shop\trollup_day\t2026-05-09T22:00:00+00:00\t2\t\t0\texpected 1, stored 7" in lines
    assert lines[-2].startswith("shop: 2 days checked, ")
    command = "kompas rebuild --site shop --from 2026-05-09 --to 2026-05-11"
    assert lines[-1] == f"To mend it: {command}"
    mended = await run(*command.split()[1:])
    assert mended.output == "shop: rollups of 2026-05 rebuilt\n"
    assert (await run("check")).exit_code == 0
    assert (await run("rebuild", "--site", "shop")).output == "shop: rebuilt\n"


@pytest.mark.parametrize("command", ["check", "rebuild"])
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--site", "nobody"), "nobody"),
        (("--from", "2026-05-01"), "--to"),
        (("--from", "2026-05-02", "--to", "2026-05-01"), "2026-05-01"),
        (("--from", "2026-05-01", "--to", "2026-05-01"), "no day"),
        (("--from", "may", "--to", "2026-05-01"), "may"),
    ],
)
async def test_what_cannot_be_asked(
    run: Run, command: str, arguments: tuple[str, ...], word: str
) -> None:
    result = await run(command, *arguments)
    assert result.exit_code == 1
    assert isinstance(result.exception, StartupError | InvalidError)
    assert word in str(result.exception)
