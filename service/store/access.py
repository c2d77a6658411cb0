"""Sites and keys: who a presented key stands for, and what an operator sets up.

A key is random enough (256 bits) that its plain SHA-256 cannot be turned back, and is found by
that digest: what a comparison could leak by its duration says nothing about the key.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from sqlalchemy import Row, Select, cast, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.domain.access import NO_RULES, ChannelRule, Principal, Scope, Site, SiteRules
from service.errors import ConflictError, InvalidError
from service.kit.clock import Clock, SystemClock
from service.store.engine import writing
from service.store.lookups import MOST_FOUND, Lookups
from service.store.partitions import LOCK_CLASS
from service.store.tables import api_key, site

TOKEN_BYTES = 32
SECRET_BYTES = 32
SHOWN_CHARACTERS = 11
"""Of a key, as its `prefix`: enough for a person to tell keys apart."""
LONGEST_KEY = 1024
FIRST_SITE = "default"
LOCK_BOOTSTRAP = 2

MISSING_SECONDS = 2.0

_LISTS = ("props", "own_hosts", "channels")
"""Members of `SiteRules` that stand in the column `rules`."""

SITE_COLUMNS = (
    *(site.c.id, site.c.slug, site.c.timezone, site.c.currency, site.c.secret),
    *(site.c.fiscal_month, site.c.lookback_days, site.c.late_hours, site.c.rules),
)
"""What `site_of_row` needs of a site."""
_VALID_KEYS = (
    select(api_key.c.id.label("key_id"), api_key.c.digest, api_key.c.scopes, *SITE_COLUMNS)
    .join(site, site.c.id == api_key.c.site_id)
    .where(api_key.c.revoked_at.is_(None))
)
_LISTED = (*SITE_COLUMNS, site.c.name, site.c.created_at)


def digest(key: str) -> bytes:
    """What of a key is stored."""
    return sha256(key.encode("utf-8", "surrogatepass")).digest()


def rules_of_row(row: Row[*tuple[Any, ...]]) -> SiteRules:
    """What a site decided, from its columns."""
    listed = row.rules
    rules = SiteRules(
        row.fiscal_month,
        row.lookback_days,
        row.late_hours,
        tuple(listed.get("props", ())),
        tuple(listed.get("own_hosts", ())),
        tuple(ChannelRule(**rule) for rule in listed.get("channels", ())),
    )
    # The one object where nothing is decided: caches that have it in their keys compare it fastest.
    return NO_RULES if rules == NO_RULES else rules


def site_of_row(row: Row[*tuple[Any, ...]]) -> Site:
    """The site of a row that has `SITE_COLUMNS`."""
    return Site(row.id, row.slug, row.timezone, row.currency, row.secret, rules_of_row(row))


def _columns_of(rules: SiteRules) -> dict[str, Any]:
    return {
        "fiscal_month": rules.fiscal_month,
        "lookback_days": rules.lookback_days,
        "late_hours": rules.late_hours,
        "rules": {
            "props": list(rules.props),
            "own_hosts": list(rules.own_hosts),
            "channels": [rule._asdict() for rule in rules.channels],
        },
    }


class KeyStore:
    """`Authenticator` on the database: cached, so that a request usually costs no query.

    A revoked key stops working within about five seconds. While the database is away, keys and
    sites that were known stay known, and RetryableError is raised for others.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock | None = None) -> None:
        self._engine = engine
        clock = clock or SystemClock()
        self._principals = Lookups(self._load_principals, clock, MISSING_SECONDS)
        # Only authenticated callers name sites, and one that was just made must be found.
        self._sites = Lookups(self._load_sites, clock, 0.0)

    async def start(self) -> None:
        """Know every key that works, so that an outage refuses none that was not used before it.

        Where there are more than the cache holds, the newest.
        """
        newest = _VALID_KEYS.order_by(api_key.c.id.desc()).limit(MOST_FOUND).subquery()
        self._principals.know(await self._read(select(newest).order_by(newest.c.key_id)))

    async def principal(self, key: str) -> Principal | None:
        """The key's principal, or None for a key that nobody knows or that was revoked."""
        if len(key) > LONGEST_KEY:
            return None
        return await self._principals.get(digest(key))

    async def site(self, slug: str) -> Site | None:
        """The site of that slug, or None."""
        if "\x00" in slug:
            return None
        return await self._sites.get(slug)

    def site_changed(self) -> None:
        """Look at sites anew: what was just changed here holds for the next request here."""
        self._principals.expire()
        self._sites.expire()

    async def _load_principals(self, digests: Sequence[bytes]) -> Mapping[bytes, Principal]:
        return await self._read(_VALID_KEYS.where(api_key.c.digest == func.any(list(digests))))

    async def _read(self, keys: Select[*tuple[Any, ...]]) -> Mapping[bytes, Principal]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(keys)
            return {
                bytes(row.digest): Principal(
                    row.key_id, site_of_row(row), frozenset(Scope(scope) for scope in row.scopes)
                )
                for row in rows
            }

    async def _load_sites(self, slugs: Sequence[str]) -> Mapping[str, Site]:
        query = select(*SITE_COLUMNS).where(site.c.slug == func.any(list(slugs)))
        async with self._engine.connect() as connection:
            return {row.slug: site_of_row(row) for row in await connection.execute(query)}


