"""`kompas site …` and `kompas key …` on a real database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from click.testing import Result
from typer.testing import CliRunner

from service.cli import commands
from service.domain.access import Scope, SiteRules
from service.errors import ConflictError, InvalidError, KompasError, StartupError
from service.store.access import KeyStore
from tests.conftest import Database

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(database: Database, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the test's database; in a thread, because commands bring their own loop."""
    monkeypatch.setenv("KOMPAS_DATABASE_URL", database.url)

    async def invoke(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, commands, arguments)

    return invoke


def refused(
    result: Result, kind: type[Exception] | tuple[type[Exception], ...], *words: str
) -> None:
    """What `main` turns into one sentence on stderr."""
    assert result.exit_code == 1
    assert isinstance(result.exception, kind)
    sentence = str(result.exception)
    assert "\n" not in sentence
    assert all(word in sentence for word in words), sentence


async def test_a_site_is_made_once_and_listed(run: Run) -> None:
    made = await run(
        "site", "create", "shop", "--currency", "sek", "--timezone", "Europe/Stockholm"
    )
    assert made.output == "site shop: Europe/Stockholm, SEK\n"
    await run("site", "create", "blog")
    assert sorted((await run("site", "list")).output.splitlines()) == [
        "blog\tEurope/Copenhagen\tDKK",
        "shop\tEurope/Stockholm\tSEK",
    ]
    refused(await run("site", "create", "shop"), ConflictError, "shop")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("shop", "--timezone", "Europe/Kopenhagen"), "Europe/Kopenhagen"),
        (("shop", "--timezone", "localtime"), "localtime"),
        (("shop", "--currency", "kroner"), "kroner"),
        (("No Such Slug!",), "No Such Slug!"),
    ],
)
async def test_what_no_site_can_have(run: Run, arguments: tuple[str, ...], word: str) -> None:
    result = await run("site", "create", *arguments)
    refused(
        result, KompasError if isinstance(result.exception, KompasError) else StartupError, word
    )
    assert (await run("site", "list")).output == ""


async def test_a_site_is_changed(run: Run, database: Database) -> None:
    await run("site", "create", "shop")
    changed = await run(
        *("site", "set", "shop", "--lookback-days", "90", "--fiscal-month", "4"),
        *("--dimension", "plan", "--dimension", "colour", "--own-host", "pay.example"),
    )
    assert changed.output.splitlines() == [
        "site shop: year from month 4, lookback 90 days, provisional for 24 hours",
        "dimensions: colour, plan",
        "own hosts: pay.example",
    ]
    assert "provisional for 2 hours" in (await run("site", "set", "shop", "--late-hours=2")).output
    found = await KeyStore(database.engine).site("shop")
    assert found is not None
    assert found.rules == SiteRules(4, 90, 2, ("colour", "plan"), ("pay.example",))


async def test_what_no_site_can_be_changed_to(run: Run) -> None:
    await run("site", "create", "shop")
    refused(
        await run("site", "set", "shop", "--lookback-days", "91"), InvalidError, "lookback_days"
    )
    refused(await run("site", "set", "nowhere", "--name", "x"), StartupError, "nowhere")


async def test_a_key_is_shown_once_and_works(run: Run, database: Database) -> None:
    await run("site", "create", "shop")
    made = await run("key", "create", "--site", "shop", "--scope", "read", "--scope", "admin")
    key = made.output.strip()
    assert re.fullmatch(r"sk_\w{20,}", key.replace("-", "_"))
    principal = await KeyStore(database.engine).principal(key)
    assert principal is not None
    assert principal.site.slug == "shop"
    assert principal.scopes == {Scope.READ, Scope.ADMIN}

    listed = (await run("key", "list")).output
    assert key not in listed
    assert key[:8] in listed
    assert "shop" in listed
    assert "admin" in listed


async def test_a_public_key_looks_like_one(run: Run, database: Database) -> None:
    await run("site", "create", "shop")
    made = await run("key", "create", "--site", "shop", "--scope", "public", "--name", "pixel")
    key = made.output.strip()
    assert key.startswith("pk_")
    principal = await KeyStore(database.engine).principal(key)
    assert principal is not None
    assert principal.scopes == {Scope.PUBLIC}
    assert "pixel" in (await run("key", "list")).output


async def test_without_a_scope_a_key_may_ingest(run: Run, database: Database) -> None:
    await run("site", "create", "shop")
    key = (await run("key", "create", "--site", "shop")).output.strip()
    principal = await KeyStore(database.engine).principal(key)
    assert principal is not None
    assert principal.scopes == {Scope.INGEST}


async def test_a_key_needs_a_site_that_exists(run: Run) -> None:
    refused(await run("key", "create", "--site", "nowhere"), StartupError, "nowhere", "site list")


async def test_an_unknown_scope_is_a_usage_error(run: Run) -> None:
    result = await run("key", "create", "--scope", "root")
    assert result.exit_code == 2
    assert "root" in result.output
