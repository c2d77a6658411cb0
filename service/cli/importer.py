"""`kompas import KIND FILE`: rows of a CSV file become events, sent through the HTTP doors.

The file goes the same way as everybody's events: same checks, same answers, nothing special.
Exchange rates go through their own door, which takes all rows of a request or none.
"""

from __future__ import annotations

import csv
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, TextIO
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import typer

from service.errors import StartupError

BATCH_ROWS = 500
TRIES = 6
FX_RATES = "fx-rates"
RATE_FIELDS = ("base", "quote", "day", "rate")
DOORS = {
    "ad-spend": "/v1/ad-spend",
    "conversions": "/v1/conversions",
    "emails": "/v1/emails",
    "leads": "/v1/leads",
    "search-volumes": "/v1/search-volumes",
    "social-posts": "/v1/social-posts",
    "survey-answers": "/v1/survey-answers",
    "events": "/v1/events",
    FX_RATES: "/v1/fx-rates",
}
# A newer statement replaces the older one, so importing these files twice is harmless by itself.
STATEMENTS = {"ad-spend", "search-volumes", "social-posts", FX_RATES}
WHOLE_NUMBERS = {
    *("quantity", "impressions", "clicks", "likes", "comments", "shares"),
    *("followers", "reach", "volume", "score"),
}
YES_OR_NO = {"consent", "machine", "new_customer"}
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_SAID = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@dataclass(frozen=True)
class Columns:
    """Where each field of an event comes from: a column of the file, or a fixed value."""

    mapped: Mapping[str, str]
    fixed: Mapping[str, str]

    def check(self, header: Iterable[str]) -> None:
        """StartupError when the file has no column of a mapped name."""
        known = list(header)
        for field, column in self.mapped.items():
            if column not in known:
                raise StartupError(
                    f"The file has no column '{column}' for the field '{field}';"
                    f" its columns are: {', '.join(known)}."
                )

    def event(self, row: Mapping[str, str | None]) -> dict[str, Any]:
        """The event of one row; blank cells are left out."""
        cells = {field: (row.get(column) or "").strip() for field, column in self.mapped.items()}
        texts = {**self.fixed, **{field: cell for field, cell in cells.items() if cell}}
        return {field: _typed(field, text) for field, text in texts.items()}


def _typed(field: str, text: str) -> object:
    """JSON types for the fields that need one; amounts stay decimal strings, which are exact.

    What is none of its field's type stays a text: the service refuses it and says why.
    """
    if field in WHOLE_NUMBERS:
        return int(text) if _WHOLE.fullmatch(text) else text
    if field in YES_OR_NO:
        return _SAID.get(text.lower(), text)
    return text


def _pairs(options: list[str], name: str) -> dict[str, str]:
    pairs = {}
    for option in options:
        field, equals, value = option.partition("=")
        if not (field and equals and value):
            raise StartupError(f"--{name} takes field=value, for example --{name} cost=Spend.")
        pairs[field.strip()] = value.strip()
    return pairs


def columns_of(kind: str, mapped: Mapping[str, str], fixed: Mapping[str, str]) -> Columns:
    """Where the fields come from; those of a rate, when nobody says, from columns of their name."""
    named = RATE_FIELDS if kind == FX_RATES else ()
    return Columns({name: name for name in named if name not in fixed} | dict(mapped), fixed)


def read_events(file: TextIO, kind: str, columns: Columns, delimiter: str) -> Iterator[Any]:
    """The events of a CSV file, each with an id made of its content where the kind needs one.

    The same file imported twice gives the same ids, so the second import changes nothing; rows
    that are equal within one file are told apart by how often they occurred before.
    """
    reader = csv.DictReader(file, delimiter=delimiter)
    reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
    columns.check(reader.fieldnames)
    seen: Counter[str] = Counter()
    for row in reader:
        event = columns.event(row)
        if kind not in STATEMENTS and not {"id", "order"} & event.keys():
            content = f"{kind}:{json.dumps(event, sort_keys=True)}"
            event["id"] = "import:" + sha256(f"{content}#{seen[content]}".encode()).hexdigest()
            seen[content] += 1
        yield event


def _request(url: str, key: str, kind: str, rows: list[Any]) -> Request:
    is_rates = kind == FX_RATES
    return Request(  # noqa: S310 -- the operator's own address, http or https as given
        url.rstrip("/") + DOORS[kind],
        data=json.dumps({"rates": rows} if is_rates else rows).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        method="PUT" if is_rates else "POST",
    )


