"""The KPI doors, over the whole application: what is asked, what is answered, what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from service.domain.access import Scope
from service.kpi.catalogue import load_catalogue
from service.kpi.plan import MOST_KPIS
from service.publish.answers import CatalogueAnswer, KpiAnswer, KpiAnswers
from tests.conftest import Database
from tests.doors import cloned, doors, problem

JANUARY = {"from": "2026-01-01", "to": "2026-02-01"}
ORDERS = [
    {"order": "A-1", "value": "499.95", "currency": "DKK", "campaign": "spring"},
    {"order": "A-2", "value": "0.10", "currency": "DKK", "campaign": "autumn"},
]


@pytest.fixture(scope="module")
async def client(postgres_url: str, template: str) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        cloned(postgres_url, template) as engine,
        doors(engine, Scope.READ, Scope.INGEST, worker=True) as client,
    ):
        orders = [{**order, "occurred_at": "2026-01-05T12:00:00Z"} for order in ORDERS]
        assert (await client.post("/v1/conversions", json=orders)).status_code == 200
        yield client


async def test_one_kpi_is_exact(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/kpis/revenue", params={**JANUARY, "by": "campaign"})
    assert answer.status_code == 200, answer.text
    assert '"value":500.05,' in answer.text
    found = answer.json()
    assert found["window"]["tz"] == "Europe/Copenhagen"
    assert found["currency"] == "DKK"
    assert [row["campaign"] for row in found["breakdown"]] == ["spring", "autumn"]


async def test_every_shape_is_the_contract_s(client: httpx.AsyncClient) -> None:
    """What is answered fits the models that `openapi.json` is made of, to the last member."""
    asked = {**JANUARY, "compare": "previous_period", "grain": "week"}
    for kpi in load_catalogue():
        by = {"by": kpi.breakdowns[0]} if kpi.breakdowns else {}
        answer = await client.get(f"/v1/kpis/{kpi.id}", params={**asked, **by})
        assert answer.status_code == 200, answer.text
        found = KpiAnswer.model_validate_json(answer.text)
        assert found.model_extra == {}, kpi.id


async def test_several_kpis_come_in_their_order(client: httpx.AsyncClient) -> None:
    body = {"kpis": ["orders", "aov", "orders"], **JANUARY, "where": "campaign:spring"}
    answer = await client.post("/v1/kpis/query", json=body)
    assert answer.status_code == 200, answer.text
    KpiAnswers.model_validate_json(answer.text)
    values = [(one["kpi"], one["value"]) for one in answer.json()["answers"]]
    assert values == [("orders", 1), ("aov", 499.95), ("orders", 1)]


async def test_the_form_of_a_body_is_not_asked(client: httpx.AsyncClient) -> None:
    """`curl -d` calls JSON a form."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await client.post("/v1/kpis/query", content='{"kpis": ["roas"]}', headers=form)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("lang", ["en", "da"])
async def test_the_catalogue_speaks_two_languages(client: httpx.AsyncClient, lang: str) -> None:
    answer = await client.get("/v1/kpis", params={"lang": lang})
    assert answer.status_code == 200, answer.text
    CatalogueAnswer.model_validate_json(answer.text)
    catalogue = load_catalogue()
    found = {kpi["id"]: kpi for kpi in answer.json()["kpis"]}
    assert list(found) == list(catalogue.kpis)
    assert found["roas"]["title"] == catalogue.kpis["roas"].title[lang]
    assert found["ctr"]["formula"] == "clicks / impressions"
    assert set(found["lead_to_customer"]["views"]) == {"cohort", "period"}


