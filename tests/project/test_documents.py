"""docs/reference/measures.md and projections.md say what the code does."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import dropwhile, takewhile
from pathlib import Path

from service.domain.measures import MONEY, Measure
from service.domain.models import CREDITED
from service.project.projections import PROJECTIONS
from service.store.contributions import FACTS

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"

_ARRIVED = (
    "coalesce(r.delivered_at, r.opened_at, r.clicked_at, r.unsubscribed_at, r.complained_at)"
    " IS NOT NULL"
)
_DELIVERED = f"{_ARRIVED} OR r.bounced_at IS NULL"
_BOUNCED = f"r.bounced_at IS NOT NULL AND NOT {_ARRIVED}"
WORDS = {
    ("visit", "r.started_at"): "when the visit began",
    ("message", "r.sent_at"): "when it was sent",
    (
        "message",
        f"CASE WHEN {_DELIVERED} THEN coalesce(r.delivered_at, r.sent_at) END",
    ): "when it was delivered, or sent if no mailer says when",
    ("message", f"CASE WHEN {_BOUNCED} THEN r.bounced_at END"): "when it first bounced",
    ("message", "r.opened_at"): "when it was first opened",
    (
        "message",
        "least(r.opened_human_at, r.clicked_at)",
    ): "when a person first opened it or clicked",
    ("message", "r.clicked_at"): "when a person first clicked",
    ("message", "r.unsubscribed_at"): "when it first led to one",
    ("message", "r.complained_at"): "when it was first reported",
    ("lead", "r.won_at"): "when the lead was won",
    ("lead", "CASE WHEN r.won_at IS NOT NULL THEN r.converted_at END"): "when it first converted",
    ("conversion", "r.occurred_at"): "when it happened",
    (
        "conversion",
        "coalesce(r.order_at, r.occurred_at)",
    ): "when the order was placed, or when it happened while no order is known",
    ("statement", "r.occurred_at"): "when the statement is dated",
    ("event", "r.occurred_at"): "when it happened",
}
"""How the page says the SQL of a time."""


def table(page: str) -> list[list[str]]:
    """The cells of the page's first table, without its head."""
    lines = dropwhile(lambda line: line[:1] != "|", (REFERENCE / page).read_text().splitlines())
    rows = takewhile(lambda line: line[:1] == "|", lines)
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows][2:]


def booked() -> dict[Measure, list[tuple[str, str]]]:
    """The facts of each measure, with the SQL of the time, as the code has them."""
    found: dict[Measure, list[tuple[str, str]]] = defaultdict(list)
    for fact in FACTS:
        for case in fact.cases:
            for at, measure, _, _ in case.rows:
                found[measure].append((fact.name, at))
    return found


def test_every_measure_is_described_where_it_is_booked() -> None:
    pages = [
        (name, int(number), fact, when, money)
        for name, number, _, fact, when, money in table("measures.md")
    ]
    facts = booked()
    assert pages == [
        (
            f"`{measure.label}`",
            int(measure),
            ", ".join(fact for fact, _ in facts[measure]),
            ", ".join(WORDS[place] for place in facts[measure]),
            "yes" if measure in MONEY else "",
        )
        for measure in Measure
    ]


def test_what_models_credit_is_marked() -> None:
    page = (REFERENCE / "measures.md").read_text()
    (named,) = [line for line in page.splitlines() if line.startswith("**Attribution models**")]
    assert set(re.findall(r"`(\w+)`", named)) == {measure.label for measure in CREDITED}


def test_every_measure_has_a_meaning_of_its_own() -> None:
    meanings = [row[2] for row in table("measures.md")]
    assert all(meanings)


def test_the_projections_are_listed_in_their_order() -> None:
    rows = table("projections.md")
    assert [name for name, _, _ in rows] == [projection.name for projection in PROJECTIONS]