def _send(request: Request) -> dict[str, Any]:
    """One batch's answer; waits and tries again while the service asks for it."""
    for left in reversed(range(TRIES)):
        try:
            with urlopen(request, timeout=60) as answer:  # noqa: S310 -- as above
                return dict(json.load(answer))
        except HTTPError as error:
            if error.code in {429, 503} and left:
                time.sleep(int(error.headers.get("Retry-After", "1")))
                continue
            body = _decoded(error.read())
            if "rejected" in body:
                return body
            said = body.get("message", error.reason)
            raise StartupError(f"The service answered {error.code}: {said}") from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise StartupError(f"No Kompas answers at {request.full_url}: {reason}.") from None
    raise StartupError(f"The service at {request.full_url} stays busy; try again later.")


def _decoded(body: bytes) -> dict[str, Any]:
    """An error's JSON object; empty for anything else, such as the page of a proxy."""
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _batches(events: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(events, BATCH_ROWS)):
        yield batch


def _events_of(file: Path, kind: str, columns: Columns, delimiter: str) -> Iterator[Any]:
    """As `read_events`; StartupError when the file cannot be read."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            yield from read_events(text, kind, columns, delimiter)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StartupError(f"Cannot read {file}: {error}.") from None


def _check(kind: str, url: str, key: str, delimiter: str) -> None:
    """StartupError for the first option that cannot be right."""
    if kind not in DOORS:
        raise StartupError(f"Unknown kind '{kind}'; one of: {', '.join(sorted(DOORS))}.")
    if not key:
        raise StartupError("A key is needed: --key sk_… or the environment variable KOMPAS_KEY.")
    if not url.startswith(("http://", "https://")):
        raise StartupError(f"--url takes an http or https address, not '{url}'.")
    if len(delimiter) != 1:
        raise StartupError("--delimiter takes one character, for example --delimiter ';'.")


def _note(answer: Mapping[str, Any], counts: Counter[str]) -> None:
    """Add a batch's answer to the counts, and print its refusals by their rows in the file."""
    for refusal in answer["rejected"]:
        row = counts["rows"] + refusal["index"] + 1
        typer.echo(f"row {row}: {refusal['code']}: {refusal['message']}", err=True)
    counts["accepted"] += answer["accepted"]
    counts["duplicates"] += answer["duplicates"]
    counts["rejected"] += len(answer["rejected"])


def _send_rates(request: Request, rows: range) -> Mapping[str, Any]:
    """As `_send`, in the words of the other doors; StartupError says which rows are not stored."""
    try:
        stored = _send(request)["stored"]
    except StartupError as error:
        raise StartupError(f"{error} Rows {rows[0]} to {rows[-1]} are not stored.") from None
    return {"accepted": stored, "duplicates": 0, "rejected": ()}


def _summarise(counts: Counter[str]) -> None:
    """Print the sums; a refused row makes the command fail."""
    said = (f"{counts[name]} {name}" for name in ("accepted", "duplicates", "rejected"))
    typer.echo(", ".join(said))
    if counts["rejected"]:
        raise typer.Exit(1)


def import_file(  # noqa: PLR0917 -- the library hands options in by name
    kind: Annotated[str, typer.Argument(help=f"One of: {', '.join(sorted(DOORS))}.")],
    file: Annotated[Path, typer.Argument(help="A CSV file with a header line.")],
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="field=Column, as often as needed.")
    ] = None,
    fixed: Annotated[
        list[str] | None, typer.Option("--set", help="field=value for every row.")
    ] = None,
    url: Annotated[str, typer.Option(help="Where Kompas answers.")] = "http://127.0.0.1:8000",
    key: Annotated[
        str,
        typer.Option(
            envvar="KOMPAS_KEY", help="A secret key with the scope ingest; for rates, admin."
        ),
    ] = "",
    delimiter: Annotated[str, typer.Option(help="What separates the cells.")] = ",",
) -> None:
    """Send a spreadsheet's rows as events, for example:

    kompas import ad-spend ads.csv --map date=Day --map cost=Spend --map campaign=Campaign
    --set source=google --set currency=DKK
    """
    _check(kind, url, key, delimiter)
    columns = columns_of(kind, _pairs(mapping or [], "map"), _pairs(fixed or [], "set"))
    counts: Counter[str] = Counter()
    for batch in _batches(_events_of(file, kind, columns, delimiter)):
        request = _request(url, key, kind, batch)
        rows = range(counts["rows"] + 1, counts["rows"] + len(batch) + 1)
        _note(_send_rates(request, rows) if kind == FX_RATES else _send(request), counts)
        counts["rows"] += len(batch)
    _summarise(counts)
