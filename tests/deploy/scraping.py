"""Events of every kind, and a real Prometheus to ask what became of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.running import Service, free_port

DEPLOY = Path(__file__).parents[2] / "deploy"
EMPTY_SITE = "quiet"
WAIT_SECONDS = 40.0
DAY = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()


def until(done: Callable[[], bool], what: str) -> None:
    """Waits, with a limit that only a broken build reaches."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not done():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.1)


def events(turn: int) -> list[dict[str, Any]]:
    """Every kind once, three days ago, so that each KPI of the catalogue has a value."""
    mail, person = f"mail-{turn}", f"person-{turn}"
    money = {"currency": "DKK"}
    page = {"kind": "page_view", "url": "https://shop.example/", "consent": True}
    order = {"kind": "conversion", "customer": person, "cost_of_goods": "20", **money}
    all_of_them: list[dict[str, Any]] = [
        {**page, "visitor": person, "referrer": "https://www.google.com/"},
        {**page, "visitor": f"other-{turn}"},
        {"kind": "lead", "lead": person, "source": "fair"},
        {
            **{**order, "order": f"{turn}-1", "value": "100", "lead": person},
            "items": [{"product": "shoe", "quantity": 2, "value": "90"}],
        },
        {**order, "order": f"{turn}-2", "value": "50"},
        {"kind": "refund", "order": f"{turn}-2", "value": "5", **money},
        {"kind": "survey_answer", "survey": "nps", "score": 9},
        {"kind": "survey_answer", "survey": "enps", "score": 10},
        {"kind": "survey_answer", "survey": "csat", "score": 4},
        {"kind": "survey_answer", "survey": "ces", "score": 5},
        {"kind": "survey_answer", "survey": "awareness_aided", "score": True},
        {"kind": "survey_answer", "survey": "awareness_unaided", "score": False},
        {
            **{"kind": "social_post", "network": "instagram", "post": f"post-{turn}"},
            **{"likes": 9, "comments": 2, "shares": 1, "followers": 500, "reach": 200},
        },
        {"kind": "custom", "name": "demo", "value": "3"},
        {"kind": "custom", "name": "cart"},
        {"kind": "email_sent", "message": mail},
        {"kind": "email_delivered", "message": mail},
        {"kind": "email_opened", "message": mail, "machine": False},
        {"kind": "email_clicked", "message": mail, "link": "https://shop.example/offer"},
        {"kind": "email_unsubscribed", "message": mail},
        {"kind": "email_complained", "message": mail},
        {"kind": "email_bounced", "message": f"lost-{turn}"},
    ]
    for number, event in enumerate(all_of_them):
        event["occurred_at"] = f"{DAY}T{8 + number // 4:02}:{number % 4 * 10:02}:00Z"
    for group in ("brand", "category"):
        term = {"term": f"{group} {turn}", "group": group, "volume": 100}
        all_of_them.append({"kind": "search_volume", "date": DAY, **term})
    spend = {"source": "google", "campaign": f"spring {turn}", "impressions": 900, "clicks": 30}
    spend |= {"invalid_clicks": 2, "measurable": 800, "viewable": 500}
    all_of_them.append({"kind": "ad_spend", "date": DAY, "cost": "40", **spend, **money})
    return all_of_them


def send(service: Service, turn: int) -> None:
    """Good events, a duplicate and one that is refused."""
    good = events(turn)
    answer = service.post("/v1/events", good)
    assert (answer.status, answer.json["accepted"]) == (200, len(good)), answer.body
    twice = {"kind": "custom", "name": "demo", "id": f"twice-{turn}"}
    service.post("/v1/events", [twice])
    assert service.post("/v1/events", [twice]).json["duplicates"] == 1
    assert service.post("/v1/survey-answers", {"survey": "nps", "score": 11}).status == 422


@dataclass(frozen=True)
class Prometheus:
    """The HTTP API of a running server."""

    url: str

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer; fails with Prometheus's own words."""
        document = httpx.get(f"{self.url}/api/v1/{path}", params=query).json()
        assert document["status"] == "success", document
        return document["data"]

    def numbers(self, expression: str) -> list[float]:
        """The values of an instant query."""
        result = self.ask("query", query=expression)["result"]
        return [float(series["value"][1]) for series in result]

    def answers(self) -> bool:
        """Whether it is ready."""
        try:
            return httpx.get(f"{self.url}/-/ready").status_code == 200
        except httpx.TransportError:
            return False


def program(name: str) -> str:
    """The path of a program of Debian's package prometheus; on CI it must be there."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is missing; on Debian: apt-get install prometheus")
        pytest.skip(f"{name} is not installed")
    return found


@contextmanager
def prometheus_of(config: Path, data: Path) -> Iterator[Prometheus]:
    """A Prometheus on a free port until the block ends."""
    port = free_port()
    command = [
        program("prometheus"),
        *(f"--config.file={config}", f"--storage.tsdb.path={data}"),
        *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"),
    ]
    process = subprocess.Popen(command)
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        until(server.answers, "Prometheus is ready")
        yield server
    finally:
        process.terminate()
        process.wait(15)