async def create_site(
    engine: AsyncEngine,
    slug: str,
    name: str,
    timezone: str,
    currency: str,
    *,
    rules: SiteRules = NO_RULES,
) -> Site:
    """Make a site with a secret of its own; ConflictError when the slug is taken."""
    async with writing(engine) as connection:
        made = await _make_site(connection, slug, name, timezone, currency, rules=rules)
    if made is None:
        raise ConflictError(f"There is a site '{slug}' already.", code="site_exists")
    return made


async def change_site(
    engine: AsyncEngine, slug: str, changes: Mapping[str, Any]
) -> Row[*tuple[Any, ...]] | None:
    """Change a site's `name` and fields of its `SiteRules`; it, as `list_sites` has it.

    None when there is no such site. Channels and hosts hold for events that come in from then on;
    a changed lookback is applied by the worker to what was credited already.
    """
    columns = {name: value for name, value in changes.items() if name not in _LISTS}
    lists = {name: changes[name] for name in _LISTS if name in changes}
    if "channels" in lists:
        lists["channels"] = [rule._asdict() for rule in lists["channels"]]
    columns["rules"] = site.c.rules.op("||")(cast(lists, JSONB))
    query = update(site).where(site.c.slug == slug).values(**columns).returning(*_LISTED)
    async with writing(engine) as connection:
        return (await connection.execute(query)).one_or_none()


async def _make_site(
    connection: AsyncConnection,
    slug: str,
    name: str,
    timezone: str,
    currency: str,
    *,
    rules: SiteRules = NO_RULES,
) -> Site | None:
    values = {
        "slug": slug,
        "name": name,
        "timezone": timezone,
        "currency": currency,
        "secret": secrets.token_bytes(SECRET_BYTES),
        # Nothing was credited yet, so nothing has to be credited again.
        "credited_days": rules.lookback_days,
        **_columns_of(rules),
    }
    query = upsert(site).values(values).on_conflict_do_nothing().returning(*SITE_COLUMNS)
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else site_of_row(row)


async def create_key(engine: AsyncEngine, site_id: int, name: str, scopes: frozenset[Scope]) -> str:
    """Make a key and answer it, this once: `pk_…` for scope public, otherwise `sk_…`.

    InvalidError without a scope, and for public together with another: what stands in a web page
    must not read.
    """
    if not scopes:
        raise InvalidError("A key needs at least one scope.", field="scopes")
    if Scope.PUBLIC in scopes and len(scopes) > 1:
        raise InvalidError("The scope public goes with no other scope.", field="scopes")
    async with writing(engine) as connection:
        return await _make_key(connection, site_id, name, scopes)


