"""Users' own KPIs over the whole application: stored, asked, explained, retired."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from service.kpi.catalogue import load_catalogue
from service.publish.definitions import BODY_BYTES, DefinitionAnswer
from tests.doors import cloned, doors, problem

JANUARY = {"from": "2026-01-01", "to": "2026-02-01"}
ORDERS = [
    {"order": "A-1", "value": "499.95", "currency": "DKK", "campaign": "spring"},
    {"order": "A-2", "value": "0.10", "currency": "DKK", "campaign": "autumn"},
]
OWN: dict[str, Any] = {
    "title": {"en": "Weighted revenue", "da": "Vægtet omsætning"},
    "about": {"en": "Revenue, weighted.", "da": "Omsætning, vægtet."},
    "unit": "currency",
    "direction": "up",
    "kind": "simple",
    "numerator": {"gross_revenue": 2, "refunds": -1},
    "breakdowns": ["campaign"],
}


@pytest.fixture(scope="module")
async def client(postgres_url: str, template: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        cloned(postgres_url, template) as engine,
        doors(engine, worker=True, metrics_refresh_seconds=1, metrics_windows="today") as client,
    ):
        orders = [{**order, "occurred_at": "2026-01-05T12:00:00Z"} for order in ORDERS]
        assert (await client.post("/v1/conversions", json=orders)).status_code == 200
        yield client


async def put(client: httpx.AsyncClient, kpi: str, status: int, **changes: Any) -> Any:
    answer = await client.put(f"/v1/kpis/{kpi}", json={**OWN, **changes})
    assert answer.status_code == status, answer.text
    found = DefinitionAnswer.model_validate_json(answer.text)
    assert found.model_extra is None
    return answer.json()


async def reader(client: httpx.AsyncClient) -> dict[str, str]:
    body = {"site": "shop", "name": "test", "scopes": ["read"]}
    key = (await client.post("/v1/keys", json=body)).json()["key"]
    return {"Authorization": f"Bearer {key}"}


async def test_what_was_put_can_be_asked_at_once(client: httpx.AsyncClient) -> None:
    made = await put(client, "weighted", 201)
    assert (made["id"], made["version"], made["own"]) == ("weighted", 1, True)
    assert made["formula"] == "2 * gross_revenue - refunds"
    answer = await client.get("/v1/kpis/weighted", params={**JANUARY, "by": "campaign"})
    assert answer.status_code == 200, answer.text
    assert '"value":1000.1,' in answer.text
    assert [row["campaign"] for row in answer.json()["breakdown"]] == ["spring", "autumn"]
    listed = (await client.get("/v1/kpis?lang=da")).json()["kpis"]
    assert listed[-1]["title"] == "Vægtet omsætning"
    body = {"kpis": ["orders", "weighted"], **JANUARY}
    answers = (await client.post("/v1/kpis/query", json=body)).json()["answers"]
    assert [one["value"] for one in answers] == [2, 1000.1]


async def test_what_was_put_is_on_metrics_after_the_next_snapshot(
    client: httpx.AsyncClient,
) -> None:
    await put(client, "on_metrics", 201)
    shown = ""
    for _ in range(100):
        shown = (await client.get("/metrics")).text
        if 'kpi="on_metrics",window="today"' in shown:
            break
        await asyncio.sleep(0.1)
    assert 'kompas_kpi_value{site="shop",kpi="on_metrics",window="today"} 0.0' in shown
    assert 'kompas_kpi_info{kpi="on_metrics",unit="currency",direction="up",version="1"}' in shown


async def test_the_same_again_changes_nothing_and_a_text_only_that(
    client: httpx.AsyncClient,
) -> None:
    made = await put(client, "patient", 201)
    assert await put(client, "patient", 200) == made
    other = {"title": {"en": "Other", "da": "Anden"}}
    assert (await put(client, "patient", 200, **other))["title"] == "Other"
    found = (await client.get("/v1/kpis/patient/definition?lang=da")).json()
    assert (found["title"], found["version"]) == ("Anden", 1)


async def test_a_change_of_meaning_needs_a_version_and_the_old_one_stays(
    client: httpx.AsyncClient,
) -> None:
    await put(client, "versioned", 201)
    changed = {**OWN, "numerator": {"gross_revenue": 3}}
    refused = problem(await client.put("/v1/kpis/versioned", json=changed), 409, "version_needed")
    assert refused["detail"] == {"field": "version", "current": 1, "needed": 2}
    made = await put(client, "versioned", 201, version=2, numerator={"gross_revenue": 3})
    assert [(one["version"], one["status"]) for one in made["versions"]] == [
        (2, "stable"),
        (1, "superseded"),
    ]
    old = (await client.get("/v1/kpis/versioned/definition?version=1")).json()
    assert (old["version"], old["status"]) == (1, "superseded")
    assert old["formula"] == "2 * gross_revenue - refunds"
    assert old["definition"]["numerator"] == OWN["numerator"]
    problem(await client.get("/v1/kpis/versioned/definition?version=3"), 404, "unknown_version")
    value = (await client.get("/v1/kpis/versioned", params=JANUARY)).json()["value"]
    assert value == 1500.15


async def test_the_definition_is_what_put_takes_to_the_last_digit(
    client: httpx.AsyncClient,
) -> None:
    exact = str(OWN | {"numerator": {"refunds": 1, "gross_revenue": 7}}).replace("'", '"')
    body = exact.replace('"gross_revenue": 7', '"gross_revenue": 0.10')
    answer = await client.put("/v1/kpis/exact", content=body)
    assert answer.status_code == 201, answer.text
    found = await client.get("/v1/kpis/exact/definition")
    assert '"numerator":{"refunds":1,"gross_revenue":0.10}' in found.text
    again = await client.put("/v1/kpis/exact", json=found.json()["definition"])
    assert again.status_code == 200, again.text


async def test_all_mistakes_are_answered_at_once(client: httpx.AsyncClient) -> None:
    bad = {**OWN, "unit": "stones", "kind": "sum", "direction": "sideways"}
    document = problem(await client.put("/v1/kpis/bad", json=bad), 422, "invalid_kpi")
    problems = document["detail"]["problems"]
    assert {one["field"] for one in problems} == {"unit", "kind", "direction"}
    assert all(one["kpi"] == "bad" and one["message"] for one in problems)
    problem(await client.get("/v1/kpis/bad"), 404, "unknown_kpi")


@pytest.mark.parametrize("kpi", ["Bad", "no-hyphens", "_x", "9x"])
async def test_an_id_that_cannot_be(client: httpx.AsyncClient, kpi: str) -> None:
    document = problem(await client.put(f"/v1/kpis/{kpi}", json=OWN), 422, "invalid_kpi")
    assert document["detail"]["problems"][0]["field"] == "id"


async def test_an_id_of_its_own_in_the_body(client: httpx.AsyncClient) -> None:
    body = {**OWN, "id": "another"}
    document = problem(await client.put("/v1/kpis/one", json=body), 422, "invalid_kpi")
    assert [one["field"] for one in document["detail"]["problems"]] == ["id"]
    problem(await client.put(f"/v1/kpis/{'x' * 65}", json=OWN), 422, "invalid")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "invalid_json"),
        (b'{"a": 1, "a": 2}', 400, "duplicate_key"),
        (b"[]", 422, "invalid"),
        (b"{}", 422, "invalid_kpi"),
        (b" " * (BODY_BYTES + 1), 413, "body_too_large"),
    ],
)
async def test_a_body_that_is_no_definition(
    client: httpx.AsyncClient, body: bytes, status: int, code: str
) -> None:
    problem(await client.put("/v1/kpis/none", content=body), status, code)


async def test_what_comes_with_kompas_stays(client: httpx.AsyncClient) -> None:
    problem(await client.put("/v1/kpis/roas", json=OWN), 409, "kpi_is_built_in")
    problem(await client.delete("/v1/kpis/roas"), 409, "kpi_is_built_in")
    found = (await client.get("/v1/kpis/roas/definition")).json()
    assert found["own"] is False
    assert found["version"] == load_catalogue().get("roas").version
    assert {"numerator", "denominator"} <= set(found["definition"])


async def test_every_kpi_of_the_catalogue_shows_its_definition(client: httpx.AsyncClient) -> None:
    for kpi in load_catalogue():
        answer = await client.get(f"/v1/kpis/{kpi.id}/definition")
        assert answer.status_code == 200, answer.text
        DefinitionAnswer.model_validate_json(answer.text)


async def test_what_is_deleted_is_gone_until_it_is_put_again(client: httpx.AsyncClient) -> None:
    await put(client, "passing", 201)
    answer = await client.delete("/v1/kpis/passing")
    assert (answer.status_code, answer.content) == (204, b"")
    for path in ("/v1/kpis/passing", "/v1/kpis/passing/definition", "/v1/kpis/passing/explain"):
        problem(await client.get(path), 404, "unknown_kpi")
    problem(await client.delete("/v1/kpis/passing"), 404, "unknown_kpi")
    assert "passing" not in (await client.get("/v1/kpis")).text
    await put(client, "passing", 201)
    assert (await client.get("/v1/kpis/passing", params=JANUARY)).json()["value"] == 1000.1


async def test_what_is_deleted_comes_back_in_its_newest_version(
    client: httpx.AsyncClient,
) -> None:
    other = {"numerator": {"gross_revenue": 3}}
    await put(client, "twice", 201)
    await put(client, "twice", 201, version=2, **other)
    assert (await client.delete("/v1/kpis/twice")).status_code == 204
    assert (await put(client, "twice", 201, **other))["version"] == 2


async def test_what_others_need_stays(client: httpx.AsyncClient) -> None:
    await put(client, "below", 201)
    await put(client, "above", 201, also_visible=["below"])
    document = problem(await client.delete("/v1/kpis/below"), 409, "kpi_in_use")
    assert document["detail"]["used_by"] == ["above"]
    assert (await client.delete("/v1/kpis/above")).status_code == 204
    assert (await client.delete("/v1/kpis/below")).status_code == 204


COUNT = {"unit": "factor", "kind": "derived", "numerator": None, "breakdowns": ["campaign"]}


async def derive(client: httpx.AsyncClient, kpi: str, **changes: Any) -> httpx.Response:
    body = {key: value for key, value in (OWN | COUNT | changes).items() if value is not None}
    return await client.put(f"/v1/kpis/{kpi}", json=body)


async def test_a_power_is_a_whole_number(client: httpx.AsyncClient) -> None:
    for power in (1.0, -1.0, True):
        refused = await derive(client, "powered", factors={"orders": power})
        (found,) = problem(refused, 422, "invalid_kpi")["detail"]["problems"]
        assert found["field"] == "factors"


@pytest.mark.parametrize("version", [0, 10_001, 2**31])
async def test_a_version_is_a_number_that_somebody_can_reach(
    client: httpx.AsyncClient, version: int
) -> None:
    refused = await client.put("/v1/kpis/late", json={**OWN, "version": version})
    (found,) = problem(refused, 422, "invalid_kpi")["detail"]["problems"]
    assert found["field"] == "version"


async def test_a_value_beyond_all_measure_is_none(client: httpx.AsyncClient) -> None:
    most = 10**15 - 1
    await put(client, "large", 201, unit="count", numerator={"orders": most})
    assert (await derive(client, "larger", factors={"large": 1}, weight=10**14)).status_code == 201
    answer = await derive(client, "largest", factors={"large": 1, "larger": 1}, weight=most)
    assert answer.status_code == 201, answer.text
    asked = {**JANUARY, "by": "campaign", "compare": "previous_period", "grain": "week"}
    for kpi in ("larger", "largest"):
        answer = await client.get(f"/v1/kpis/{kpi}", params=asked)
        assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["value"], found["reason"]) == (None, "too_large")
    assert {row["reason"] for row in found["breakdown"]} == {"too_large"}
    for kpi in ("largest", "larger", "large"):
        assert (await client.delete(f"/v1/kpis/{kpi}")).status_code == 204


async def test_a_change_beyond_all_measure_has_no_ratio(client: httpx.AsyncClient) -> None:
    lead = {"quantity": 1, "occurred_at": "2026-03-05T12:00:00Z"}
    assert (await client.post("/v1/leads", json=lead)).status_code == 200
    parts = [f"part_{number}" for number in range(3)]
    for kpi in parts:
        await put(client, kpi, 201, unit="count", numerator={"orders": 1, "leads": 1e-15})
    assert (await derive(client, "steep", factors=dict.fromkeys(parts, 1))).status_code == 201
    asked = {**JANUARY, "compare": "2026-03-01/2026-04-01"}
    found = (await client.get("/v1/kpis/steep", params=asked)).json()
    assert found["compare"]["value"] == 1e-45
    assert (found["compare"]["change"] > 0, found["compare"]["change_ratio"]) == (True, None)
    for kpi in ("steep", *parts):
        assert (await client.delete(f"/v1/kpis/{kpi}")).status_code == 204


async def test_only_admin_keys_change_and_readers_read(client: httpx.AsyncClient) -> None:
    key = await reader(client)
    problem(await client.put("/v1/kpis/mine", json=OWN, headers=key), 403, "forbidden")
    problem(await client.delete("/v1/kpis/mine", headers=key), 403, "forbidden")
    assert (await client.get("/v1/kpis/roas/definition", headers=key)).status_code == 200
    assert (await client.get("/v1/kpis/roas/explain", headers=key)).status_code == 200


async def test_a_stranger_learns_nothing_but_401(client: httpx.AsyncClient) -> None:
    nobody = {"Authorization": ""}
    problem(await client.put("/v1/kpis/roas", content=b"{", headers=nobody), 401, "unauthorized")
    problem(await client.delete("/v1/kpis/none", headers=nobody), 401, "unauthorized")
    for path in ("definition?version=x", "explain?widnow=x"):
        problem(await client.get(f"/v1/kpis/none/{path}", headers=nobody), 401, "unauthorized")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("definition?version=0", "invalid"),
        ("definition?version=1&version=2", "repeated_parameter"),
        ("definition?langs=da", "unknown_parameter"),
        ("explain?widnow=today", "unknown_parameter"),
        ("explain?window=last_6_days", "unknown_window"),
    ],
)
async def test_a_mistake_is_explained(client: httpx.AsyncClient, path: str, code: str) -> None:
    problem(await client.get(f"/v1/kpis/roas/{path}"), 422, code)


@pytest.mark.parametrize(
    ("path", "allow"),
    [("", "DELETE, GET, PUT"), ("/definition", "GET"), ("/explain", "GET")],
)
async def test_other_methods_are_told_what_there_is(
    client: httpx.AsyncClient, path: str, allow: str
) -> None:
    answer = await client.post(f"/v1/kpis/roas{path}", json={})
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow
