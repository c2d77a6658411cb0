"""Keyed hashes of one site: what stands in the log instead of ids that lead to people.

BLAKE2b with the site's secret as key and the type of the id as personalisation, so that an order
number and a customer number of the same text have different hashes, and so have two sites.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

from asyncpg.pgproto.pgproto import UUID  # a uuid.UUID that is made in a tenth of the time

PERSONS = (
    "event",
    "order",
    "customer",
    "lead",
    "message",
    "recipient",
    "respondent",
    "statement",
    "visitor",
)
"""The types of ids; each has hashes of its own."""

SEPARATOR = "\x1f"
_SIGN = 1 << 63


class Keyring:
    """The hashes of the site with this secret (1 to 64 bytes)."""

    def __init__(self, secret: bytes) -> None:
        self._passing = blake2b(digest_size=16, key=secret, person=b"passing")
        self._bases = {
            person: blake2b(digest_size=16, key=secret, person=person.encode())
            for person in PERSONS
        }

    def digest(self, person: str, text: str) -> bytes:
        """16 bytes for an id of type `person`, one of `PERSONS`."""
        state = self._bases[person].copy()
        state.update(text.encode("utf-8", "replace"))
        return state.digest()

    def uuid(self, person: str, text: str) -> UUID:
        """The hash as the UUID that keys are stored as."""
        return UUID(self.digest(person, text))

    def text(self, person: str, text: str) -> str:
        """The hash in the form that `event.data` holds: 36 characters."""
        return dashed(self.digest(person, text))

    def visitor(self, text: str) -> int:
        """A visitor who agreed to be recognised: a signed 64-bit number, never 0."""
        return visitor_number(self.digest("visitor", text))

    def passing_visitor(self, salt: bytes, text: str) -> int:
        """A visitor of one day: `salt` is forgotten with the day, and the link with it."""
        state = self._passing.copy()
        state.update(salt)
        state.update(text.encode("utf-8", "replace"))
        return visitor_number(state.digest())


@lru_cache(maxsize=1024)
def keyring(secret: bytes) -> Keyring:
    """The keyring of a site's secret; a process has a few."""
    return Keyring(secret)


def dashed(digest: bytes) -> str:
    """16 bytes as the canonical text of a UUID."""
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def visitor_number(digest: bytes) -> int:
    """The first eight bytes as a signed number; 0 means "no visitor" and is never a hash."""
    number = int.from_bytes(digest[:8], signed=True)
    return number or _SIGN - 1
