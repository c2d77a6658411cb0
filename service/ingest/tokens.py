"""Mail tokens: signed addresses of open pixels and click redirects.

A token is `1.<key>.<site>.<body>.<mac>`: the version, the id of the signing key, the site's slug,
base64url of a JSON object of claims, and base64url of the first 16 bytes of an HMAC-SHA256 over
the purpose and everything before the MAC. The key of the HMAC is derived for each site, so that a
mailer can mint its own site's tokens offline: docs/reference/tokens.md is the rule.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from service.ingest.fields import ID_CHARACTERS, is_target
from service.kit import json
from service.store.secrets import SigningKey

VERSION = "1"
LONGEST = 4096
"""Characters of a token; also what bounds the work of refusing one."""
MAC_BYTES = 16
TAGS = ("source", "medium", "campaign", "content", "term")

_SITE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKEN = re.compile(
    rf"({VERSION}\.([0-9]{{1,5}})\.({_SITE.pattern})\.([A-Za-z0-9_-]+))\.([A-Za-z0-9_-]{{22}})"
)


class Purpose(StrEnum):
    """What a token may be used for; it is part of what is signed."""

    OPEN = "open"
    CLICK = "click"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified token says: the site's slug, and fields of the event to record.

    `fields` holds `message`, what is given of `TAGS`, and for a click `link`: its target.
    """

    site: str
    fields: dict[str, str] = field(repr=False)

    @property
    def target(self) -> str:
        """Where a click leads; '' for an open."""
        return self.fields.get("link", "")


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _site_key(key: SigningKey, site: str) -> str:
    return _encode(hmac.digest(key.secret, f"kompas tokens of {site}".encode(), hashlib.sha256))


def _mac(site_key: str, purpose: Purpose, signed: str) -> str:
    digest = hmac.digest(site_key.encode(), f"{purpose}.{signed}".encode(), hashlib.sha256)
    return _encode(digest[:MAC_BYTES])


def _claims_of(body: str) -> Any:
    try:
        return json.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))[0]
    except ValueError:  # also JsonError, and base64 that is none
        return None


def _fits(claims: Any, purpose: Purpose) -> bool:
    """Whether the claims are those of this purpose: a mailer may sign nonsense."""
    return (
        isinstance(claims, dict)
        and all(isinstance(value, str) for value in claims.values())
        and claims.keys() <= {"message", "link", *TAGS}
        and 0 < len(claims.get("message", "")) <= ID_CHARACTERS
        and ("link" in claims) == (purpose is Purpose.CLICK)
        and (purpose is Purpose.OPEN or is_target(claims["link"]))
    )


class TokenSigner:
    """Mints with the newest key, verifies with all of them; `keys` are newest first."""

    def __init__(self, keys: tuple[SigningKey, ...]) -> None:
        self._newest = keys[0]
        self._keys = {str(key.id): key for key in keys}

    def site_secret(self, site: str) -> str:
        """What a mailer mints the site's tokens with: `<key>.<slug>.<secret>`."""
        return f"{self._newest.id}.{site}.{_site_key(self._newest, site)}"

    def mint_open(self, site: str, message: str, **tags: str) -> str:
        """The token of a message's open pixel; `tags` are any of `TAGS`.

        ValueError when the claims are not acceptable, or the token longer than `LONGEST`.
        """
        return self._mint(Purpose.OPEN, site, {"message": message, **tags})

    def mint_click(self, site: str, message: str, target: str, **tags: str) -> str:
        """The token of one link in a message; `target` is an http(s) address. See `mint_open`."""
        return self._mint(Purpose.CLICK, site, {"message": message, "link": target, **tags})

    def _mint(self, purpose: Purpose, site: str, claims: dict[str, str]) -> str:
        claims = {name: value for name, value in claims.items() if value}
        if not _fits(claims, purpose) or not _SITE.fullmatch(site):
            raise ValueError(
                "a token holds a slug, a message, tags, and for a click an http(s) link"
            )
        body = _encode(json.dumps(claims).encode("utf-8", "replace"))
        signed = f"{VERSION}.{self._newest.id}.{site}.{body}"
        token = f"{signed}.{_mac(_site_key(self._newest, site), purpose, signed)}"
        if len(token) > LONGEST:
            raise ValueError(f"a token has at most {LONGEST} characters")
        return token

    def verify(self, token: str, purpose: Purpose | str) -> Claims | None:
        """The claims of a token of ours (or of a mailer's with the site's secret), or None.

        Never raises for any text, and looks at nothing longer than `LONGEST`.
        """
        match = _TOKEN.fullmatch(token) if len(token) <= LONGEST else None
        key = None if match is None else self._keys.get(match[2])
        if match is None or key is None:
            return None
        purpose = Purpose(purpose)
        signed, _, site, body, mac = match.groups()
        if not hmac.compare_digest(_mac(_site_key(key, site), purpose, signed), mac):
            return None
        claims = _claims_of(body)
        return Claims(site, claims) if _fits(claims, purpose) else None
