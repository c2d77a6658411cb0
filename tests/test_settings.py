from __future__ import annotations

import ipaddress
import os
from pathlib import Path

import pytest

from service.errors import StartupError
from service.settings import Settings, load_settings

KEY = "sk_" + "a" * 21


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("KOMPAS_"):
            monkeypatch.delenv(name)


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings()
    assert settings.model_dump(exclude={"data_dir", "spool_dir", "log_format"}) == {
        "database_url": None,
        "spool_mb": 1024,
        "host": "127.0.0.1",
        "port": 8000,
        "bootstrap_admin_key": None,
        "default_timezone": "Europe/Copenhagen",
        "default_currency": "DKK",
        "trusted_proxies": (),
        "country_header": None,
        "log_level": "warning",
        "metrics_windows": (
            "today", "yesterday", "last_7_days", "last_30_days", "this_month", "last_month",
        ),
        "metrics_refresh_seconds": 60,
        "metrics_token": None,
        "read_wait_ms": 2000,
        "public_url": None,
        "worker": True,
        "cors_origins": ("*",),
        "kpi_dir": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("database_url", "postgres://u:p@h/k?sslmode=require", "postgresql://u:p@h/k?sslmode=require"),
        ("database_url", "postgresql://u@/k?host=/run/pg", "postgresql://u@/k?host=/run/pg"),
        ("port", "9000", 9000),
        ("default_timezone", "America/New_York", "America/New_York"),
        ("default_currency", "EUR", "EUR"),
        ("trusted_proxies", "10.0.0.7/8, ::1",
         (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1"))),
        ("country_header", "CF-IPCountry", "CF-IPCountry"),
        ("log_level", "INFO", "info"),
        ("log_format", "Console", "console"),
        ("metrics_windows", "today, last_year,today", ("today", "last_year")),
        ("read_wait_ms", "0", 0),
        ("public_url", "https://stats.example.dk/", "https://stats.example.dk"),
        ("worker", "false", False),
        ("cors_origins", "https://a.dk,http://localhost:3000/", ("https://a.dk", "http://localhost:3000")),
    ],
)  # fmt: skip
def test_a_variable_is_read(
    name: str, typed: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"KOMPAS_{name.upper()}", typed)
    assert getattr(load_settings(), name) == value


@pytest.mark.parametrize(
    ("name", "typed", "right"),
    [
        ("database_url", "mysql://u:SECRET@h/k", "postgresql://user:password@host:5432/kompas"),
        ("database_url", "h/k", "postgresql://user:password@host:5432/kompas"),
        ("host", "not a host", "an IP address or a host name"),
        ("port", "70000", "a port number from 0 to 65535"),
        ("port", "http", "a port number from 0 to 65535"),
        ("bootstrap_admin_key", "sk_SECRET", "at least 24 characters"),
        ("bootstrap_admin_key", "pk_SECRET" + "a" * 30, "starts with sk_"),
        ("default_timezone", "Copenhagen", "an IANA time zone"),
        ("default_timezone", "../Denmark", "an IANA time zone"),
        ("default_timezone", "Europe", "an IANA time zone"),
        ("default_currency", "kr", "three capital letters"),
        ("trusted_proxies", "10.0.0.0/8,proxy", "CIDR ranges"),
        ("country_header", "CF IPCountry", "CF-IPCountry"),
        ("log_level", "loud", "one of debug, info, warning, error, critical"),
        ("log_format", "xml", "json or console"),
        ("metrics_windows", "today,tomorrow", "last_7_days"),
        ("metrics_windows", ",", "last_7_days"),
        ("metrics_refresh_seconds", "0", "whole seconds"),
        ("metrics_token", "SECRET", "at least 16 characters"),
        ("read_wait_ms", "2s", "whole milliseconds"),
        ("public_url", "stats.example.dk", "https://stats.example.dk"),
        ("worker", "perhaps", "true or false"),
        ("cors_origins", "example.dk", "https://www.example.dk"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_says_what_is_right(
    name: str, typed: str, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"KOMPAS_{name.upper()}", typed)
    with pytest.raises(StartupError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith(f"KOMPAS_{name.upper()} must be ")
    assert right in message
    assert "SECRET" not in message
    assert "\n" not in message
    assert ("SECRET" in typed) or (name == "database_url") or (typed in message)


def test_secrets_do_not_show_in_a_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMPAS_DATABASE_URL", "postgresql://u:SECRET@h/k")
    monkeypatch.setenv("KOMPAS_BOOTSTRAP_ADMIN_KEY", "sk_SECRET" + "a" * 20)
    monkeypatch.setenv("KOMPAS_METRICS_TOKEN", "SECRET" * 4)
    settings = load_settings()
    assert "SECRET" not in repr(settings)
    assert settings.bootstrap_admin_key is not None
    assert settings.bootstrap_admin_key.get_secret_value().startswith("sk_SECRET")


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"KOMPAS_{name.upper()}", "")
    assert load_settings().port == 8000


def test_the_service_link_of_kubernetes_is_not_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMPAS_PORT", "tcp://10.0.0.7:9000")
    assert load_settings().port == 8000


def test_no_env_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("KOMPAS_PORT=9999\n")
    monkeypatch.chdir(tmp_path)
    assert load_settings().port == 8000


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMPAS_PORT", "9000")
    assert load_settings(port=9001).port == 9001
    with pytest.raises(StartupError, match="There is no setting KOMPAS_COLOUR"):
        load_settings(colour="red")


@pytest.mark.parametrize(
    ("uid", "platform", "xdg", "expected"),
    [
        (0, "linux", "", "/var/lib/kompas"),
        (1000, "linux", "", "/home/anna/.local/share/kompas"),
        (1000, "linux", "/data/share", "/data/share/kompas"),
        (1000, "linux", "relative", "/home/anna/.local/share/kompas"),
        (1000, "darwin", "", "/home/anna/Library/Application Support/kompas"),
    ],
)
def test_the_data_directory_follows_the_user_and_the_system(
    uid: int, platform: str, xdg: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: uid)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("XDG_DATA_HOME", xdg)
    assert load_settings().data_dir == Path(expected)


def test_a_relative_data_directory_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KOMPAS_DATA_DIR", "state")
    assert load_settings().data_dir == tmp_path / "state"


def test_the_spool_is_in_the_data_directory_unless_it_is_said_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KOMPAS_DATA_DIR", "state")
    assert load_settings().spool_dir == tmp_path / "state" / "spool"
    monkeypatch.setenv("KOMPAS_SPOOL_DIR", "other")
    assert load_settings().spool_dir == tmp_path / "other"


@pytest.mark.parametrize(("tty", "expected"), [(True, "console"), (False, "json")])
def test_the_log_format_follows_the_terminal(
    tty: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: tty)
    assert load_settings().log_format == expected


def test_every_setting_is_described_and_says_what_is_right() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["must_be"], name


def test_a_long_enough_secret_key_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KOMPAS_BOOTSTRAP_ADMIN_KEY", KEY)
    key = load_settings().bootstrap_admin_key
    assert key is not None
    assert key.get_secret_value() == KEY