@pytest.mark.parametrize(
    ("path", "status", "code", "where"),
    [
        ("/v1/kpis/rosa", 404, "unknown_kpi", ("kpi", "roas")),
        ("/v1/kpis/roas?widnow=today", 422, "unknown_parameter", ("widnow", "window")),
        ("/v1/kpis?language=da", 422, "unknown_parameter", ("language", "lang")),
        ("/v1/kpis?lang=de", 422, "invalid", ("lang", None)),
        ("/v1/kpis/roas?window=last_6_days", 422, "unknown_window", ("window", "last_7_days")),
        (
            "/v1/kpis/roas?tz=Europe/Kopenhagen",
            422,
            "unknown_timezone",
            ("tz", "Europe/Copenhagen"),
        ),
        ("/v1/kpis/roas?from=2026-01-01", 422, "invalid_window", ("to", None)),
        ("/v1/kpis/roas?from=yesterday&to=today", 422, "invalid_time", ("from", None)),
        ("/v1/kpis/roas?grain=dya", 422, "unknown_grain", ("grain", "day")),
        ("/v1/kpis/roas?wait=-1", 422, "invalid", ("wait", None)),
        ("/v1/kpis/roas?wait=soon", 422, "invalid", ("wait", None)),
        ("/v1/kpis/roas?window=today&window=today", 422, "repeated_parameter", ("window", None)),
    ],
)
async def test_a_mistake_is_explained(
    client: httpx.AsyncClient, path: str, status: int, code: str, where: tuple[str, str | None]
) -> None:
    field, nearest = where
    detail = problem(await client.get(path), status, code)["detail"]
    assert detail["field"] == field
    assert nearest is None or nearest in detail["nearest"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"kpis": []}, 422, "invalid"),
        ({"kpis": ["roas"] * (MOST_KPIS + 1)}, 422, "invalid"),
        ({"kpis": ["roas"], "windows": "today"}, 422, "unknown_field"),
        ({"window": "today"}, 422, "missing_field"),
        ({"kpis": ["roas", "rosa"]}, 404, "unknown_kpi"),
        ([], 422, "invalid"),
    ],
)
async def test_a_mistake_in_a_body_is_explained(
    client: httpx.AsyncClient, body: object, status: int, code: str
) -> None:
    problem(await client.post("/v1/kpis/query", json=body), status, code)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "The member 'kpis' is required."),
        (
            {"kpis": ["roas"], "widnow": "today"},
            "There is no member 'widnow'. Did you mean window?",
        ),
        ([], "The body must be an object."),
    ],
)
async def test_a_body_has_members_and_a_query_parameters(
    client: httpx.AsyncClient, body: object, message: str
) -> None:
    answer = await client.post("/v1/kpis/query", json=body)
    assert answer.json()["message"] == message
    answer = await client.get("/v1/kpis/roas?widnow=today")
    assert answer.json()["message"] == "There is no parameter 'widnow'. Did you mean window?"


async def test_a_body_that_is_no_json(client: httpx.AsyncClient) -> None:
    problem(await client.post("/v1/kpis/query", content=b'{"kpis":'), 400, "invalid_json")
    problem(await client.post("/v1/kpis/query", content=b" " * 1_048_577), 413, "body_too_large")


async def test_nothing_but_the_key_is_looked_at_first(client: httpx.AsyncClient) -> None:
    for path in ("/v1/kpis", "/v1/kpis/rosa?widnow=1"):
        answer = await client.get(path, headers={"Authorization": ""})
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    answer = await client.post(
        "/v1/kpis/query", content=b"{", headers={"Authorization": "Bearer x"}
    )
    problem(answer, 401, "unauthorized")


async def test_only_keys_with_the_scope_read_may_ask(database: Database) -> None:
    async with doors(database.engine, Scope.INGEST) as sender:
        problem(await sender.get("/v1/kpis"), 403, "forbidden")
        problem(await sender.get("/v1/kpis/roas"), 403, "forbidden")
        problem(await sender.post("/v1/kpis/query", json={"kpis": ["roas"]}), 403, "forbidden")
        problem(await sender.get("/v1/rejections"), 403, "forbidden")


async def test_another_site_is_for_admins(client: httpx.AsyncClient) -> None:
    problem(await client.get("/v1/kpis/roas?site=other"), 403, "forbidden")
    assert (await client.get("/v1/kpis/roas?site=shop")).status_code == 200


async def test_metrics_show_what_the_worker_stored(client: httpx.AsyncClient) -> None:
    """The worker takes its first snapshot at its start; a site without events has one, too."""
    for _ in range(100):
        text = (await client.get("/metrics")).text
        if "kompas_kpi_has_value{" in text:
            break
    assert 'kompas_site_info{site="shop",currency="DKK"} 1.0' in text
    assert 'kompas_kpi_has_value{site="shop",kpi="roas",window="today"} 0.0' in text
