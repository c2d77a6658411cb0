"""What an event of each kind consists of: one table of fields per kind.

The runner is `normalise`; the same tables make the contract's JSON Schemas (`contract`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from service.domain.kinds import EMAIL_KINDS, Kind
from service.ingest import dimensions, fields, statements, surveys
from service.ingest.dimensions import Place, Values
from service.ingest.fields import Parser
from service.ingest.lines import lines_of
from service.ingest.statements import Statement


class Field(NamedTuple):
    """One member of an event.

    `schema` is its JSON Schema without the description `about`; `stored` the member of the log's
    data that holds the parsed value, '' for what becomes something else (a flag, a dimension).
    """

    name: str
    parse: Parser
    schema: Mapping[str, Any]
    about: str
    stored: str = ""
    required: bool = False


Judge = Callable[[Values], Mapping[str, Any]]
"""A kind's own rule over several fields: refuses, or answers further members of the data."""

TEXT = {"type": "string", "maxLength": fields.TEXT_BYTES}
NAME = {"type": "string", "minLength": 1, "maxLength": fields.TEXT_BYTES}
ID = {"type": ["string", "integer"], "minLength": 1, "maxLength": fields.ID_CHARACTERS}
BOOLEAN = {"type": "boolean"}
AMOUNT = {
    "type": ["number", "string"],
    "minimum": 0,
    "exclusiveMaximum": 10**12,
    "pattern": r"^[0-9]{1,12}(\.[0-9]{1,6})?$",
}
COUNT = {
    "type": ["integer", "string"],
    "minimum": 0,
    "maximum": fields.LARGEST_COUNT,
    "pattern": "^(0?[0-9]{1,15}|10{15})$",
}
CURRENCY = {"type": "string", "pattern": "^[A-Za-z]{3}$"}
INSTANT = {"type": "string", "anyOf": [{"format": "date-time"}, {"format": "date"}]}
DATE, READING = ({"type": "string", "format": name} for name in ("date", "date-time"))
URL = {
    "type": "string",
    "format": "uri",
    "pattern": r"^\s*[Hh][Tt][Tt][Pp][Ss]?://[^/?#\s]",
    "maxLength": fields.TEXT_BYTES,
}
TARGET = {
    **URL,
    "pattern": r"^[Hh][Tt][Tt][Pp][Ss]?://[^/?#\s]\S*$",
    "maxLength": fields.TARGET_CHARACTERS,
}
TARGETS = {"type": "array", "items": TARGET, "maxItems": fields.LINKS}
OBJECT = {"type": "object", "maxProperties": fields.PROPS_KEYS}
_LINE_AMOUNT = {
    "type": ["number", "string", "null"],
    "exclusiveMinimum": -(10**12),
    "exclusiveMaximum": 10**12,
    "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,6})?$",
}
LINES = {
    "type": "array",
    "maxItems": fields.ITEMS,
    "items": {"properties": {"value": _LINE_AMOUNT, "price": _LINE_AMOUNT}},
}
SCALE = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
SCORE = {"type": ["number", "string", "boolean"]}
GROUP = {"type": "string", "enum": ["brand", "category"]}

_AT = "When it happened: RFC 3339 with an offset, or a date (its start in the site's zone)."

COMMON = (
    Field("id", fields.identity, ID, "The client's id: the same id counts once for 30 days."),
    Field("kind", fields.as_given, TEXT, "What the event is; may be left out at a typed door."),
    Field("occurred_at", fields.instant, INSTANT, f"{_AT} Left out: now."),
    Field("sent_at", fields.reading, READING, "When sent, by the same clock; it is put right."),
    Field("site", fields.own_site, TEXT, "The site's slug; keys of a site may leave it out."),
    Field("visitor", fields.identity, ID, "The client's id of the visitor; kept as a hash."),
    Field("customer", fields.hashed("customer"), ID, "Who bought; kept as a hash.", "customer"),
    Field("lead", fields.hashed("lead"), ID, "Who showed interest; kept as a hash.", "lead"),
    Field("source", fields.text, TEXT, "Who sent the visitor, such as google or newsletter."),
    Field("medium", fields.text, TEXT, "By which means, such as cpc, email, social."),
    Field("campaign", fields.text, TEXT, "The campaign's name."),
    Field("content", fields.text, TEXT, "Which advertisement or link."),
    Field("term", fields.text, TEXT, "The keyword that was paid for."),
    Field("url", fields.url, URL, "The page; only host and path are kept."),
    Field("referrer", fields.referrer, TEXT, "The page before; its host decides the channel."),
    Field("consent", fields.boolean, BOOLEAN, "Whether the visitor may be recognised for days."),
    Field("props", fields.props, OBJECT, "The client's own data, at most 8 levels deep.", "props"),
)
"""What every kind may carry; a kind's own field of the same name stands instead."""

