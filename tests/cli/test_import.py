"""`kompas import`: how rows become events, and what an operator is told when something is wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from service.cli.importer import (
    BATCH_ROWS,
    DOORS,
    STATEMENTS,
    TRIES,
    WHOLE_NUMBERS,
    YES_OR_NO,
    Columns,
    import_file,
    read_events,
)
from service.errors import StartupError
from tests.running import free_port

ORDERS = Columns({"customer": "Customer", "value": "Amount"}, {"currency": "DKK", "quantity": "1"})


def events(text: str, columns: Columns = ORDERS, kind: str = "conversions") -> list[dict[str, Any]]:
    return list(read_events(StringIO(text, newline=""), kind, columns, ","))


# --- Rows and events --------------------------------------------------------------------------


def test_cells_become_typed_fields() -> None:
    columns = Columns(
        {"quantity": "n", "value": "v", "new_customer": "new", "score": "s", "campaign": "c"}, {}
    )
    rows = events('n,v,new,s,c\n12,"1299.00",Yes,4.5, x \n-3,1e3,no,٣,\n', columns, "leads")
    for row in rows:
        del row["id"]
    assert rows == [
        {"quantity": 12, "value": "1299.00", "new_customer": True, "score": "4.5", "campaign": "x"},
        # What is no number stays a text, which the service refuses with the reason.
        {"quantity": -3, "value": "1e3", "new_customer": False, "score": "٣"},
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["²", "--5", "5-", "1.0", "9" * 5000, "ja", "1 000"])
def test_no_cell_breaks_the_reader(text: str) -> None:
    for field in ("quantity", "new_customer"):
        assert events(f"x\n{text}\n", Columns({field: "x"}, {}), "leads")[0][field] == text


def test_amounts_are_never_read_as_numbers() -> None:
    """They stay decimal texts: a float would lose digits on the way."""
    money = {"value", "cost", "cost_of_goods"}
    assert not money & (WHOLE_NUMBERS | YES_OR_NO)
    row = events("Customer,Amount\nc-1,0.10\n")[0]
    assert row["value"] == "0.10"


def test_fixed_values_fill_blank_cells() -> None:
    columns = Columns({"source": "Source"}, {"source": "google", "medium": "cpc"})
    rows = events("Source\nbing\n \n", columns, "ad-spend")
    assert rows == [{"source": "bing", "medium": "cpc"}, {"source": "google", "medium": "cpc"}]


def test_short_long_and_empty_lines() -> None:
    rows = events("Customer,Amount\nc-1\n\nc-2,5,surplus\n")
    assert [(row.get("customer"), row.get("value")) for row in rows] == [
        ("c-1", None),
        ("c-2", "5"),
    ]


def test_column_names_may_have_blanks_around_them() -> None:
    assert events(" Customer , Amount\nc-1,5\n")[0]["value"] == "5"


def test_a_missing_column_is_named_with_those_there_are() -> None:
    with pytest.raises(StartupError) as caught:
        events("Kunde,Sum\nc-1,5\n")
    assert str(caught.value) == (
        "The file has no column 'Customer' for the field 'customer'; its columns are: Kunde, Sum."
    )
    with pytest.raises(StartupError, match="no column"):
        events("")


# --- Ids --------------------------------------------------------------------------------------


def test_ids_are_made_of_the_content() -> None:
    """A change here would count every file that was imported before a second time."""
    first, second = (row["id"] for row in events("Customer,Amount\nc-1,5\nc-1,5\n"))
    assert first == "import:6d7c7da51b5f2ffefd68451b637632ec08d6f13d3f8cbb04e31ae69d69d22df2"
    assert second.startswith("import:")
    assert second != first


def test_the_same_file_gives_the_same_ids_and_equal_rows_differ() -> None:
    text = "Customer,Amount\nc-1,5\nc-1,5\nc-2,5\nc-1,5\n"
    first, second = events(text), events(text)
    assert first == second
    assert len({row["id"] for row in first}) == 4


def test_the_order_of_rows_and_columns_does_not_matter() -> None:
    one = {row["id"] for row in events("Customer,Amount\nc-1,5\nc-2,7\nc-1,5\n")}
    other = {row["id"] for row in events("Amount,Customer\n7,c-2\n5,c-1\n5,c-1\n")}
    assert one == other


def test_more_rows_at_the_end_leave_the_first_ones_alone() -> None:
    before = events("Customer,Amount\nc-1,5\n")
    after = events("Customer,Amount\nc-1,5\nc-1,5\n")
    assert after[:1] == before


def test_what_has_an_identity_of_its_own_gets_no_id() -> None:
    assert "id" not in events("o\nB-17\n", Columns({"order": "o"}, {}))[0]
    assert events("o\nmine\n", Columns({"id": "o"}, {}))[0]["id"] == "mine"
    for kind in STATEMENTS:
        assert "id" not in events("o\n5\n", Columns({"cost": "o"}, {}), kind)[0]


def test_one_row_as_two_kinds_is_two_events() -> None:
    columns = Columns({"quantity": "n"}, {})
    assert events("n\n5\n", columns, "leads") != events("n\n5\n", columns, "conversions")


CELLS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=6)


@given(st.lists(st.tuples(CELLS, CELLS), max_size=12))
def test_every_row_is_an_event_with_an_id_of_its_own(rows: list[tuple[str, str]]) -> None:
    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("Customer", "Amount"))
    writer.writerows(rows)
    made = events(text.getvalue())
    assert len(made) == len(rows)
    assert len({row["id"] for row in made}) == len(rows)
    for (customer, amount), row in zip(rows, made, strict=True):
        assert row.get("customer", "") == customer.strip()
        assert row.get("value", "") == amount.strip()


# --- The command ------------------------------------------------------------------------------


class Doors(HTTPServer):
    """Stands where Kompas would: gives prepared answers and keeps what it was sent."""

    def __init__(self, answers: list[tuple[int, object]]) -> None:
        super().__init__(("127.0.0.1", 0), Door)
        self.answers = answers
        self.sent: list[tuple[str, str, Any]] = []
        self.methods: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Door(BaseHTTPRequestHandler):
    server: Doors

    def do_PUT(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Authorization"]
        self.server.sent.append((self.path, key, json.loads(body)))
        self.server.methods.append(self.command)
        if not self.server.answers:
            return  # hangs up without a word
        status, answer = self.server.answers.pop(0)
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing: pytest shows what matters."""


