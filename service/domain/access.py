"""Who may do what: scopes, and the principal that a key stands for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from service.errors import ForbiddenError, NotFoundError, UnauthorizedError

SLUG = "[a-z0-9-]{1,63}"
"""What a site's slug looks like: it stands in keys' answers, queries and mail tokens."""


class Scope(StrEnum):
    """What a key allows. `public` keys (`pk_…`) may only write, and may be seen by anybody."""

    PUBLIC = "public"
    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"


class ChannelRule(NamedTuple):
    """A site's own rule: touches that match get `channel`; '' matches anything.

    Patterns are compared in lower case; a `*` at the end stands for any rest.
    """

    channel: str
    source: str = ""
    medium: str = ""
    campaign: str = ""


class SiteRules(NamedTuple):
    """What a site decides for itself.

    `fiscal_month` is the month in which its year begins (1 to 12). A touch is credited within
    `lookback_days` before the conversion. Figures are provisional until `late_hours` after the
    window's end. `props` are the declared props that answers can be broken down by. `own_hosts`
    never count as a referrer; `channels` come before the general rules.
    """

    fiscal_month: int = 1
    lookback_days: int = 30
    late_hours: int = 24
    props: tuple[str, ...] = ()
    own_hosts: tuple[str, ...] = ()
    channels: tuple[ChannelRule, ...] = ()


NO_RULES = SiteRules()
"""What holds for a site that decided nothing."""


@dataclass(frozen=True, slots=True)
class Site:
    """The tracked property, as far as a request needs it.

    `secret` keys the hashes of personal ids, so that they mean nothing outside this site.
    """

    id: int
    slug: str
    timezone: str
    currency: str
    secret: bytes
    rules: SiteRules = NO_RULES


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated key: its own site (an admin key may name another) and its scopes."""

    key_id: int
    site: Site
    scopes: frozenset[Scope]

    def allows(self, scope: Scope) -> bool:
        """Admin allows everything; ingest includes public."""
        if Scope.ADMIN in self.scopes or scope in self.scopes:
            return True
        return scope is Scope.PUBLIC and Scope.INGEST in self.scopes


class Authenticator(Protocol):
    """Turns a presented key into a principal; the composition root provides one."""

    async def principal(self, key: str) -> Principal | None:
        """The key's principal, or None when nobody knows the key."""
        ...

    async def site(self, slug: str) -> Site | None:
        """The site of that slug, or None."""
        ...


_LONGEST = 256
"""Characters of a key or slug: nothing longer is looked up."""


async def authorized(access: Authenticator, key: str | None, scope: Scope) -> Principal:
    """Who the key stands for, if that may do what `scope` says.

    Raises UnauthorizedError without a key or for one that nobody knows, ForbiddenError for a
    known key without the scope.
    """
    if not key:
        raise UnauthorizedError("A key is needed: send the header `Authorization: Bearer <key>`.")
    principal = await access.principal(key) if len(key) <= _LONGEST else None
    if principal is None:
        raise UnauthorizedError("Nobody knows this key: it is mistyped, or was revoked.")
    if not principal.allows(scope):
        raise ForbiddenError(f"This key does not have the scope `{scope}`.", scope=str(scope))
    return principal


async def site_of(access: Authenticator, principal: Principal, slug: str | None) -> Site:
    """The site that a request is about: the key's own, or the one that an admin key names.

    Raises ForbiddenError when another key names another site, NotFoundError (`unknown_site`).
    """
    if not slug or slug == principal.site.slug:
        return principal.site
    if Scope.ADMIN not in principal.scopes:
        raise ForbiddenError("Only a key with the scope `admin` may name another site.")
    site = await access.site(slug) if slug.isprintable() and len(slug) <= _LONGEST else None
    if site is None:
        raise NotFoundError(f"There is no site {slug[:64]!r}.", code="unknown_site")
    return site
