"""Who may do what: scopes, and the principal that a key stands for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Scope(StrEnum):
    """What a key allows. `public` keys (`pk_…`) may only write, and may be seen by anybody."""

    PUBLIC = "public"
    INGEST = "ingest"
    READ = "read"
    ADMIN = "admin"


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