@contextmanager
def doors(*answers: tuple[int, object]) -> Iterator[Doors]:
    with Doors(list(answers)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def counted(accepted: int, duplicates: int = 0, *rejected: dict[str, object]) -> dict[str, object]:
    return {"accepted": accepted, "duplicates": duplicates, "rejected": rejected}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "leads.csv"
    path.write_text("\ufeffLead\nl-1\nl-2\n", encoding="utf-8")  # as spreadsheets save it
    return path


def imported(file: Path, url: str, kind: str = "leads", **options: Any) -> None:
    import_file(kind, file, **{"mapping": ["lead=Lead"], "key": "sk_x", "url": url, **options})


def test_a_file_goes_through_its_door(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with doors((200, counted(1, 1))) as server:
        imported(file, f"{server.url}/", fixed=["source=linkedin"])
    ((path, key, sent),) = server.sent
    assert (path, key) == ("/v1/leads", "Bearer sk_x")
    assert [(row["lead"], row["source"]) for row in sent] == [
        ("l-1", "linkedin"),
        ("l-2", "linkedin"),
    ]
    assert capsys.readouterr().out == "1 accepted, 1 duplicates, 0 rejected\n"


def test_refused_rows_are_listed_with_their_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "leads.csv"
    path.write_text("Lead\n" + "x\n" * (BATCH_ROWS + 3))
    refusal = {"index": 2, "code": "too_long", "message": "`lead` must be shorter."}
    with (
        doors((200, counted(BATCH_ROWS - 1, 0, refusal)), (422, counted(0, 0, refusal))) as server,
        pytest.raises(typer.Exit) as caught,
    ):
        imported(path, server.url)
    assert caught.value.exit_code == 1
    assert [len(sent) for *_, sent in server.sent] == [BATCH_ROWS, 3]
    out, err = capsys.readouterr()
    assert out == f"{BATCH_ROWS - 1} accepted, 0 duplicates, 2 rejected\n"
    assert err.splitlines() == [
        "row 3: too_long: `lead` must be shorter.",
        f"row {BATCH_ROWS + 3}: too_long: `lead` must be shorter.",
    ]


def test_it_waits_while_the_service_asks_for_it(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with doors((503, {}), (429, b"slow down"), (200, counted(2))) as server:
        imported(file, server.url)
    assert len({json.dumps(sent) for *_, sent in server.sent}) == 1
    assert len(server.sent) == 3
    assert "2 accepted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ([(401, {"code": "unauthorized", "message": "Nobody knows this key."})],
         r"^The service answered 401: Nobody knows this key\.$"),
        ([(502, b"<html>Bad Gateway</html>")], r"^The service answered 502: Bad Gateway$"),
        ([(500, ["odd"])], r"^The service answered 500: Internal Server Error$"),
        ([(503, {"message": "Full."})] * TRIES, r"^The service answered 503: Full\.$"),
    ],
)  # fmt: skip
def test_answers_that_end_the_import(
    file: Path, answers: list[tuple[int, object]], sentence: str
) -> None:
    with doors(*answers) as server, pytest.raises(StartupError, match=sentence):
        imported(file, server.url)
    assert server.answers == []


