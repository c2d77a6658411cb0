"""`kompas kpi …` on a real database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from service.cli import commands
from service.cli.kpi import kpi
from service.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    RequestError,
    StartupError,
)
from service.kpi.catalogue import CatalogueError, load_catalogue
from service.publish.parameters import KpiParameters
from tests.conftest import Database

Run = Callable[..., Awaitable[Result]]

TOML = """
[defaults]
unit = "currency"
direction = "down"
kind = "ratio"

[[kpi]]
id = "spend_per_visit"
title = { en = "Spend per visit", da = "Forbrug pr. besøg" }
about = { en = "Spend, per visit." }
numerator = { spend = 1.5 }
denominator = { visits = 1 }

[[kpi]]
id = "spend_per_lead"
title = { en = "Spend per lead" }
about = { en = "Spend, per lead." }
numerator = { spend = 1 }
denominator = { leads = 1 }
"""


@pytest.fixture
def run(database: Database, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the test's database; in a thread, because commands bring their own loop."""
    monkeypatch.setenv("KOMPAS_DATABASE_URL", database.url)
    monkeypatch.setenv("KOMPAS_READ_WAIT_MS", "0")

    async def invoke(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, commands, ["kpi", *arguments])

    return invoke


async def test_the_catalogue_is_listed_in_two_languages(run: Run) -> None:
    for lang, title in (("en", "Ad spend"), ("da", "Annonceforbrug")):
        lines = (await run("list", "--lang", lang)).output.splitlines()
        assert [line.split("\t")[0] for line in lines] == list(load_catalogue().kpis)
        assert f"spend\tcurrency\tkompas\t{title}" in lines


async def test_a_file_is_stored_shown_and_listed(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TOML)
    assert (await run("put", str(file))).output == (
        "spend_per_visit\tversion 1\tcreated\nspend_per_lead\tversion 1\tcreated\n"
    )
    file.write_text(TOML.replace("Spend per lead", "Lead price"))
    assert (await run("put", str(file))).output == (
        "spend_per_visit\tversion 1\tunchanged\nspend_per_lead\tversion 1\tchanged\n"
    )
    listed = (await run("list")).output
    assert listed.endswith(
        "spend_per_lead\tcurrency\town\tLead price\n"
        "spend_per_visit\tcurrency\town\tSpend per visit\n"
    )
    shown = (await run("show", "spend_per_visit", "--lang", "da")).output
    assert shown.startswith("spend_per_visit: Forbrug pr. besøg\n")
    assert "  formula     1.5 * spend / visits\n" in shown
    assert "  version     1 (stable)\n" in shown


async def test_nothing_of_a_file_with_mistakes_is_stored(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TOML.replace("leads = 1", "leeds = 1").replace('"ratio"', '"ratios"'))
    result = await run("put", str(file))
    assert isinstance(result.exception, StartupError)
    lines = str(result.exception).splitlines()
    assert lines[0] == "Nothing was stored:"
    assert "mine.toml:19: spend_per_lead: measure of the denominator 'leeds' does not exist" in (
        line.split(";")[0] for line in lines
    )
    assert len(lines) == 4
    assert "\town\t" not in (await run("list")).output


async def test_files_that_are_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[[kpi")
    assert isinstance((await run("put", str(tmp_path / "bad.toml"))).exception, CatalogueError)
    assert isinstance((await run("put", str(tmp_path / "none.toml"))).exception, StartupError)


async def test_a_change_of_meaning_is_refused_in_one_sentence(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(TOML)
    await run("put", str(file))
    file.write_text(TOML.replace("spend = 1.5", "spend = 2"))
    result = await run("put", str(file))
    assert isinstance(result.exception, ConflictError)
    assert '"version": 2' in result.exception.message


async def test_what_is_not_there(run: Run) -> None:
    assert isinstance((await run("show", "rosa")).exception, NotFoundError)
    assert isinstance((await run("explain", "roas")).exception, StartupError)


async def test_a_value_is_explained_in_aligned_lines(
    run: Run, make_site: Callable[..., Awaitable[object]], database: Database
) -> None:
    await make_site(database.engine)
    asked = ("--site", "shop", "--window", "last_30_days", "--where", "campaign:spring")
    result = await run("explain", "roas", *asked)
    assert result.exit_code == 0, result.exception
    lines = result.output.splitlines()
    assert lines[0] == "roas, version 1: (gross_revenue - refunds) / spend"
    assert lines[1] == "  numbers     (? - ?) / ? = no value (no_data)"
    assert re.fullmatch(r"  window      \S+ to \S+, Europe/Copenhagen", lines[2])
    assert re.fullmatch(r"              \S+Z to \S+Z", lines[3])
    assert "  where       campaign:spring" in lines
    assert "  terms       gross_revenue  not known" in lines
    assert "              spend          not known" in lines
    assert any(re.fullmatch(r"statement 1: 0 rows, 0 rows read, \S+ ms", line) for line in lines)
    assert "  :site_id = 1" in lines
    assert re.fullmatch(r"0 rows read, \S+ ms, as of \S+Z", lines[-1])
    wrong = await run("explain", "roas", "--site", "shop", "--window", "last_month_but_one")
    assert isinstance(wrong.exception, InvalidError)


def test_what_the_api_can_be_asked_the_command_can_be_asked() -> None:
    group = get_command(kpi)
    assert isinstance(group, TyperGroup)
    parameters = group.commands["explain"].params
    options = {name.removeprefix("--") for parameter in parameters for name in parameter.opts}
    fields = KpiParameters.model_fields.items()
    assert options == {field.alias or name for name, field in fields} | {"kpi_id"}


async def test_every_option_reaches_the_question(
    run: Run, make_site: Callable[..., Awaitable[object]], database: Database
) -> None:
    await make_site(database.engine)
    asked = ("--site", "shop", "--window", "last_30_days", "--wait", "0")
    cohort = await run("explain", "lead_to_customer", *asked, "--horizon", "30")
    assert "  :horizon = 30" in cohort.output.splitlines()
    booked = await run("explain", "roas", *asked, "--refunds", "order_date")
    assert "(gross_revenue - refunds_by_order) / spend" in booked.output
    plain = (await run("explain", "roas", *asked)).output.count("\nstatement ")
    for more in (
        ("--grain", "week"),
        ("--compare", "previous_period"),
        ("--by", "campaign", "--top", "1"),
    ):
        told = (await run("explain", "roas", *asked, *more)).output
        assert told.count("\nstatement ") > plain, more
    for wrong in (("--version", "9"), ("--top", "3"), ("--wait", "-1")):
        assert isinstance((await run("explain", "roas", *asked, *wrong)).exception, RequestError)


async def test_files_of_the_folder_are_shown_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(TOML)
    monkeypatch.setenv("KOMPAS_KPI_DIR", str(tmp_path))
    assert "spend_per_visit\tcurrency\town\t" in (await run("list")).output
    result = await run("put", str(tmp_path / "mine.toml"))
    assert isinstance(result.exception, ConflictError)