async def _make_key(
    connection: AsyncConnection, site_id: int, name: str, scopes: frozenset[Scope]
) -> str:
    key = f"{'pk' if Scope.PUBLIC in scopes else 'sk'}_{secrets.token_urlsafe(TOKEN_BYTES)}"
    await connection.execute(insert(api_key).values(_key_row(site_id, name, key, scopes)))
    return key


def _key_row(site_id: int, name: str, key: str, scopes: frozenset[Scope]) -> dict[str, Any]:
    return {
        "site_id": site_id,
        "name": name,
        "prefix": key[:SHOWN_CHARACTERS],
        "digest": digest(key),
        "scopes": sorted(scope.value for scope in scopes),
    }


async def revoke_key(engine: AsyncEngine, key_id: int) -> bool:
    """Make a key worthless, for good; whether there was such a key that still worked."""
    query = (
        update(api_key)
        .where(api_key.c.id == key_id, api_key.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    async with writing(engine) as connection:
        return bool((await connection.execute(query)).rowcount)


async def list_keys(engine: AsyncEngine) -> Sequence[Row[*tuple[Any, ...]]]:
    """Every key: `id`, `site` (slug), `prefix`, `scopes`, `name`, `created_at`, `revoked_at`."""
    query = (
        select(
            api_key.c.id,
            site.c.slug.label("site"),
            api_key.c.prefix,
            api_key.c.scopes,
            api_key.c.name,
            api_key.c.created_at,
            api_key.c.revoked_at,
        )
        .join(site, site.c.id == api_key.c.site_id)
        .order_by(api_key.c.id)
    )
    async with engine.connect() as connection:
        return (await connection.execute(query)).all()


async def list_sites(engine: AsyncEngine) -> Sequence[Row[*tuple[Any, ...]]]:
    """Every site: `SITE_COLUMNS`, `name`, `created_at`."""
    query = select(*_LISTED).order_by(site.c.id)
    async with engine.connect() as connection:
        return (await connection.execute(query)).all()


@dataclass(frozen=True, slots=True)
class FirstStart:
    """What the first start made; `public_key` is None when the operator brought an admin key."""

    public_key: str | None = field(repr=False)
    secret_key: str = field(repr=False)
    currency: str


async def bootstrap(
    engine: AsyncEngine, timezone: str, currency: str, admin_key: str | None
) -> FirstStart | None:
    """Make the site `default` and its keys in a database that has no site; None in any other.

    With `admin_key` that key is made instead, at every start at which it is not there: on the
    site `default`, or the oldest one. Once revoked it stays so. Processes that start together
    make everything once.
    """
    async with writing(engine) as connection:
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(:class, :lock)"),
            {"class": LOCK_CLASS, "lock": LOCK_BOOTSTRAP},
        )
        home = await _home_site(connection)
        is_first = home is None
        if home is None:
            made = await _make_site(connection, FIRST_SITE, "Default", timezone, currency)
            home = made.id if made else 0
        if admin_key is not None:
            await _bring_key(connection, home, admin_key)
            return FirstStart(None, admin_key, currency) if is_first else None
        return await _first_keys(connection, home, currency) if is_first else None


async def _home_site(connection: AsyncConnection) -> int | None:
    query = select(site.c.id).order_by(site.c.slug != FIRST_SITE, site.c.id).limit(1)
    home: int | None = await connection.scalar(query)
    return home


async def _bring_key(connection: AsyncConnection, site_id: int, key: str) -> None:
    row = _key_row(site_id, "bootstrap", key, frozenset({Scope.ADMIN}))
    await connection.execute(upsert(api_key).values(row).on_conflict_do_nothing())


async def _first_keys(connection: AsyncConnection, site_id: int, currency: str) -> FirstStart:
    public = await _make_key(connection, site_id, "first public", frozenset({Scope.PUBLIC}))
    scopes = frozenset({Scope.INGEST, Scope.READ, Scope.ADMIN})
    return FirstStart(public, await _make_key(connection, site_id, "first", scopes), currency)
