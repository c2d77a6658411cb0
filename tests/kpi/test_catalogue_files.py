"""How files and JSON become a catalogue, and how it is asked for a KPI and its versions."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from service.errors import InvalidError, NotFoundError, StartupError
from service.kpi.catalogue import (
    FOLDER,
    Catalogue,
    CatalogueError,
    entry_of_json,
    load_catalogue,
    read_entries,
)
from service.kpi.formula import Additivity, Status
from service.kpi.rules import problems_of

CATALOGUE = load_catalogue()

# --- Asking for one ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "meant"),
    [("roaz", "roas"), ("ROAS", "roas"), ("open_rate", "email_open_rate"), ("cplx", "cpl")],
)
def test_an_unknown_kpi_names_the_nearest(said: str, meant: str) -> None:
    with pytest.raises(NotFoundError, match="GET /v1/kpis lists all of them") as caught:
        CATALOGUE.get(said)
    assert caught.value.code == "unknown_kpi"
    assert meant in caught.value.detail["nearest"]
    assert meant in caught.value.message


def test_a_kpi_that_resembles_nothing() -> None:
    with pytest.raises(NotFoundError) as caught:
        CATALOGUE.get("%" * 5000)
    assert caught.value.detail["nearest"] == []
    assert len(caught.value.message) < 250


def test_views_are_chosen_by_name() -> None:
    kpi = CATALOGUE.get("lead_to_customer")
    assert kpi.named_views == ("cohort", "period")
    assert (kpi.view(None), kpi.view("period")) == ("cohort", "period")
    with pytest.raises(InvalidError, match="there is cohort and period") as caught:
        kpi.view("periode")
    assert caught.value.code == "unknown_view"
    assert caught.value.detail["nearest"] == ["period"]


def test_a_kpi_with_one_named_view_takes_any() -> None:
    kpi = CATALOGUE.get("customer_retention")
    assert kpi.named_views == ("cohort",)
    assert kpi.view("period") == kpi.view(None) == "cohort"
    with pytest.raises(InvalidError, match="there is cohort and period"):
        kpi.view("periode")


def test_a_kpi_with_one_view_takes_any() -> None:
    """So that one request may ask several KPIs for their cohort view."""
    kpi = CATALOGUE.get("spend")
    assert kpi.named_views == ()
    assert kpi.view("period") == kpi.view(None) == ""


# --- Reading files ----------------------------------------------------------------------------

KPI = """
[[kpi]]
id = "{id}"
title = {{ en = "Half the visits", da = "Halvdelen af besøgene" }}
about = {{ en = "Half the visits.", da = "Halvdelen af besøgene." }}
edge = {{ en = "None.", da = "Ingen." }}
unit = "count"
direction = "up"
kind = "simple"
additivity = "full"
numerator = {{ visits = 0.1 }}
source = "a test"
"""
DEFAULTS = """
[defaults]
breakdowns = ["campaign"]
default_window = "today"
owner = "web"
version = 1
status = "stable"
"""


def test_a_kpi_is_only_data(tmp_path: Path) -> None:
    """A file more is a KPI more; weights are read exactly; files come in the order of names."""
    (tmp_path / "b.toml").write_text(DEFAULTS + KPI.format(id="second") + 'owner = "me"\n')
    (tmp_path / "a.toml").write_text(DEFAULTS + KPI.format(id="first"))
    (tmp_path / "notes.txt").write_text("not a catalogue")
    found = load_catalogue(tmp_path)
    assert isinstance(found, Catalogue)
    assert [(kpi.id, kpi.theme, kpi.owner) for kpi in found] == [
        ("first", "a", "web"),
        ("second", "b", "me"),
    ]
    assert found.get("first").views[""].numerator[0].weight == Fraction(1, 10)


def test_mistakes_in_several_files_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(KPI.format(id="first").replace("unit", "untit"))
    (tmp_path / "b.toml").write_text(DEFAULTS + KPI.format(id="Second"))
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(tmp_path)
    assert caught.value.problems == [
        "a.toml:7: first: key 'untit' does not exist; meant unit or title?",
        "a.toml:2: first: 'unit' is missing",
        "b.toml:10: Second: the id must be snake_case, of at most 64 characters",
    ]
    assert isinstance(caught.value, StartupError)
    assert str(caught.value).splitlines()[1:] == caught.value.problems


@pytest.mark.parametrize("text", ["[default]\nversion = 1", "[kpi]\nid = 'x'", "defaults = 1"])
def test_a_file_holds_defaults_and_kpis_only(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(
        CatalogueError, match=r"a\.toml: holds \[defaults\] and \[\[kpi\]\] tables only"
    ):
        read_entries(tmp_path)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[[kpi]\n")
    with pytest.raises(CatalogueError, match=r"a\.toml: is not TOML"):
        load_catalogue(tmp_path)


def test_a_kpi_without_an_id_is_reported_by_a_question_mark(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(DEFAULTS + KPI.replace('id = "{id}"\n', "").replace("{{", "{"))
    with pytest.raises(CatalogueError):
        load_catalogue(tmp_path)


def test_the_shipped_files_are_what_is_loaded() -> None:
    entries = read_entries(FOLDER)
    assert list(dict.fromkeys(entry.id for entry in entries)) == list(CATALOGUE.kpis)
    assert {entry.file for entry in entries} == {path.name for path in FOLDER.iterdir()}


def test_a_file_with_a_number_of_a_thousand_digits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("x = " + "9" * 5000)
    with pytest.raises(CatalogueError, match=r"a\.toml: is not TOML"):
        load_catalogue(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = 1e99999999999999999999", "has a number with too large an exponent"),
        ("x = " + "[" * 3000 + "]" * 3000, "is nested too deeply"),
        ("x = " + "{x = " * 3000 + "1" + "}" * 3000, "is nested too deeply"),
        ("[[kpi]]\nbreakdowns = [{" + ".".join("x" * 3000) + " = 1}]", "is nested too deeply"),
        ("[" + ".".join("x" * 3000) + "]", "is nested too deeply"),
    ],
    ids=["exponent", "lists", "tables", "dotted_keys", "header"],
)
def test_a_file_that_nobody_wrote_is_named(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(tmp_path)
    assert caught.value.problems == [f"a.toml: {problem}"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.toml").mkdir()
    with pytest.raises(CatalogueError, match=r"a\.toml: cannot be read: Is a directory"):
        read_entries(tmp_path)
    (tmp_path / "a.toml").rmdir()
    (tmp_path / "b.toml").symlink_to(tmp_path / "nowhere")
    with pytest.raises(CatalogueError, match=r"b\.toml: cannot be read: No such file"):
        read_entries(tmp_path)
    with pytest.raises(CatalogueError, match="gone: cannot be read: No such file"):
        read_entries(tmp_path / "gone")


# --- Versions ---------------------------------------------------------------------------------


def test_the_newest_version_is_meant_and_older_ones_stay(tmp_path: Path) -> None:
    old = KPI.format(id="half").replace("0.1", "0.5") + 'status = "superseded"\n'
    middle = old + "version = 2\n"
    new = KPI.format(id="half") + "version = 4\n"
    (tmp_path / "a.toml").write_text(DEFAULTS + old + middle + new + KPI.format(id="other"))
    found = load_catalogue(tmp_path)
    assert list(found.kpis) == ["half", "other"]
    assert [kpi.version for kpi in found.versions("half")] == [4, 2, 1]
    assert [kpi.version for kpi in found.versions("other")] == [1]
    assert found.get("half") is found.get("half", 4)
    older = found.get("half", 1)
    assert older.status is Status.SUPERSEDED
    assert older.views[""].numerator[0].weight == Fraction(1, 2)
    with pytest.raises(NotFoundError, match="no version 3 of half; there is 4, 2, 1") as caught:
        found.get("half", 3)
    assert caught.value.code == "unknown_version"
    assert caught.value.detail == {"field": "version", "versions": [4, 2, 1]}
    with pytest.raises(NotFoundError):
        found.versions("third")


def test_only_what_changed_its_meaning_has_older_versions() -> None:
    assert [(kpi.id, kpi.version, kpi.status) for kpi in CATALOGUE.older] == [
        ("ctor", 1, "superseded")
    ]
    assert not any(kpi.own for kpi in CATALOGUE)


# --- Users' own -------------------------------------------------------------------------------

RATE = {
    "title": {"en": "Leads per visit"},
    "about": {"en": "Leads won per visit."},
    "unit": "fraction",
    "direction": "up",
    "kind": "ratio",
    "numerator": {"leads": Decimal("0.5")},
    "denominator": {"visits": 1},
}


def test_users_leave_out_what_goes_without_saying() -> None:
    entry = entry_of_json("lead_rate", RATE)
    kpi = load_catalogue(more=[entry]).get("lead_rate")
    assert (kpi.own, kpi.theme, kpi.owner, kpi.version) == (True, "own", "own", 1)
    assert (kpi.status, kpi.additivity) == (Status.STABLE, Additivity.NONE)
    assert kpi.title == {"en": "Leads per visit", "da": "Leads per visit"}
    assert set(kpi.edge) == {"en", "da"}
    assert kpi.breakdowns == ("channel", "source", "medium", "campaign", "content", "term")
    assert kpi.views[""].numerator[0].weight == Fraction(1, 2)
    assert "owner" not in RATE


def test_what_users_say_holds() -> None:
    said = {"theme": "funnel", "owner": "me", "about": {"en": "x", "da": "y"}, "breakdowns": []}
    kpi = load_catalogue(more=[entry_of_json("lead_rate", {**RATE, **said})]).get("lead_rate")
    assert (kpi.theme, kpi.owner, kpi.about["da"], kpi.breakdowns) == ("funnel", "me", "y", ())


def test_a_sum_of_users_adds_up() -> None:
    data = {key: value for key, value in RATE.items() if key != "denominator"}
    entry = entry_of_json("half_leads", {**data, "kind": "simple", "unit": "count"})
    assert load_catalogue(more=[entry]).get("half_leads").additivity is Additivity.FULL


def test_users_derive_from_ours(tmp_path: Path) -> None:
    """A year's worth of a customer, in a file of the user's own."""
    (tmp_path / "clv.toml").write_text(
        """
        [[kpi]]
        id = "clv_year"
        title = { en = "Value of a customer in a year" }
        about = { en = "Twelve windows of a month." }
        unit = "currency"
        direction = "up"
        kind = "derived"
        factors = { clv_simple = 1, gross_margin = 1 }
        weight = 12
        """
    )
    kpi = load_catalogue(more=read_entries(tmp_path)).get("clv_year")
    assert (kpi.theme, kpi.own) == ("clv", True)
    factors = {factor.kpi: factor.formula for factor in kpi.views[""].factors}
    assert factors["clv_simple"] == CATALOGUE.get("clv_simple").views[""]
    assert kpi.views[""].keys > CATALOGUE.get("gross_margin").views[""].keys


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"title": {"da": "x"}}, "title", "'title' must have the languages en and da"),
        ({"unit": None}, "unit", "'unit' is missing"),
        ({"id": "lead_rat"}, "id", "the id is 'lead_rat' inside and 'lead_rate' in the address"),
        ({"numerator": {"leads": 0.5}}, "numerator", "the weight of 'leads' must be a number"),
    ],
)
def test_mistakes_of_a_request_name_the_field(
    changes: dict[str, object], field: str, text: str
) -> None:
    data = {key: value for key, value in {**RATE, **changes}.items() if value is not None}
    (problem,) = problems_of([entry_of_json("lead_rate", data)])
    assert (problem.file, problem.line, problem.field) == ("request", None, field)
    assert problem.text.startswith(text)


def test_a_user_may_not_redefine_one_of_ours() -> None:
    with pytest.raises(CatalogueError, match="request: roas: the id is one of Kompas's own KPIs"):
        load_catalogue(more=[entry_of_json("roas", RATE)])
