"""The events as JSON Schema (2020-12, as OpenAPI 3.1 takes it), made from the tables of `kinds`.

A schema says what is accepted; members that are null count as left out, which it does not repeat
for every field.
"""

from __future__ import annotations

from typing import Any

from service.domain.kinds import Kind
from service.ingest.kinds import KINDS, KindRules

Schema = dict[str, Any]


def event_schema(kind: Kind) -> Schema:
    """One event of this kind, where `kind` may be left out: a typed door's own kind."""
    return _schema(KINDS[kind], named=False)


def any_event_schema() -> Schema:
    """One event of any kind, told by its `kind`."""
    return {"oneOf": [_schema(rules, named=True) for rules in KINDS.values()]}


def _schema(rules: KindRules, *, named: bool) -> Schema:
    label = rules.kind.label
    properties = {
        name: {**field.schema, "description": field.about} for name, field in rules.fields.items()
    }
    properties["kind"] = {"const": label, "description": properties["kind"]["description"]}
    example = {"kind": label, **rules.example} if named else dict(rules.example)
    schema: Schema = {
        "title": label,
        "description": rules.about,
        "type": "object",
        "properties": properties,
        "required": [*(["kind"] if named else []), *rules.required],
        "additionalProperties": False,
        "examples": [example],
    }
    if rules.either:
        schema["oneOf"] = [_group(group, rules) for group in rules.either]
    return schema


def _group(group: tuple[str, ...], rules: KindRules) -> Schema:
    """This group is given, and nothing of the others: each must rule the others out."""
    others = sorted({name for other in rules.either if other != group for name in other})
    return {"required": list(group), "properties": dict.fromkeys(others, False)}
