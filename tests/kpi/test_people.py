"""Distinct people by model, as rows of a breakdown, and where there are too many to look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.errors import InvalidError
from service.kpi import run
from tests.kpi.world import World, order, view

Make = Callable[..., Awaitable[World]]

MARCH = {"start": "2026-03-01", "end": "2026-04-01"}
LONGER = {"start": "2026-03-01", "end": "2026-04-02"}
CREDITED = {
    "last_non_direct": {"Paid Search"},
    "last": {"Direct"},
    "first": {"Email"},
    "linear": {"Email", "Paid Search", "Direct"},
    "position_based": {"Email", "Paid Search", "Direct"},
    "time_decay": {"Email", "Paid Search", "Direct"},
}


@pytest.mark.parametrize("model", CREDITED)
async def test_a_customer_counts_where_the_model_gives_credit(make_world: Make, model: str) -> None:
    world = await make_world()
    await world.happen(
        view("2026-03-01T10:00", 1, "Email"),
        view("2026-03-02T10:00", 1, "Paid Search"),
        view("2026-03-03T10:00", 1, "Direct"),
        order("2026-03-03T10:10", 1, "1", channel="", customer="ada", visitor=1),
        order("2026-03-03T10:20", 1, "2", channel="", customer="ada", visitor=1),
    )
    found = await world.ask_one("repeat_purchase_rate", by="channel", model=model, **MARCH)
    rows = {row["channel"]: (row["numerator"], row["denominator"]) for row in found["breakdown"]}
    assert rows == dict.fromkeys(CREDITED[model], (1, 1))
    for channel in ("Email", "Paid Search", "Direct"):
        some = await world.ask_one(
            "repeat_purchase_rate", where=f"channel:{channel}", model=model, **MARCH
        )
        assert some["denominator"] == int(channel in CREDITED[model]), channel


@pytest.mark.parametrize("kpi", ["visitors", "orders_per_customer"])
async def test_the_rest_of_people_is_not_the_sum_of_the_rows(make_world: Make, kpi: str) -> None:
    """Visitor 1 is in two of the rows that are left over."""
    world = await make_world()
    seen = [(1, "Email"), (2, "Email"), (3, "Email"), (1, "Direct"), (1, "Referral")]
    await world.happen(
        *(view(f"2026-03-0{n}T10:00", who, channel) for n, (who, channel) in enumerate(seen, 1)),
        *(
            order(f"2026-03-1{n}T10:00", 1, str(n), channel=channel, customer=who)
            for n, (who, channel) in enumerate(seen, 1)
        ),
    )
    found = await world.ask_one(kpi, by="channel", top=1, **MARCH)
    assert [row["channel"] for row in found["breakdown"]] == ["Email"]
    rest = found["rest"]
    assert (rest["rows"], rest["value"], rest["reason"]) == (2, None, "not_additive")
    assert (rest["numerator"], rest["denominator"]) == (None, None)
    whole = await world.ask_one(kpi, by="channel", top=3, **MARCH)
    assert (len(whole["breakdown"]), whole["rest"]) == (3, None)


TOO_MANY: dict[str, tuple[str, dict[str, Any]]] = {
    "visitors sorted": ("visitors", MARCH | {"by": "channel"}),
    "visitors of hours": ("visitors", {"window": "last_7_days", "grain": "hour"}),
    "visitors of long edges": (
        "visitors",
        {"start": "2026-02-02T10:00:00Z", "end": "2026-04-05T10:00:00Z", "by": "campaign"},
    ),
    "customers": ("orders_per_customer", LONGER),
    "customers by channel": ("new_customer_rate", LONGER | {"by": "channel"}),
    "who came back": ("customer_retention", LONGER),
    "who came back by channel": ("customer_retention", LONGER | {"by": "channel"}),
    "respondents": ("respondents", LONGER),
}
FEW: dict[str, tuple[str, dict[str, Any]]] = {
    "visitors of days": ("visitors", LONGER),
    "visitors of a day": ("visitors", {"window": "yesterday", "by": "channel"}),
    "visitors of months": ("visitors", MARCH | {"by": "campaign"}),
    "customers of a day": ("orders_per_customer", {"window": "yesterday", "by": "channel"}),
    "who came back since": ("customer_retention", {"window": "yesterday", "by": "channel"}),
    "respondents of a day": ("respondents", {"window": "yesterday"}),
}


@pytest.mark.parametrize("question", TOO_MANY)
async def test_too_many_people_are_refused(
    make_world: Make, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    world = await make_world()
    kpi, asked = TOO_MANY[question]
    await world.ask_one(kpi, **asked)
    monkeypatch.setattr(run, "MOST_ROWS", 0)
    with pytest.raises(InvalidError) as refused:
        await world.ask_one(kpi, **asked)
    assert refused.value.code == "too_many_facts"


@pytest.mark.parametrize("question", FEW)
async def test_few_people_are_not_looked_at_first(
    make_world: Make, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    monkeypatch.setattr(run, "MOST_ROWS", 0)
    world = await make_world()
    kpi, asked = FEW[question]
    await world.ask_one(kpi, **asked)
