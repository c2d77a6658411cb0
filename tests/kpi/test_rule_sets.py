"""How entries go together: factors, cycles, versions, ids, and where a problem was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.kpi import rules
from service.kpi.catalogue import CatalogueError, entry_of_json, load_catalogue, read_entries
from service.kpi.definition import Entry
from service.kpi.formula import QUANTITY_BY_LABEL, Status, is_money
from service.kpi.rules import problems_of
from service.kpi.rules.sets import DEEPEST, MOST_QUANTITIES, built
from tests.kpi.entries import BESIDE, DERIVED, SHARE, SOUND, SUM, VIEWS, entry, told


def derived(name: str, *factors: str, **changes: Any) -> Entry:
    """A derived entry that is a plain number, whatever its factors are."""
    return entry(
        DERIVED, id=name, unit="factor", factors=dict.fromkeys(factors, 1), weight=1, **changes
    )


def test_every_rule_of_sets_is_broken_below() -> None:
    names = {rule.__name__ for rule in (*rules.FACTOR_RULES, *rules.SET_RULES)}
    assert names == {
        "known_factors", "no_cycles", "not_too_deep", "not_too_large", "unique_versions",
        "ids_of_users", "superseded", "references",
    }  # fmt: skip


def test_factors_are_kpis_of_the_catalogue() -> None:
    assert told(BESIDE, entry(DERIVED, factors={"prise": 1})) == [
        "brand.toml: doubled: KPI in factors 'prise' does not exist; meant price?"
    ]


def test_what_derives_from_a_kpi_with_mistakes_has_none_for_that() -> None:
    assert told(entry(SOUND, id="price", owner=None), entry(DERIVED)) == [
        "brand.toml: price: 'owner' is missing"
    ]


def test_a_cycle_is_reported_with_its_way() -> None:
    cycle = [derived("a", "b"), derived("b", "c", "price"), derived("c", "a")]
    assert told(BESIDE, *cycle, derived("d", "a"), derived("self", "self")) == [
        "brand.toml: a: it derives from itself: a -> b -> c -> a",
        "brand.toml: b: it derives from itself: b -> c -> a -> b",
        "brand.toml: c: it derives from itself: c -> a -> b -> c",
        "brand.toml: self: it derives from itself: self -> self",
    ]


def test_derived_kpis_build_on_one_another_a_few_times() -> None:
    chain = [entry(SHARE, id="k0", breakdowns=[])]
    chain += [derived(f"k{n}", f"k{n - 1}", breakdowns=[]) for n in range(1, DEEPEST + 2)]
    assert told(*chain[:-1]) == []
    assert told(*chain) == [
        f"brand.toml: k{DEEPEST + 1}: more than {DEEPEST} derived KPIs build on one another"
    ]


def test_a_chain_of_hundreds_is_refused_and_not_computed() -> None:
    chain = [entry(SHARE, id="k0", breakdowns=[])]
    chain += [derived(f"k{n}", f"k{n - 1}", breakdowns=[]) for n in range(1, 500)]
    problems = problems_of(chain)
    assert [problem.kpi for problem in problems] == [f"k{n}" for n in range(DEEPEST + 1, 500)]


COUNTS = [name for name, quantity in QUANTITY_BY_LABEL.items() if not is_money(quantity)]


def sum_of(size: int) -> Entry:
    """A KPI of so many quantities."""
    numerator = dict.fromkeys(COUNTS[:size], 1)
    return entry(SUM, id="sum", unit="count", breakdowns=[], numerator=numerator)


def test_a_formula_comes_to_a_few_quantities() -> None:
    most = MOST_QUANTITIES
    half = derived("half", "sum", breakdowns=[])
    whole = derived("whole", "half", "sum", breakdowns=[])
    assert told(whole, half, sum_of(most // 2)) == []
    assert told(whole, half, sum_of(most // 2 + 1)) == [
        f"brand.toml: whole: the formula comes to {most + 2} quantities, and may have {most}"
    ]
    plain = {"numerator": {"spend": 1}, "denominator": dict.fromkeys(COUNTS[:most], 1)}
    (problem,) = problems_of([entry(SOUND, **plain, breakdowns=[])])
    assert (problem.field, problem.text) == (
        "numerator", f"the formula comes to {most + 1} quantities, and may have {most}"
    )  # fmt: skip


def test_the_quantities_are_those_of_the_view() -> None:
    views = {"cohort": {"factors": {"won": 1}}, "period": {"factors": {"won": 1, "sum": 1}}}
    odd = entry(DERIVED, unit="factor", factors=None, views=views, default_view="cohort")
    won = entry(VIEWS, id="won")
    assert told(won, sum_of(MOST_QUANTITIES - 2), odd) == []
    (problem,) = problems_of([won, sum_of(MOST_QUANTITIES - 1), odd])
    assert (problem.kpi, problem.field) == ("doubled", "views.period.factors")


def test_what_explodes_is_refused_and_not_computed() -> None:
    """Six factors on each of four levels, of twenty quantities each."""
    levels = [[entry(sum_of(20).data, id=f"k0_{n}") for n in range(6)]]
    for level in range(1, DEEPEST + 1):
        below = [one.id for one in levels[-1]]
        levels.append([derived(f"k{level}_{n}", *below, breakdowns=[]) for n in range(6)])
    problems = problems_of([one for level in levels for one in level])
    assert {problem.kpi[:2] for problem in problems} == {"k1", "k2", "k3", "k4"}
    assert problems[-1].text.startswith(f"the formula comes to {20 * 6**4} quantities")


def test_what_derives_from_a_kpi_without_its_default_view_has_no_mistake() -> None:
    assert told(entry(VIEWS, id="price", default_view="week"), entry(DERIVED)) == [
        "brand.toml: price: 'default_view' must name one of the views"
    ]


def test_a_view_derives_from_the_view_of_that_name() -> None:
    views = {"cohort": {"factors": {"won": -1}}, "period": {"factors": {"won": 1, "rate": 1}}}
    odd = entry(DERIVED, unit="factor", factors=None, views=views, default_view="period")
    entries = [entry(VIEWS, id="won"), entry(SHARE, id="rate"), odd]
    assert told(*entries) == []
    won, rate, found = (kpi for _, kpi in built(entries))
    assert found.views["cohort"].factors[0].formula == won.views["cohort"]
    assert [factor.formula for factor in found.views["period"].factors] == [
        won.views["period"],
        rate.views[""],
    ]


def test_the_order_of_entries_does_not_matter() -> None:
    entries = [derived("c", "b", breakdowns=[]), derived("b", "a", breakdowns=[])]
    entries.append(entry(SHARE, id="a", breakdowns=[]))
    assert told(*entries) == []
    assert [kpi.id for _, kpi in built(entries)] == ["c", "b", "a"]


def test_an_id_and_a_version_name_one_definition() -> None:
    assert (
        told(entry(SOUND), entry(SHARE))
        == ["brand.toml: cost_per_post: version 1 of the id is there more than once"] * 2
    )


def test_older_versions_say_that_they_are_superseded() -> None:
    old, new = entry(SOUND), entry(SOUND, version=2)
    marked = entry(SOUND, status="superseded")
    assert told(marked, new) == told(new, marked) == []
    assert told(old, new) == [
        "brand.toml: cost_per_post: version 2 is newer, so status must be 'superseded'"
    ]
    assert told(marked) == [
        "brand.toml: cost_per_post: status is 'superseded', and there is no newer version"
    ]


def test_what_is_derived_uses_the_newest_version() -> None:
    old = entry(SOUND, id="price", status="superseded")
    new = entry(SOUND, id="price", version=2, scale=2)
    for entries in ([old, new], [new, old]):
        (*_, (_, doubled)) = built([*entries, entry(DERIVED)])
        assert doubled.views[""].factors[0].formula.scale == 2


def test_users_do_not_take_the_ids_of_ours() -> None:
    own = entry_of_json("price", {**SOUND, "id": "price", "version": 2})
    assert told(BESIDE, own) == [
        "request: price: the id is one of Kompas's own KPIs; choose another",
    ]
    (problem,) = problems_of([BESIDE, own])
    assert (problem.field, problem.line) == ("id", None)


def test_what_stays_visible_is_another_kpi_of_the_catalogue() -> None:
    shown = ["cost_per_post", "cost_per_click", ["spend"]]
    assert told(entry(SOUND, also_visible=shown)) == [
        f"brand.toml: cost_per_post: KPI in also_visible '{name}' does not exist"
        + ("; meant cost_per_post?" if "cost" in name else "; there is cost_per_post")
        for name in ("cost_per_post", "cost_per_click", "['spend']")
    ]
    assert told(entry(SOUND, also_visible=["spend"]), entry(SUM, id="spend")) == []


# --- Where it was written ---------------------------------------------------------------------

FILE = """\
[defaults]
breakdowns = ["campaigns"]
default_window = "today"
source = "a test"
owner = "web"

