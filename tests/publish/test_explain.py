"""How an answer came about: what is shown is what was computed, asked and read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.domain.access import Scope
from service.kpi.catalogue import load_catalogue
from service.publish.explain import ExplanationAnswer
from tests.doors import cloned, doors

JANUARY = {"from": "2026-01-01", "to": "2026-02-01"}
ORDERS = [
    {"order": "A-1", "value": "1200", "currency": "DKK", "campaign": "spring"},
    {"order": "A-2", "value": "300.50", "currency": "DKK", "campaign": "autumn"},
]
REFUND = {"kind": "refund", "order": "A-1", "value": "100", "currency": "DKK"}
SPEND = {"source": "google", "date": "2026-01-05", "cost": "550", "currency": "DKK"}


@pytest.fixture(scope="module")
async def client(postgres_url: str, template: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        cloned(postgres_url, template) as engine,
        doors(engine, Scope.READ, Scope.INGEST, worker=True) as client,
    ):
        at = {"occurred_at": "2026-01-05T12:00:00Z"}
        events = [{"kind": "conversion", **order, **at} for order in ORDERS] + [{**REFUND, **at}]
        assert (await client.post("/v1/events", json=events)).status_code == 200
        assert (await client.post("/v1/ad-spend", json=SPEND)).status_code == 200
        yield client


async def explained(client: httpx.AsyncClient, kpi: str, **asked: Any) -> Any:
    answer = await client.get(f"/v1/kpis/{kpi}/explain", params={**JANUARY, **asked})
    assert answer.status_code == 200, answer.text
    assert ExplanationAnswer.model_validate_json(answer.text).model_extra is None
    return answer.json()


async def test_the_numbers_are_those_of_the_answer(client: httpx.AsyncClient) -> None:
    found = await explained(client, "roas")
    assert found["formula"] == "(gross_revenue - refunds) / spend"
    assert found["filled"].startswith("(1,500.50 - 100.00) / 550.00 = 2.546363")
    terms = {term["name"]: term["value"] for term in found["terms"]}
    assert terms == {"gross_revenue": 1500.5, "refunds": 100, "spend": 550}
    answer = (await client.get("/v1/kpis/roas", params=JANUARY)).json()
    same = ("kpi", "version", "unit", "currency", "value", "reason", "numerator", "denominator")
    assert {name: found[name] for name in same} == {name: answer[name] for name in same}


async def test_the_window_is_told_in_its_zone_and_in_utc(client: httpx.AsyncClient) -> None:
    assert (await explained(client, "revenue"))["window"] == {
        "from": "2026-01-01T00:00:00+01:00",
        "to": "2026-02-01T00:00:00+01:00",
        "tz": "Europe/Copenhagen",
        "from_utc": "2025-12-31T23:00:00Z",
        "to_utc": "2026-01-31T23:00:00Z",
    }


async def test_what_has_no_value_says_why(client: httpx.AsyncClient) -> None:
    found = await explained(client, "cpl")
    assert found["filled"] == "550.00 / ? = no value (no_data)"
    assert (found["value"], found["reason"]) == (None, "no_data")


async def test_every_statement_shows_its_values_its_rows_and_its_time(
    client: httpx.AsyncClient,
) -> None:
    where = "campaign:spring"
    found = await explained(client, "revenue", where=where, by="campaign")
    assert found["where"] == where
    assert found["filled"] == "1,200.00 - 100.00 = 1,100.00"
    assert len(found["statements"]) >= 1
    for statement in found["statements"]:
        assert "SELECT" in statement["sql"]
        for name in statement["values"]:
            assert f":{name}" in statement["sql"]
        assert statement["milliseconds"] > 0
    assert "spring" in str(found["statements"][0]["values"])
    assert found["rows_read"] == sum(one["rows_read"] for one in found["statements"])
    assert found["rows_read"] == sum(one["rows_read"] for one in found["tiers"])
    assert found["milliseconds"] >= sum(one["milliseconds"] for one in found["statements"])


async def test_every_kpi_can_be_explained(client: httpx.AsyncClient) -> None:
    """Whatever its kind: each statement of an answer can be run again with its values."""
    for kpi in load_catalogue():
        found = await explained(client, kpi.id)
        assert found["statements"], kpi.id
        assert " = " in found["filled"], kpi.id


@pytest.mark.parametrize(
    "asked",
    [
        {"by": "product"},
        {"by": "campaign", "model": "time_decay", "grain": "day"},
        {"where": "country:DK", "compare": "previous_period"},
    ],
)
async def test_whatever_is_asked_beside_it_is_explained_too(
    client: httpx.AsyncClient, asked: dict[str, str]
) -> None:
    plain = await explained(client, "revenue")
    found = await explained(client, "revenue", **asked)
    assert len(found["statements"]) > len(plain["statements"]) or "facts" in tiers(found)


def tiers(found: Any) -> set[str]:
    return {tier["tier"] for tier in found["tiers"] if tier["rows_read"]}


async def test_the_tiers_are_those_that_were_read(client: httpx.AsyncClient) -> None:
    assert "facts" not in tiers(await explained(client, "revenue"))
    cut = {"from": "2026-01-05T11:59:59Z", "to": "2026-01-05T12:00:01Z"}
    assert "facts" in tiers(await explained(client, "revenue", **cut))


async def test_no_secret_shows(client: httpx.AsyncClient) -> None:
    """Ids of people are not asked for, and the secrets that hash them even less."""
    text = str(await explained(client, "new_customers", by="campaign")).lower()
    assert not [word for word in ("secret", "bytearray", "b'", "sk_") if word in text]
