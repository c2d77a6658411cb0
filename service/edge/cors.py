"""Which pages may read the answers of the doors from their scripts (Fetch standard, CORS).

Events of other pages still arrive: a browser sends simple requests without asking. No door uses
cookies, so credentials are never allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

from service.edge.headers import RequestHeaders

_DAY = "86400"


class Cors:
    """The headers for one list of allowed origins; `*` stands for every page."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._all = "*" in origins
        self._origins = frozenset(origins)

    def answer(self, headers: RequestHeaders) -> dict[str, str]:
        """Headers of an answer; none for a request that no page's script made."""
        origin = headers.get(b"origin", b"").decode("latin-1")
        if self._all:
            allowed = {"Access-Control-Allow-Origin": "*"}
        elif origin in self._origins:
            allowed = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        else:
            return {"Vary": "Origin"}
        return {**allowed, "Access-Control-Expose-Headers": "Retry-After"} if origin else allowed

    def preflight(self, headers: RequestHeaders, methods: str) -> dict[str, str]:
        """Headers of the answer to OPTIONS; `methods` such as `POST, OPTIONS`."""
        allowed = {"Allow": methods, **self.answer(headers)}
        if "Access-Control-Allow-Origin" in allowed:
            # The wildcard does not cover Authorization.
            allowed["Access-Control-Allow-Headers"] = "Authorization, *"
            allowed["Access-Control-Allow-Methods"] = methods
            allowed["Access-Control-Max-Age"] = _DAY
        return allowed
