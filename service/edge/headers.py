"""A request's headers as the doors read them, and the key among them."""

from __future__ import annotations

from collections.abc import Mapping

from service.errors import UnauthorizedError
from service.kit.http import bearer

RequestHeaders = Mapping[bytes, bytes]
"""Lower-case names; of several headers of one name the last."""

PUBLIC = "pk_"
_KEYS = (PUBLIC, "sk_")


def presented_key(headers: RequestHeaders, query_key: str | None) -> str | None:
    """The key of `Authorization: Bearer …`, or else that of `?k=`.

    A header without a key of ours in it (`Bearer None`, some proxy's Basic) does not win over
    `?k=`. Raises UnauthorizedError for a secret key in the query: addresses end up in logs.
    """
    if b"authorization" in headers:
        key = bearer({"authorization": headers[b"authorization"].decode("latin-1")})
        if query_key is None or (key and key.startswith(_KEYS)):
            return key
    if query_key is not None and not query_key.startswith(PUBLIC):
        raise UnauthorizedError(
            "Only a public key (pk_…) may be sent as `k`; send a secret one as"
            " `Authorization: Bearer <key>`."
        )
    return query_key
