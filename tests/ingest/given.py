"""What tests of the ingest rules start from: a site, a moment, a request."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from service.domain.access import Site
from service.domain.events import LogRow, Refusal, Submission
from service.domain.kinds import Kind
from service.ingest.context import Context
from service.ingest.normalise import normalise
from service.kit import json
from service.store.secrets import Salts

NOW = datetime(2026, 5, 20, 12, 30, tzinfo=UTC)
SITE = Site(7, "shop", "Europe/Copenhagen", "DKK", b"secret of the shop".ljust(32, b"."))
SALTS = Salts({NOW.date() + timedelta(days=day): bytes([day + 2]) * 32 for day in (-1, 0, 1)})
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


def context(**facts: Any) -> Context:
    """A server's request at `NOW` for `SITE`, but for what is given."""
    return Context(**{"site": SITE, "now": NOW, "door": "events", "salts": SALTS, **facts})


def browser(**facts: Any) -> Context:
    """A request of a reader's or visitor's own browser."""
    return context(browser=True, user_agent=FIREFOX, address="203.0.113.7", **facts)


def take(event: Any, **facts: Any) -> Submission:
    """One event, normalised."""
    return normalise([event], context(**facts))


def row(event: Any, **facts: Any) -> LogRow:
    """The one row of an acceptable event."""
    (found,) = rows(event, **facts)
    return found


def rows(event: Any, **facts: Any) -> list[LogRow]:
    """The rows of an acceptable event."""
    submission = take(event, **facts)
    assert submission.refusals == []
    return submission.rows


def data(row: LogRow) -> Any:
    """What the log holds in `data`."""
    return json.loads(row.data.encode())[0]


def refused(event: Any, **facts: Any) -> Refusal:
    """The refusal of an unacceptable event."""
    submission = take(event, **facts)
    assert submission.rows == []
    assert (submission.dimensions, submission.details) == ({}, {})
    (found,) = submission.refusals
    return found


GOOD: dict[Kind, dict[str, Any]] = {
    Kind.PAGE_VIEW: {"url": "https://shop.example/shoes"},
    **{
        kind: {"message": "m-1", "campaign": "newsletter"}
        for kind in Kind
        if kind.label.startswith("email_")
    },
    Kind.LEAD: {"lead": "l-1"},
    Kind.CONVERSION: {"order": "B-17", "value": "129.95", "currency": "DKK"},
    Kind.REFUND: {"order": "B-17", "value": "29.95", "currency": "DKK"},
    Kind.SURVEY_ANSWER: {"survey": "nps", "score": 9},
    Kind.AD_SPEND: {"source": "google", "date": "2026-05-01", "cost": "10", "currency": "DKK"},
    Kind.SOCIAL_POST: {
        **{"network": "instagram", "post": "p-1"},
        **{"likes": 120, "comments": 9, "shares": 4, "followers": 5300},
    },
    Kind.SEARCH_VOLUME: {"term": "kompas", "group": "brand", "date": "2026-05-01", "volume": 88},
    Kind.CUSTOM: {"name": "brochure"},
}
"""The least that each kind needs."""


def good(kind: Kind, /, **fields: Any) -> dict[str, Any]:
    """An acceptable event of the kind, with further or other fields."""
    return {"kind": kind.label, **GOOD[kind], **fields}