_DAYS = (
    Field("date", fields.day, DATE, "The day in the site's zone; or give `from` and `to`."),
    Field("from", fields.day, DATE, "First day of a period; figures are spread over its days."),
    Field("to", fields.day, DATE, "Last day of the period, at most 366 days in all."),
)
_CURRENCY = Field(
    "currency", fields.currency, CURRENCY, "ISO 4217, such as DKK.", "currency", required=True
)
_LEAD = Field("lead", fields.hashed("lead"), ID, "The lead's id; kept as a hash.", "lead")
_ITEMS = (
    "The order's lines: objects with `product` (or `sku`, `id`, `name`), `quantity` and `value`"
    " (of the line) or `price` (of one piece)."
)
_QUANTITY = "Number of {} of a day or a file without ids."


def _nothing(_values: Values) -> Mapping[str, Any]:
    return {}


def _order(values: Values) -> Mapping[str, Any]:
    found = lines_of(values["items"]) if "items" in values else {}
    return found if "quantity" in values else {"quantity": 1, **found}


@dataclass(frozen=True)
class KindRules:
    """The table of one kind.

    `either` are groups of fields of which exactly one must be given, and given whole; `place`
    gives the dimension; `identity` is the field that identifies an event without `id`.
    """

    kind: Kind
    about: str
    own: tuple[Field, ...]
    example: Mapping[str, Any]
    either: tuple[tuple[str, ...], ...] = ()
    place: Place = dimensions.of_fields
    judge: Judge = _nothing
    statement: Statement | None = None
    identity: str = ""

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """Every field that the kind takes, its own ones first."""
        own = {field.name: field for field in self.own}
        return own | {field.name: field for field in COMMON if field.name not in own}

    @cached_property
    def parsers(self) -> dict[str, Parser]:
        """The parser of every field by name."""
        return {field.name: field.parse for field in self.fields.values()}

    @cached_property
    def required(self) -> tuple[str, ...]:
        """Names of the fields that must be given."""
        return tuple(field.name for field in self.own if field.required)

    @cached_property
    def number(self) -> int:
        """The kind as the log stores it."""
        return int(self.kind)

    @cached_property
    def about_days(self) -> bool:
        """Whether its time is that of the days it is about."""
        return self.statement is not None and bool(self.statement.spread)

    @cached_property
    def is_email(self) -> bool:
        """Whether it is about a mail."""
        return self.kind in EMAIL_KINDS

    @cached_property
    def is_by_reader(self) -> bool:
        """Whether a mail's reader does it, or a machine in the reader's place."""
        return self.kind in {Kind.EMAIL_OPENED, Kind.EMAIL_CLICKED}

    @cached_property
    def stored(self) -> tuple[tuple[str, str], ...]:
        """Field and member of the data, for all that is stored as it was parsed."""
        return tuple((f.name, f.stored) for f in self.fields.values() if f.stored)

    @cached_property
    def stored_opted_out(self) -> tuple[tuple[str, str], ...]:
        """As `stored`, without the ids that would join an opted-out event to a journey."""
        own = {field.name for field in self.own}
        return tuple((f, m) for f, m in self.stored if f in own or f not in {"customer", "lead"})


