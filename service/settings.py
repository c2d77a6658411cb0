"""Every setting of Kompas: environment variables with the prefix `KOMPAS_`, and nothing else.

An empty variable counts as unset. No `.env` file is read. Only the composition roots see this
module; everything below is handed the values it needs.
"""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from service.errors import StartupError

ENV_PREFIX = "KOMPAS_"

WINDOW_PRESETS = (
    "today", "yesterday",
    "last_7_days", "last_28_days", "last_30_days", "last_90_days", "last_365_days",
    "this_week", "last_week", "this_month", "last_month",
    "this_quarter", "last_quarter", "this_year", "last_year",
)  # fmt: skip

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def default_data_dir() -> Path:
    """Where Kompas keeps its database when nobody says otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/kompas")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "kompas"
    shared = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification says that a relative path is to be ignored.
    home = Path(shared) if Path(shared).is_absolute() else Path.home() / ".local" / "share"
    return home / "kompas"


def _default_log_format() -> Literal["json", "console"]:
    return "console" if sys.stderr.isatty() else "json"


def _parts(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _must_be(what: str) -> dict[str, Any]:
    return {"must_be": what}


class Settings(BaseSettings):
    """The whole configuration; `must_be` of a field says in words what is right."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    database_url: str | None = Field(
        None,
        repr=False,
        description="An external Postgres (15 or newer); unset means the embedded one.",
        json_schema_extra=_must_be("a URL such as postgresql://user:password@host:5432/kompas"),
    )
    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="Folder for the embedded database, and for the spool.",
        json_schema_extra=_must_be("the path of a folder"),
    )
    spool_dir: Path = Field(
        default_factory=lambda known: known["data_dir"] / "spool",
        description="Folder for events that Postgres does not take; unset: `spool` in the data"
        " folder. Processes that use one database may share it.",
        json_schema_extra=_must_be("the path of a folder"),
    )
    spool_mb: int = Field(
        1024,
        ge=0,
        le=1024 * 1024,
        description="Largest size of the spool in MiB, for each process; 0: no spool, so that"
        " events are refused when Postgres does not take them.",
        json_schema_extra=_must_be("whole mebibytes from 0 to 1048576"),
    )
    host: str = Field(
        "127.0.0.1",
        pattern=r"^[\w.:%-]+$",
        description="Address to listen on; 0.0.0.0 for every interface.",
        json_schema_extra=_must_be("an IP address or a host name"),
    )
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        description="TCP port to listen on; 0 lets the system choose.",
        json_schema_extra=_must_be("a port number from 0 to 65535"),
    )
    bootstrap_admin_key: SecretStr | None = Field(
        None,
        description="An admin key to create at the first start.",
        json_schema_extra=_must_be("a key that starts with sk_ and has at least 24 characters"),
    )
    default_timezone: str = Field(
        "Europe/Copenhagen",
        description="IANA time zone of a site that names none.",
        json_schema_extra=_must_be("an IANA time zone such as Europe/Copenhagen"),
    )
    default_currency: str = Field(
        "DKK",
        pattern=r"^[A-Z]{3}$",
        description="ISO 4217 reporting currency of a site that names none.",
        json_schema_extra=_must_be("three capital letters such as DKK"),
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = Field(
        (),
        description="Proxies whose X-Forwarded-For is believed: IPs and CIDRs, comma-separated.",
        json_schema_extra=_must_be("IP addresses or CIDR ranges such as 10.0.0.0/8,::1"),
    )
    country_header: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9-]+$",
        description="Header in which a trusted proxy says the visitor's country; unset: none.",
        json_schema_extra=_must_be("the name of a header such as CF-IPCountry"),
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        "warning",
        description="Lowest level that is logged.",
        json_schema_extra=_must_be("one of debug, info, warning, error, critical"),
    )
    log_format: Literal["json", "console"] = Field(
        default_factory=_default_log_format,
        description="Form of a log line; unset: console on a terminal, json elsewhere.",
        json_schema_extra=_must_be("json or console"),
    )
    metrics_windows: Annotated[tuple[str, ...], NoDecode] = Field(
        ("today", "yesterday", "last_7_days", "last_30_days", "this_month", "last_month"),
        min_length=1,
        description="Windows published on /metrics, comma-separated.",
        json_schema_extra=_must_be(f"a comma-separated list out of {', '.join(WINDOW_PRESETS)}"),
    )
    metrics_refresh_seconds: int = Field(
        60,
        ge=1,
        le=86400,
        description="Seconds between two refreshes of the numbers on /metrics.",
        json_schema_extra=_must_be("whole seconds from 1 to 86400"),
    )
    metrics_token: SecretStr | None = Field(
        None,
        min_length=16,
        description="Bearer token that /metrics demands; unset: none.",
        json_schema_extra=_must_be("a token of at least 16 characters"),
    )
    read_wait_ms: int = Field(
        2000,
        ge=0,
        le=60000,
        description="Milliseconds a read waits at most for earlier events to be counted.",
        json_schema_extra=_must_be("whole milliseconds from 0 to 60000"),
    )
    public_url: str | None = Field(
        None,
        description="Where browsers reach this service; used in printed pixel tags.",
        json_schema_extra=_must_be("an http or https URL such as https://stats.example.dk"),
    )
    worker: bool = Field(
        True,
        description="Whether `kompas serve` also projects events and refreshes /metrics.",
        json_schema_extra=_must_be("true or false"),
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        ("*",),
        description="Origins whose pages may send events from a browser, comma-separated.",
        json_schema_extra=_must_be("* or origins such as https://www.example.dk"),
    )

    kpi_dir: Path | None = Field(
        None,
        description="Folder with TOML files of your own KPIs; unset: none.",
        json_schema_extra=_must_be("the path of a folder"),
    )

    @model_validator(mode="before")
    @classmethod
    def _ignore_service_links(cls, values: dict[str, Any]) -> dict[str, Any]:
        # Kubernetes puts KOMPAS_PORT=tcp://10.0.0.7:8000 into every pod beside a Service called
        # "kompas": that is not somebody's setting, and must not stop the start.
        if str(values.get("port", "")).startswith("tcp://"):
            values = {key: value for key, value in values.items() if key != "port"}
        return values

    @field_validator("metrics_windows", "cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return _parts(value)

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        # strict=False: 10.0.0.7/8 is what people write, and what it means is clear.
        return tuple(ipaddress.ip_network(part, strict=False) for part in _parts(value))

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: str | None) -> str | None:
        if value is None:
            return None
        scheme, separator, rest = value.partition("://")
        if scheme not in ("postgresql", "postgres") or not separator or not rest:
            raise ValueError("not a Postgres URL")
        return f"postgresql://{rest}"

    @field_validator("data_dir", "spool_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        try:
            return value.expanduser().absolute()
        except RuntimeError as error:  # a home directory that nobody knows
            raise ValueError("not a folder") from error

    @field_validator("bootstrap_admin_key")
    @classmethod
    def _admin_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"sk_[\x21-\x7e]{21,}", value.get_secret_value()):
            raise ValueError("not a secret key")
        return value

    @field_validator("default_timezone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (OSError, ValueError, LookupError) as error:  # a folder, "../x", an unknown name
            raise ValueError("not a time zone") from error
        return value

    @field_validator("metrics_windows")
    @classmethod
    def _presets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= set(WINDOW_PRESETS):
            raise ValueError("not a window")
        return tuple(dict.fromkeys(value))

    @field_validator("public_url")
    @classmethod
    def _web(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError("not a web address")
        return value.rstrip("/")

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        origins = tuple(origin.rstrip("/") for origin in value)
        if not all(re.fullmatch(r"\*|https?://[\w.:\[\]-]+", origin) for origin in origins):
            raise ValueError("not an origin")
        return origins

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first (the command line), then the environment; no files."""
        return init_settings, env_settings


def load_settings(**given: Any) -> Settings:
    """Read the environment; `given` (from the command line) wins over it.

    Raises `StartupError` with one sentence that names the variable and what would be right; the
    value itself is shown unless it may hold a secret.
    """
    try:
        return Settings(**given)
    except ValidationError as error:
        raise StartupError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0])
    field = Settings.model_fields.get(name)
    if field is None:
        return f"There is no setting {ENV_PREFIX}{name.upper()}."
    shown = "" if _may_be_secret(field) else f", not {_shown(name, first['input'])}"
    extra = field.json_schema_extra
    right = extra["must_be"] if isinstance(extra, dict) else "something else"
    return f"{ENV_PREFIX}{name.upper()} must be {right}{shown}."


def _may_be_secret(field: FieldInfo) -> bool:
    return not field.repr or "SecretStr" in str(field.annotation)


def _shown(name: str, value: Any) -> str:
    # A list was split already: the variable is shown as it was typed.
    return repr(os.environ.get(f"{ENV_PREFIX}{name.upper()}", value))
