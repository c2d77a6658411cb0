"""Sites, keys, exchange rates, rejections: over the whole application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from service.ingest.sources import version
from service.kit import json
from tests.doors import cloned, doors, problem


@pytest.fixture(scope="module")
async def client(postgres_url: str, template: str) -> AsyncIterator[httpx.AsyncClient]:
    async with cloned(postgres_url, template) as engine, doors(engine) as client:
        yield client


def key(value: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {value}"}


async def made(client: httpx.AsyncClient, *scopes: str, site: str = "shop") -> str:
    body = {"site": site, "name": "test", "scopes": scopes}
    answer = await client.post("/v1/keys", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["key"])


UNDECIDED: dict[str, Any] = {
    "fiscal_month": 1,
    "lookback_days": 30,
    "late_hours": 24,
    "dimensions": [],
    "own_hosts": [],
    "channels": [],
}


async def test_a_site_is_made_and_listed(client: httpx.AsyncClient) -> None:
    body = {"slug": "blog", "timezone": "America/New_York", "currency": "usd"}
    answer = await client.post("/v1/sites", json=body)
    assert answer.status_code == 201, answer.text
    site = {"slug": "blog", "name": "blog", "timezone": "America/New_York", "currency": "USD"}
    site |= UNDECIDED
    assert answer.json() == site
    listed = (await client.get("/v1/sites")).json()
    assert listed["sources_version"] == version()
    sites = listed["sites"]
    assert [{**one, "created_at": None} for one in sites][-1] == {**site, "created_at": None}
    problem(await client.post("/v1/sites", json=body), 409, "site_exists")


async def test_a_site_has_the_installation_s_defaults(client: httpx.AsyncClient) -> None:
    answer = (await client.post("/v1/sites", json={"slug": "plain", "name": "Plain"})).json()
    assert (answer["timezone"], answer["currency"]) == ("Europe/Copenhagen", "DKK")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "missing_field", "slug"),
        ({"slug": "Capital"}, "invalid", "slug"),
        ({"slug": "x" * 64}, "invalid", "slug"),
        ({"slug": "line\n"}, "invalid", "slug"),
        ({"slug": "a", "timezone": "Europe/Kopenhagen"}, "unknown_timezone", "timezone"),
        ({"slug": "a", "currency": "kroner"}, "unknown_currency", "currency"),
        ({"slug": "a", "timzone": "UTC"}, "unknown_field", "timzone"),
    ],
)
async def test_a_site_that_cannot_be(
    client: httpx.AsyncClient, body: dict[str, str], code: str, field: str
) -> None:
    document = problem(await client.post("/v1/sites", json=body), 422, code)
    assert document["detail"]["field"] == field


DECIDED: dict[str, Any] = {
    "name": "The wine shop",
    "fiscal_month": 4,
    "lookback_days": 90,
    "late_hours": 0,
    "dimensions": ["plan", "colour"],
    "own_hosts": ["pay.example", "cart.example"],
    "channels": [
        {"channel": "Partners", "source": "Partner*"},
        {"channel": "Brand", "medium": "cpc", "campaign": "brand"},
    ],
}
STORED = DECIDED | {
    "dimensions": ["colour", "plan"],
    "own_hosts": ["cart.example", "pay.example"],
    "channels": [
        {"channel": "Partners", "source": "partner*", "medium": "", "campaign": ""},
        {"channel": "Brand", "source": "", "medium": "cpc", "campaign": "brand"},
    ],
}


async def test_a_site_decides_for_itself(client: httpx.AsyncClient) -> None:
    made = (await client.post("/v1/sites", json={"slug": "wine", **DECIDED})).json()
    where = {"slug": "wine", "timezone": "Europe/Copenhagen", "currency": "DKK"}
    assert made == {**where, **STORED}
    # One thing is changed, and all others stay.
    answer = await client.patch("/v1/sites/wine", json={"own_hosts": [], "fiscal_month": 7})
    assert answer.json() == {**where, **STORED, "own_hosts": [], "fiscal_month": 7}
    unchanged = await client.patch("/v1/sites/wine", json={"name": None})
    assert unchanged.json() == answer.json()
    listed = (await client.get("/v1/sites")).json()["sites"]
    (found,) = [site for site in listed if site["slug"] == "wine"]
    assert {**found, **answer.json()} == found
    emptied: dict[str, Any] = {"dimensions": [], "channels": []}
    assert (await client.patch("/v1/sites/wine", json=emptied)).json() == {
        **answer.json(),
        **emptied,
    }


async def test_a_channel_of_ours_is_written_as_we_write_it(client: httpx.AsyncClient) -> None:
    names = ["Paid search", "EMAIL", "sms", "ai assistants", "My Paid search", "Partners"]
    rules = [{"channel": name, "source": "x"} for name in names]
    found = (await client.post("/v1/sites", json={"slug": "cased", "channels": rules})).json()
    stored = ["Paid Search", "Email", "SMS", "AI Assistants", "My Paid search", "Partners"]
    assert [rule["channel"] for rule in found["channels"]] == stored
    changed = {"channels": [{"channel": "dIRECT", "medium": "x"}]}
    found = (await client.patch("/v1/sites/cased", json=changed)).json()
    assert found["channels"][0]["channel"] == "Direct"


async def test_a_name_is_one_that_can_be_stored(client: httpx.AsyncClient) -> None:
    made = await client.post("/v1/sites", json={"slug": "named", "name": "a\0b"})
    assert (made.status_code, made.json()["name"]) == (201, "a\ufffdb")
    changed = await client.patch("/v1/sites/named", json={"name": "\0c"})
    assert (changed.status_code, changed.json()["name"]) == (200, "\ufffdc")
    (found,) = [
        site for site in (await client.get("/v1/sites")).json()["sites"] if site["slug"] == "named"
    ]
    assert found["name"] == "\ufffdc"


async def test_what_a_site_decided_reaches_its_keys(client: httpx.AsyncClient) -> None:
    body = {"slug": "ruled", "dimensions": ["plan"], "lookback_days": 7}
    await client.post("/v1/sites", json=body)
    secret = key(await made(client, "ingest", site="ruled"))
    event = {"kind": "lead", "quantity": 1, "props": {"plan": "pro"}}
    assert (await client.post("/v1/leads", json=event, headers=secret)).status_code == 200


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"timezone": "UTC"}, "fixed_field", "timezone"),
        ({"currency": "EUR"}, "fixed_field", "currency"),
        ({"slug": "other"}, "fixed_field", "slug"),
        ({"fiscal_month": 0}, "invalid", "fiscal_month"),
        ({"fiscal_month": 13}, "invalid", "fiscal_month"),
        ({"lookback_days": 0}, "invalid", "lookback_days"),
        ({"lookback_days": 91}, "invalid", "lookback_days"),
        ({"lookback_days": True}, "invalid", "lookback_days"),
        ({"lookback_days": "30"}, "invalid", "lookback_days"),
        ({"fiscal_month": True}, "invalid", "fiscal_month"),
        ({"late_hours": False}, "invalid", "late_hours"),
        ({"channels": [{"channel": "X", "source": "a*b"}]}, "invalid", "channels/0/source"),
        ({"channels": [{"channel": "X", "medium": "*a"}]}, "invalid", "channels/0/medium"),
        ({"channels": [{"channel": "X", "campaign": "a**"}]}, "invalid", "channels/0/campaign"),
        ({"late_hours": -1}, "invalid", "late_hours"),
        ({"late_hours": 721}, "invalid", "late_hours"),
        ({"name": ""}, "invalid", "name"),
        ({"dimensions": ["Plan"]}, "invalid", "dimensions/0"),
        ({"dimensions": ["a-b"]}, "invalid", "dimensions/0"),
        ({"dimensions": ["a" * 33]}, "invalid", "dimensions/0"),
        ({"dimensions": [f"p{n}" for n in range(21)]}, "invalid", "dimensions"),
        ({"own_hosts": ["https://shop.example"]}, "invalid", "own_hosts/0"),
        ({"own_hosts": ["Shop.example"]}, "invalid", "own_hosts/0"),
        ({"own_hosts": ["localhost"]}, "invalid", "own_hosts/0"),
        ({"own_hosts": [f"a{n}.example" for n in range(51)]}, "invalid", "own_hosts"),
        ({"channels": [{"channel": "X"}]}, "invalid", "channels/0"),
        ({"channels": [{"channel": "", "source": "a"}]}, "invalid", "channels/0/channel"),
        ({"channels": [{"channel": "x" * 65, "source": "a"}]}, "invalid", "channels/0/channel"),
        ({"channels": [{"channel": "a\tb", "source": "a"}]}, "invalid", "channels/0/channel"),
        ({"channels": [{"channel": "X", "host": "a"}]}, "unknown_field", "host"),
        ({"channels": [{"channel": "X", "source": "a"}] * 101}, "invalid", "channels"),
        ({"lookbackdays": 3}, "unknown_field", "lookbackdays"),
    ],
)
async def test_what_a_site_cannot_decide(
    client: httpx.AsyncClient, body: dict[str, Any], code: str, field: str
) -> None:
    document = problem(await client.patch("/v1/sites/shop", json=body), 422, code)
    assert document["detail"]["field"] == field


async def test_only_an_admin_changes_a_site_that_exists(client: httpx.AsyncClient) -> None:
    problem(await client.patch("/v1/sites/nowhere", json={"name": "x"}), 404, "unknown_site")
    reader = key(await made(client, "read", "ingest"))
    problem(await client.patch("/v1/sites/shop", json={}, headers=reader), 403, "forbidden")


async def test_a_key_is_shown_once_and_works_until_it_is_revoked(client: httpx.AsyncClient) -> None:
    secret = await made(client, "read")
    assert secret.startswith("sk_")
    assert (await client.get("/v1/kpis", headers=key(secret))).status_code == 200
    listed = (await client.get("/v1/keys")).json()["keys"]
    assert secret not in str(listed)
    (row,) = [one for one in listed if secret.startswith(one["prefix"])]
    assert (row["site"], row["scopes"], row["revoked_at"]) == ("shop", ["read"], None)
    answer = await client.delete(f"/v1/keys/{row['id']}")
    assert answer.json() == {"id": row["id"], "revoked": True}
    problem(await client.delete(f"/v1/keys/{row['id']}"), 404, "not_found")
    listed = (await client.get("/v1/keys")).json()["keys"]
    assert [one["revoked_at"] is None for one in listed if one["id"] == row["id"]] == [False]


async def test_a_public_key_is_public_only(client: httpx.AsyncClient) -> None:
    assert (await made(client, "public")).startswith("pk_")
    body = {"name": "web", "scopes": ["public", "read"]}
    problem(await client.post("/v1/keys", json=body), 422, "invalid")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": "x", "scopes": ["write"]}, 422, "invalid"),
        ({"name": "x", "scopes": []}, 422, "invalid"),
        ({"name": "", "scopes": ["read"]}, 422, "invalid"),
        ({"scopes": ["read"]}, 422, "missing_field"),
        ({"name": "x", "scopes": ["read"], "site": "nowhere"}, 404, "unknown_site"),
    ],
)
async def test_a_key_that_cannot_be(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, code: str
) -> None:
    problem(await client.post("/v1/keys", json=body), status, code)


@pytest.mark.parametrize("name", ["0", "-1", "9223372036854775808", "abc"])
async def test_a_key_without_a_number(client: httpx.AsyncClient, name: str) -> None:
    problem(await client.delete(f"/v1/keys/{name}"), 422, "invalid")


async def test_only_admin_keys_open_the_doors(client: httpx.AsyncClient) -> None:
    reader = key(await made(client, "read", "ingest"))
    for path in ("/v1/sites", "/v1/keys", "/v1/fx-rates", "/v1/sites/shop/token-secret"):
        problem(await client.get(path, headers=reader), 403, "forbidden")
        problem(await client.get(path, headers={"Authorization": ""}), 401, "unauthorized")


async def test_rates_are_exact_and_replace_each_other(client: httpx.AsyncClient) -> None:
    day = {"base": "eur", "quote": "DKK", "day": "2026-03-02"}
    for rate in ("7.4", "7.460412345678"):
        answer = await client.put("/v1/fx-rates", json={"rates": [{**day, "rate": rate}]})
        assert answer.json() == {"stored": 1}, answer.text
    answer = await client.get("/v1/fx-rates", params={"base": "EUR", "from": "2026-03-01"})
    (found,) = json.loads(answer.content)[0]["rates"]
    assert found == {**day, "base": "EUR", "rate": Decimal("7.460412345678")}
    assert (await client.get("/v1/fx-rates?to=2026-03-01")).json() == {"rates": []}


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"rate": "0"}, "invalid", "rates/0/rate"),
        ({"rate": "NaN"}, "invalid", "rates/0/rate"),
        ({"rate": "1e30"}, "invalid_rate", "rate"),
        ({"day": 20260302}, "invalid", "rates/0/day"),
        ({"day": "2026-02-30"}, "invalid", "rates/0/day"),
        ({"base": "DKK"}, "invalid_rate", "quote"),
        ({"quote": "kroner"}, "unknown_currency", "quote"),
        ({"since": "2026-01-01"}, "unknown_field", "since"),
    ],
)
async def test_a_rate_that_cannot_be(
    client: httpx.AsyncClient, change: dict[str, object], code: str, field: str
) -> None:
    rate = {"base": "EUR", "quote": "DKK", "day": "2026-03-02", "rate": "7.46", **change}
    document = problem(await client.put("/v1/fx-rates", json={"rates": [rate]}), 422, code)
    assert document["detail"]["field"] == field


async def test_rejections_are_read_page_by_page(client: httpx.AsyncClient) -> None:
    own = key(await made(client, "read", "ingest"))
    answers = [{"survey": "nps", "score": score} for score in (11, 12, 13)]
    await client.post("/v1/survey-answers", json=answers, headers=own)
    newest = (await client.get("/v1/rejections?limit=2", headers=own)).json()["rejections"]
    assert [row["code"] for row in newest] == ["not_a_score", "not_a_score"]
    assert [row["door"] for row in newest] == ["/v1/survey-answers"] * 2
    assert '"score":13' in newest[0]["payload"]
    older = await client.get(f"/v1/rejections?before={newest[-1]['id']}", headers=own)
    assert '"score":11' in older.json()["rejections"][0]["payload"]


async def test_rejections_are_the_site_s_own(client: httpx.AsyncClient) -> None:
    await client.post("/v1/sites", json={"slug": "quiet"})
    quiet = key(await made(client, "read", site="quiet"))
    assert (await client.get("/v1/rejections", headers=quiet)).json() == {"rejections": []}
    problem(await client.get("/v1/rejections?site=shop", headers=quiet), 403, "forbidden")
    assert (await client.get("/v1/rejections?site=quiet")).json() == {"rejections": []}
    problem(await client.get("/v1/rejections?limit=0"), 422, "invalid")
    problem(await client.get("/v1/rejections?befor=1"), 422, "unknown_parameter")


async def test_a_mailer_gets_the_secret_of_its_site(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/sites/shop/token-secret")
    assert answer.json()["site"] == "shop"
    assert ".shop." in answer.json()["secret"]
    assert answer.headers["cache-control"] == "no-store"
    problem(await client.get("/v1/sites/nowhere/token-secret"), 404, "unknown_site")
