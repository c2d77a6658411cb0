"""One request's decoded events become rows of the log, or refusals; nothing else can happen.

Every event goes the same way: its kind, its fields (a table per kind, see `kinds`), what the kind
says about fields together, then time, visitor, flags, dimension and detail. All of it is pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from asyncpg.pgproto.pgproto import UUID  # see hashing

from service.domain.events import LogRow, Refusal, Submission
from service.domain.kinds import Flag, Kind
from service.ingest import fields
from service.ingest.context import Context
from service.ingest.details import detail_of
from service.ingest.dimensions import Values
from service.ingest.kinds import DOORS, KINDS, KindRules
from service.ingest.refusals import RefusalCode as Code
from service.ingest.refusals import RefusedError, clip, hint, payload_of, pointer
from service.ingest.skew import WRONG_DAY, Corrected, corrected
from service.kit import json
from service.kit.json import JsonError

MOST_ROWS = 20_000
"""Rows of one request: statements over months multiply, and a batch numbers its rows in 15 bits."""

PUBLIC_KINDS = frozenset(
    {Kind.PAGE_VIEW, Kind.LEAD, Kind.CONVERSION, Kind.SURVEY_ANSWER, Kind.CUSTOM}
)
"""What a public key may send: it could otherwise replace a shop's statements, or refund orders."""

_NO_TIME = timedelta(0)
_MICROSECOND = timedelta(microseconds=1)

# As numbers: arithmetic with enum members costs more than the rest of the decision.
_BOT, _CONSENT, _MACHINE = int(Flag.BOT), int(Flag.CONSENT), int(Flag.MACHINE)
_DATED, _OPTED_OUT = int(Flag.DATED), int(Flag.OPTED_OUT)
_REPAIRED, _SKEWED, _CORRECTED = int(Flag.REPAIRED), int(Flag.SKEWED), int(Flag.CORRECTED)

_BY_LABEL = {kind.label: rules for kind, rules in KINDS.items()}
_FIELDS = frozenset(name for rules in KINDS.values() for name in rules.fields)
_HEX = "[0-9a-fA-F]"
_UUID = re.compile(f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}")


def normalise(objects: Sequence[Any], context: Context) -> Submission:
    """The rows of one request, what they refer to, and refusals.

    Each position ends as rows or as a refusal. `objects` are decoded events; a JsonError
    stands for one that could not be decoded.
    """
    submission = Submission(context.site.id, context.door)
    for position, value in enumerate(objects):
        try:
            _take(position, value, context, submission)
        except RefusedError as error:
            submission.refusals.append(_refusal(position, value, error, context))
    return submission


def _refusal(position: int, value: Any, error: RefusedError, context: Context) -> Refusal:
    payload = payload_of(value, _FIELDS)
    message, field = error.message, ""
    if error.field is not None:
        end = "" if message.endswith("?") else "."
        way = (error.field, *error.inside)
        message = f"`{clip('/'.join(way)[:64])}` {message}{end}"
        field = "".join(map(pointer, way))
    return Refusal(position, error.code.value, message, field, payload, _kind_of(value, context))


def _kind_of(value: Any, context: Context) -> int:
    label = value.get("kind") if isinstance(value, dict) else None
    said = _BY_LABEL.get(label) if isinstance(label, str) else None
    return said.number if said else context.kind or 0


def _take(position: int, value: Any, context: Context, submission: Submission) -> None:
    rules = _rules_for(value, context)
    _check_key(rules, context)
    values = _parsed(value, rules, context)
    _check_complete(values, rules)
    at, shift = _when(value, values, rules, context)
    data = _data(values, rules, context)
    if shift:
        data["corrected"] = shift // _MICROSECOND
    visitor = _visitor(values, rules, at, context)
    flags = _flags(values, rules, at, context) | _clock_flags(values, at, shift, context)
    key = _key(values, rules, context)
    dim_id, dimension = rules.place(values, context.site.rules)
    detail_id, detail = detail_of(values, context)
    rows, number = submission.rows, rules.number
    if rules.statement is None:
        _check_room(len(rows) + 1)
        rows.append(
            LogRow(position, number, at, visitor, dim_id, detail_id, flags, key, _text(data))
        )
    else:
        _check_room(len(rows) + rules.statement.rows(values))
        rows += [
            LogRow(position, number, moment, visitor, dim_id, detail_id, flags, key, _text(piece))
            for moment, piece in rules.statement.pieces(values, dimension, (at, data), context)
        ]
    submission.corrected += bool(shift)
    if detail_id:
        submission.details[detail_id] = detail
    if dim_id:
        submission.dimensions[dim_id] = dimension


def _rules_for(value: Any, context: Context) -> KindRules:
    if not isinstance(value, dict):
        if isinstance(value, JsonError):
            raise RefusedError(Code.INVALID_JSON, clip(value.message))
        raise RefusedError(Code.WRONG_TYPE, "An event must be an object.")
    label = value.get("kind")
    if label is None:
        if context.kind is None:
            raise RefusedError(Code.MISSING_FIELD, "is required at this door", "kind")
        return KINDS[context.kind]
    if not isinstance(label, str):
        raise RefusedError(Code.WRONG_TYPE, "must be a text", "kind")
    rules = _BY_LABEL.get(label)
    if rules is None:
        meant = hint(label[:64], tuple(_BY_LABEL))
        message = "must be a kind of event that exists" + (f".{meant}" if meant else "")
        raise RefusedError(Code.UNKNOWN_KIND, message, "kind")
    if context.kind is not None:
        taken = DOORS.get(context.kind, (context.kind,))
        if rules.kind not in taken:
            names = " or ".join(f"`{kind.label}`" for kind in taken)
            raise RefusedError(Code.WRONG_KIND, f"must be {names} at this door", "kind")
    return rules