[[kpi]]
id = "Visit"
title = { en = "Visits" }
about = { en = "Visits." }
unit = "count"
direction = "up"
kind = "simple"
numerator = { visits = 1 }

[[kpi]]
id = "rate"
direction = "up"
unit = "fraction"
kind = "cohort"
default_view = "cohort"
interval = "wilsonn"

[kpi.title]
en = "Rate"
[kpi.about]
en = "A rate."

[kpi.views.cohort]
numerator = { leads_converted = 1 }
denominator = { leads_identified = 0 }

[kpi.views.period]
numerator = { customers = 1 }
denominator = { leads = 1 }
interval = "x"
"""


def test_a_problem_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(FILE)
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(tmp_path)
    assert caught.value.problems == [
        "own.toml:2: Visit: dimension 'campaigns' does not exist; meant campaign?",
        "own.toml:22: rate: interval 'wilsonn' does not exist; meant wilson?",
        "own.toml:36: rate: interval 'x' does not exist; there is wilson, nps, delta, none",
        "own.toml:34: rate: measure of the numerator 'customers' does not exist;"
        " meant new_customers or custom_events or repeat_customers?",
        "own.toml:31: rate: the weight of 'leads_identified' must be a number other than 0",
        "own.toml:2: rate: dimension 'campaigns' does not exist; meant campaign?",
    ]
    text = FILE.replace("campaigns", "campaign").replace("[[kpi]]\nid", "[[kpi]] # one\nid", 1)
    (tmp_path / "own.toml").write_text(text.split("[[kpi]]\n")[0])
    (problem,) = problems_of(read_entries(tmp_path))
    assert (problem.line, problem.field) == (8, "id")
    (tmp_path / "own.toml").write_text(text.split("[[kpi]]\n")[0].replace('unit = "count"\n', ""))
    (problem,) = problems_of(read_entries(tmp_path))
    assert (problem.line, problem.field) == (7, "unit")  # of the whole entry


def test_what_is_said_for_all_views_has_its_line_there(tmp_path: Path) -> None:
    text = FILE.replace("campaigns", "campaign").split("[[kpi]]\n")[2]
    text = text.replace("wilsonn", "nps").replace("customers", "leads").replace("0", "1")
    (tmp_path / "own.toml").write_text("[[kpi]]\n" + text.replace('interval = "x"\n', ""))
    problems = problems_of(read_entries(tmp_path))
    assert [(problem.line, problem.field) for problem in problems] == [
        (7, "views.cohort.interval"),
        (7, "views.period.interval"),
    ]


def test_a_file_in_another_style_has_no_lines(tmp_path: Path) -> None:
    for text in ('kpi = [{ id = "a" }]', '[[kpi]]\nid = \'a\'\nsource = """\n[[kpi]]\n"""'):
        (tmp_path / "own.toml").write_text(text)
        problems = problems_of(read_entries(tmp_path))
        assert {problem.line for problem in problems} == {None}
        assert str(problems[0]).startswith("own.toml: a: ")


def test_statuses_are_a_closed_set() -> None:
    assert set(Status) == {"stable", "experimental", "deprecated", "superseded"}