_PAGE_VIEW = KindRules(
    Kind.PAGE_VIEW,
    "Somebody looked at a page.",
    (
        Field("url", fields.url, URL, "The page, with its utm tags if it has any.", required=True),
        Field("title", fields.title, TEXT, "The page's title.", "title"),
    ),
    {"url": "https://shop.example/shoes?utm_source=google&utm_medium=cpc", "title": "Shoes"},
    place=dimensions.of_view,
)

_MESSAGE = (
    Field(
        "message", fields.hashed("message"), ID,
        "One mail to one recipient; kept as a hash.", "message", required=True,
    ),
    Field("recipient", fields.hashed("recipient"), ID, "Its reader; kept as a hash.", "recipient"),
    Field("link", fields.link, URL, "What was clicked; kept without its query.", "link"),
    Field("machine", fields.boolean, BOOLEAN, "Software did it, not the reader."),
)  # fmt: skip
_LINKS = Field(
    "links", fields.targets, TARGETS, "Links of the mail; the answer has their click URLs."
)

_EMAIL_ABOUT = {
    Kind.EMAIL_SENT: "A mail was handed over for delivery.",
    Kind.EMAIL_DELIVERED: "The receiving server took a mail.",
    Kind.EMAIL_BOUNCED: "A mail could not be delivered.",
    Kind.EMAIL_OPENED: "A mail was opened.",
    Kind.EMAIL_CLICKED: "A link in a mail was clicked.",
    Kind.EMAIL_UNSUBSCRIBED: "A reader wants no more mails.",
    Kind.EMAIL_COMPLAINED: "A reader called a mail spam.",
}


def _email(kind: Kind) -> KindRules:
    return KindRules(
        kind,
        _EMAIL_ABOUT[kind],
        (*_MESSAGE, _LINKS) if kind is Kind.EMAIL_SENT else _MESSAGE,
        {"kind": kind.label, "message": "m-1", "campaign": "newsletter-19"},
        place=dimensions.assuming("email"),
    )


_SALES = (
    KindRules(
        Kind.LEAD,
        "Somebody showed interest.",
        (_LEAD, Field("quantity", fields.count, COUNT, _QUANTITY.format("leads"), "quantity")),
        {"lead": "crm-881", "source": "linkedin", "campaign": "webinar"},
        either=(("lead",), ("quantity",)),
    ),
    KindRules(
        Kind.CONVERSION,
        "An order or another paid outcome.",
        (
            Field("order", fields.hashed("order"), ID, "The order's id; kept as a hash.", "order"),
            Field("quantity", fields.count, COUNT, _QUANTITY.format("orders"), "quantity"),
            Field("value", fields.amount, AMOUNT, "What was paid.", "value", required=True),
            _CURRENCY,
            Field("customer", fields.hashed("customer"), ID, "Kept as a hash.", "customer"),
            Field("new_customer", fields.boolean, BOOLEAN, "Their first order ever.", "new"),
            _LEAD,
            Field("cost_of_goods", fields.amount, AMOUNT, "What the goods cost.", "cost"),
            Field("items", fields.items, LINES, _ITEMS, "items"),
        ),
        {"order": "B-17", "value": "1299.00", "currency": "DKK", "customer": "c-42"},
        either=(("order",), ("quantity",)),
        judge=_order,
        identity="order",
    ),
    KindRules(
        Kind.REFUND,
        "Money of an order was given back.",
        (
            Field(
                "order", fields.hashed("order"), ID,
                "The order's id; kept as a hash.", "order", required=True,
            ),
            Field("value", fields.amount, AMOUNT, "What was given back.", "value", required=True),
            _CURRENCY,
        ),
        {"kind": "refund", "order": "B-17", "value": "300.00", "currency": "DKK"},
    ),
)  # fmt: skip

_SURVEY_NAMES = f"{', '.join(surveys.NAMES)}, or a name of your own."

