"""The contract: `openapi.json` is what the code says, and what the running service does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from service.app import describe
from service.cli.pages import GENERATED, openapi_text
from service.kpi.catalogue import load_catalogue
from service.kpi.grains import GRAINS
from service.kpi.windows import PRESETS
from service.publish.answers import KpiAnswer
from tests.doors import cloned
from tests.running import ADMIN_KEY, Service, kompas_serve

CATALOGUE = load_catalogue()
ROOT = Path(__file__).parents[1]
EXAMPLES = 12
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}"}
OPERATIONS = {"get", "put", "post", "delete"}


def test_the_committed_contract_is_current() -> None:
    assert (ROOT / "openapi.json").read_text("utf-8") == openapi_text(), "run `make docs`"


@pytest.mark.parametrize("name", GENERATED)
def test_the_generated_pages_are_current(name: str) -> None:
    page = ROOT / "docs" / "reference" / name
    assert page.read_text("utf-8") == GENERATED[name](), "run `make docs`"


def operations() -> list[Any]:
    return [
        pytest.param(path, operation, id=f"{method} {path}")
        for path, item in describe()["paths"].items()
        for method, operation in item.items()
        if method in OPERATIONS
    ]


@pytest.mark.parametrize(("path", "operation"), operations())
def test_every_operation_says_how_it_fails(path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["tags"]
    refusals = {code: found for code, found in operation["responses"].items() if code >= "400"}
    assert refusals
    for answer in refusals.values():
        assert answer["description"]
        # The GET doors of pages and mails answer an image whatever happens.
        assert "application/problem+json" in answer.get("content", {}) or path.startswith(
            ("/v1/pixel", "/v1/open", "/v1/click")
        )


def test_names_are_used_once_and_point_somewhere() -> None:
    document = describe()
    ids = [one["operationId"] for item in document["paths"].values() for one in item.values()]
    assert len(set(ids)) == len(ids)
    assert document["openapi"].startswith("3.1")
    text = json.dumps(document)
    assert "ValidationError" not in text
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]


@pytest.fixture(scope="module")
async def service(postgres_url: str, template: str) -> AsyncIterator[Service]:
    async with cloned(postgres_url, template) as engine:
        url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with kompas_serve(KOMPAS_DATABASE_URL=url) as running:
            yield running


schema = schemathesis.openapi.from_dict(describe())
schema.config.phases.coverage.enabled = False

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SEARCH = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)


@schema.parametrize()
@SEARCH
def test_the_service_keeps_the_contract(case: Case, service: Service) -> None:
    """Whatever is sent, right or wrong, the answer is one that the contract names: never a 5xx."""
    if case.path == "/v1/keys/{id}" and case.path_parameters.get("id") in range(1, 1000):
        return  # the key of this very test must not be revoked
    case.call_and_validate(
        base_url=service.url,
        headers=ADMIN,
        checks=CHECKS,
        allow_redirects=False,
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Questions about a KPI, every fourth with a mistake."""
    kpi = draw(st.sampled_from(list(CATALOGUE)))
    words: dict[str, st.SearchStrategy[str]] = {
        "grain": st.sampled_from(GRAINS),
        "by": st.sampled_from(kpi.breakdowns or ("channel",)),
        "where": st.sampled_from(["campaign:spring", "channel:Email,source:x", "campaign:", ":"]),
        "compare": st.sampled_from(["previous_period", "previous_year"]),
        "tz": st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu"]),
        "view": st.sampled_from(["cohort", "period"]),
        "model": st.just("last_non_direct"),
        "currency": st.sampled_from(["EUR", "DKK"]),
    }
    asked = {name: draw(st.none() | values) for name, values in words.items()}
    if draw(st.integers(0, 3)) == 0:
        asked[draw(st.sampled_from([*words, "widnow"]))] = draw(st.text(max_size=12))
    window = draw(st.sampled_from([*PRESETS, None]))
    times = st.datetimes(datetime(1890, 1, 1), datetime(2230, 1, 1)).map(datetime.isoformat)
    if window is None:
        asked["from"], asked["to"] = sorted((draw(times) + "Z", draw(times) + "Z"))
    asked["window"] = window
    return kpi.id, {name: value for name, value in asked.items() if value is not None}


def test_no_question_about_a_kpi_fails(service: Service) -> None:
    """Windows of centuries, strange zones, filters of nothing: an answer, or what is wrong."""
    outcomes: Counter[str] = Counter()
    with httpx.Client(base_url=service.url, headers=ADMIN) as client:

        @settings(SEARCH, max_examples=100, phases=[Phase.generate])
        @given(questions())
        def ask(question: tuple[str, dict[str, Any]]) -> None:
            kpi, asked = question
            answer = client.get(f"/v1/kpis/{kpi}", params={**asked, "wait": 0})
            assert answer.status_code in {200, 422}, answer.text
            if answer.status_code == 200:
                KpiAnswer.model_validate_json(answer.text)
            outcomes[answer.json().get("code", "answered")] += 1

        ask()
    assert outcomes["answered"] > 20, outcomes
    assert len(outcomes) > 5, outcomes


def test_the_key_was_good_to_the_end(service: Service) -> None:
    """Otherwise every answer above was a 401."""
    answer = httpx.get(f"{service.url}/v1/keys", headers=ADMIN)
    assert answer.status_code == 200