def test_no_service_is_one_sentence(file: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(StartupError, match=rf"^No Kompas answers at {url}/v1/leads: .*refused\.$"):
        imported(file, url)


def test_a_connection_that_breaks_is_not_the_files_fault(file: Path) -> None:
    with doors() as server, pytest.raises(StartupError, match=r"^No Kompas answers at"):
        imported(file, server.url)


# --- Exchange rates ---------------------------------------------------------------------------


def test_rates_are_put_with_their_days(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("day,base,quote,rate\n2026-03-02,EUR,DKK,7.4604\n2026-03-03,EUR,DKK,7.46\n")
    with doors((200, {"stored": 2})) as server:
        imported(path, server.url, "fx-rates", mapping=None)
    assert server.methods == ["PUT"]
    assert server.sent == [
        (
            "/v1/fx-rates",
            "Bearer sk_x",
            {
                "rates": [
                    {"base": "EUR", "quote": "DKK", "day": "2026-03-02", "rate": "7.4604"},
                    {"base": "EUR", "quote": "DKK", "day": "2026-03-03", "rate": "7.46"},
                ]
            },
        )
    ]
    assert capsys.readouterr().out == "2 accepted, 0 duplicates, 0 rejected\n"


def test_columns_of_rates_may_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("Dato;Kurs\n2026-03-02;7.4604\n")
    fixed = ["base=EUR", "quote=DKK"]
    with doors((200, {"stored": 1})) as server:
        mapping = ["day=Dato", "rate=Kurs"]
        imported(path, server.url, "fx-rates", mapping=mapping, fixed=fixed, delimiter=";")
    rate = {"base": "EUR", "quote": "DKK", "day": "2026-03-02", "rate": "7.4604"}
    assert server.sent[0][2] == {"rates": [rate]}
    with pytest.raises(StartupError, match="no column 'day' for the field 'day'"):
        imported(path, "http://127.0.0.1:9", "fx-rates", mapping=None, fixed=fixed, delimiter=";")


def test_rates_that_are_refused_are_not_stored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rates.csv"
    path.write_text("day,base,quote,rate\n" + "2026-03-02,EUR,DKK,x\n" * (BATCH_ROWS + 3))
    refusal = {"code": "invalid", "message": "The member 'rates/2/rate' is not acceptable."}
    sentence = (
        "The service answered 422: The member 'rates/2/rate' is not acceptable."
        f" Rows {BATCH_ROWS + 1} to {BATCH_ROWS + 3} are not stored."
    )
    answers = (200, {"stored": BATCH_ROWS}), (422, refusal)
    with doors(*answers) as server, pytest.raises(StartupError) as caught:
        imported(path, server.url, "fx-rates", mapping=None)
    assert str(caught.value) == sentence
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "lead"}, "Unknown kind 'lead'; one of: ad-spend, conversions, emails"),
        ({"key": ""}, "A key is needed: --key sk_… or the environment variable KOMPAS_KEY"),
        ({"url": "localhost:8000"}, "--url takes an http or https address, not 'localhost:8000'"),
        ({"url": "file:///etc/passwd"}, "--url takes an http or https address"),
        ({"delimiter": ""}, "--delimiter takes one character"),
        ({"delimiter": "tab"}, "--delimiter takes one character"),
        ({"mapping": ["lead"]}, "--map takes field=value, for example --map cost=Spend"),
        ({"fixed": ["=x"]}, "--set takes field=value"),
        ({"fixed": ["source="]}, "--set takes field=value"),
        ({"mapping": ["lead=Kunde"]}, "no column 'Kunde' for the field 'lead'"),
    ],
)
def test_wrong_options_are_one_sentence(file: Path, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(StartupError) as caught:
        imported(file, **{"url": "http://127.0.0.1:9", **options})
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match=r"Cannot read .*missing\.csv"):
        imported(tmp_path / "missing.csv", "http://127.0.0.1:9")
    path = tmp_path / "latin.csv"
    path.write_bytes("Lead\næble\n".encode("latin-1"))
    with pytest.raises(StartupError, match=r"Cannot read .*utf-8"):
        imported(path, "http://127.0.0.1:9")
    path.write_text("Lead\n" + "x" * 200_000)
    with pytest.raises(StartupError, match=r"Cannot read .*field larger than field limit"):
        imported(path, "http://127.0.0.1:9")


def test_semicolons_and_tabs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "leads.csv"
    for delimiter in (";", "\t"):
        path.write_text(f"Lead{delimiter}Kilde\nl-1{delimiter}bing\n")
        with doors((200, counted(1))) as server:
            imported(path, server.url, mapping=["lead=Lead", "source= Kilde"], delimiter=delimiter)
        ((*_, sent),) = server.sent
        assert (sent[0]["lead"], sent[0]["source"]) == ("l-1", "bing")
    assert "1 accepted" in capsys.readouterr().out


def test_every_door_of_the_contract_can_be_imported_into() -> None:
    assert set(DOORS.values()) == {
        *("/v1/events", "/v1/conversions", "/v1/leads", "/v1/survey-answers", "/v1/ad-spend"),
        *("/v1/emails", "/v1/social-posts", "/v1/search-volumes", "/v1/fx-rates"),
    }
    assert set(DOORS) >= STATEMENTS