_SURVEY_ANSWER = KindRules(
    Kind.SURVEY_ANSWER,
    "One answer to one question.",
    (
        Field("survey", surveys.name, NAME, _SURVEY_NAMES, "survey", required=True),
        Field(
            "score", fields.as_given, SCORE,
            "A number on the scale; true or false for awareness.", required=True,
        ),
        Field("scale", fields.as_given, SCALE, "Lowest and highest score; default by survey."),
        Field("question", fields.text, TEXT, "What was asked.", "question"),
        Field("respondent", fields.hashed("respondent"), ID, "Kept as a hash.", "respondent"),
        Field("text", fields.text, TEXT, "What was written beside the score.", "text"),
    ),
    {"survey": "nps", "score": 9, "respondent": "c-42"},
    place=dimensions.of_survey,
    judge=surveys.judge,
)  # fmt: skip


def _count(name: str, about: str, *, required: bool = False) -> Field:
    return Field(name, fields.count, COUNT, about, name, required=required)


_STATEMENTS = (
    KindRules(
        Kind.AD_SPEND,
        "What advertising cost: the last word on a source, its other tags and a day.",
        (
            Field("source", fields.name, NAME, "Where the money went.", required=True),
            *_DAYS,
            Field("cost", fields.amount, AMOUNT, "What it cost.", "cost", required=True),
            _CURRENCY,
            _count("impressions", "How often it was shown."),
            _count("clicks", "How often it was clicked."),
            _count("invalid_clicks", "Clicks that the platform found to be no person's."),
            _count("viewable", "Impressions that were seen, of those that were measurable."),
            _count("measurable", "Impressions of which it could be told whether they were seen."),
        ),
        {"source": "google", "campaign": "spring", "date": "2026-05-01", "cost": "480.50",
         "currency": "DKK", "clicks": 212},
        either=(("date",), ("from", "to")),
        place=dimensions.assuming("cpc"),
        statement=statements.AD_SPEND,
    ),
    KindRules(
        Kind.SOCIAL_POST,
        "How a post was received: the last word on a network and post.",
        (
            Field("network", fields.name, NAME, "Such as instagram; the source.", required=True),
            Field("post", fields.identity, ID, "The post's id in its network.", required=True),
            _count("likes", "Likes and other reactions.", required=True),
            _count("comments", "Comments.", required=True),
            _count("shares", "Shares.", required=True),
            _count("followers", "Followers when it was posted.", required=True),
            _count("reach", "Persons who saw it."),
            _count("impressions", "How often it was shown."),
        ),
        {"network": "instagram", "post": "p-1", "likes": 120, "comments": 9, "shares": 4,
         "followers": 5300},
        place=dimensions.of_post,
        statement=statements.SOCIAL_POST,
    ),
    KindRules(
        Kind.SEARCH_VOLUME,
        "How often a brand was searched for: the last word on a term, group and day.",
        (
            Field("term", fields.name, NAME, "What was searched for.", required=True),
            Field(
                "group", fields.group, GROUP,
                "Own brand, or the other brands of the category.", "group", required=True,
            ),
            *_DAYS,
            _count("volume", "How many searches.", required=True),
        ),
        {"term": "kompas", "group": "brand", "from": "2026-05-01", "to": "2026-05-31",
         "volume": 880},
        either=(("date",), ("from", "to")),
        place=dimensions.of_search,
        statement=statements.SEARCH_VOLUME,
    ),
)  # fmt: skip

_CUSTOM = KindRules(
    Kind.CUSTOM,
    "Anything else worth counting.",
    (
        Field("name", fields.name, NAME, "What happened.", "name", required=True),
        Field("value", fields.amount, AMOUNT, "What it was worth.", "value"),
        _CURRENCY._replace(required=False),
    ),
    {"kind": "custom", "name": "brochure_downloaded"},
    place=dimensions.of_custom,
)

KINDS: Mapping[Kind, KindRules] = {
    rules.kind: rules
    for rules in (
        _PAGE_VIEW,
        *map(_email, EMAIL_KINDS),
        *_SALES,
        _SURVEY_ANSWER,
        *_STATEMENTS,
        _CUSTOM,
    )
}

DOORS: Mapping[Kind, tuple[Kind, ...]] = {
    Kind.EMAIL_SENT: EMAIL_KINDS,
    Kind.CONVERSION: (Kind.CONVERSION, Kind.REFUND),
}
"""The kinds that a typed door takes besides its own; without `kind` an event is of its own."""