def _check_key(rules: KindRules, context: Context) -> None:
    if context.public and rules.kind not in PUBLIC_KINDS:
        raise RefusedError(
            Code.SECRET_KEY_NEEDED,
            f"may not be `{rules.kind.label}` with a public key, which everybody can read",
            "kind",
        )


def _parsed(event: dict[str, Any], rules: KindRules, context: Context) -> dict[str, Any]:
    parsers = rules.parsers
    values = {}
    for name, item in event.items():
        if item is None:
            continue
        parse = parsers.get(name)
        if parse is None:
            meant = hint(name[:64], tuple(parsers))
            message = f"is no field of a `{rules.kind.label}`" + (f".{meant}" if meant else "")
            raise RefusedError(Code.UNKNOWN_FIELD, message, name)
        try:
            values[name] = parse(item, context)
        except RefusedError as error:
            error.field = name
            raise
    return values


def _check_complete(values: Values, rules: KindRules) -> None:
    for name in rules.required:
        if name not in values:
            raise RefusedError(Code.MISSING_FIELD, f"is required in a `{rules.kind.label}`", name)
    if rules.either:
        _check_either(values, rules)


def _check_either(values: Values, rules: KindRules) -> None:
    given = [group for group in rules.either if any(name in values for name in group)]
    if len(given) > 1:
        first, second = (next(name for name in group if name in values) for group in given[:2])
        raise RefusedError(Code.CONFLICTING_FIELDS, f"cannot stand beside `{first}`", second)
    group = given[0] if given else rules.either[0]
    missing = [name for name in group if name not in values]
    if missing:
        ways = ", or ".join(" with ".join(f"`{name}`" for name in way) for way in rules.either)
        message = f"is required in a `{rules.kind.label}`: it takes {ways}"
        raise RefusedError(Code.MISSING_FIELD, message, missing[0])


def _when(event: dict[str, Any], values: Values, rules: KindRules, context: Context) -> Corrected:
    """When it happened, by our clock; RefusedError where no event may be dated."""
    said = values.get("occurred_at")
    if said is None:
        return Corrected(context.now, _NO_TIME)
    found = Corrected(said, _NO_TIME)
    if fields.is_date(event["occurred_at"]):
        return found  # people's, as no clock has said it, with bounds of its own
    if "sent_at" in values and not rules.about_days:
        found = corrected(said, values["sent_at"], context.now)
    try:
        fields.bounded(found.at, context)
    except RefusedError as error:
        error.field = "occurred_at"
        raise
    return found


def _data(values: Values, rules: KindRules, context: Context) -> dict[str, Any]:
    stored = rules.stored_opted_out if context.opted_out else rules.stored
    data = {member: values[name] for name, member in stored if name in values}
    if "url" in values:
        data["page"] = values["url"].text
    data.update(rules.judge(values))
    if "value" in data:
        # Only custom events may leave it out: an amount always has a currency.
        data.setdefault("currency", context.site.currency)
    return data


def _text(data: dict[str, Any]) -> str:
    try:
        return json.dumps(data)
    except (TypeError, ValueError) as error:
        raise RefusedError(Code.NOT_STORABLE, "The event holds what JSON cannot.") from error


def _visitor(values: Values, rules: KindRules, at: datetime, context: Context) -> int:
    """Who it was, as decision 9 allows: nobody, one who agreed, or one of a day."""
    if context.opted_out:
        return 0
    visitor = values.get("visitor")
    if visitor is not None:
        if values.get("consent"):
            return context.keyring.visitor(visitor)
        return context.passing_visitor(visitor, at)
    # A mail program is not the browser that visits the site, and its reader did not ask to be one.
    if not context.browser or rules.is_email:
        return 0
    return context.sender_now if at is context.now else context.passing_visitor("", at)


def _flags(values: Values, rules: KindRules, at: datetime, context: Context) -> int:
    flags = 0
    if context.opted_out:
        flags |= _OPTED_OUT
    elif values.get("consent"):
        flags |= _CONSENT
    if context.repaired:
        flags |= _REPAIRED
    if at is not context.now or rules.about_days:
        flags |= _DATED
    if rules.is_by_reader:
        machine = context.machine
        flags |= _BOT if machine and context.bot else 0
        flags |= _MACHINE if machine or values.get("machine") else 0
    elif context.bot:
        flags |= _BOT
    return flags


def _clock_flags(values: Values, at: datetime, shift: timedelta, context: Context) -> int:
    if shift:
        return _CORRECTED | (_SKEWED if abs(shift) > WRONG_DAY else 0)
    if "sent_at" in values or not context.browser:
        return 0
    # A server reports late and means it; a browser sends what happens.
    return _SKEWED if abs(context.now - at) > WRONG_DAY else 0


def _key(values: Values, rules: KindRules, context: Context) -> UUID | None:
    given = values.get("id")
    if given is not None:
        return UUID(given) if _UUID.fullmatch(given) else context.keyring.uuid("event", given)
    return UUID(values[rules.identity]) if values.get(rules.identity) else None


def _check_room(rows: int) -> None:
    if rows > MOST_ROWS:
        raise RefusedError(
            Code.TOO_MANY_ROWS,
            f"A request may make {MOST_ROWS} rows, one for each day of a statement;"
            " send this event in another one.",
        )
