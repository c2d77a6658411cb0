"""Who may use the doors of what is published."""

from __future__ import annotations

from starlette.requests import Request

from service.domain.access import Authenticator, Principal, Scope, Site, authorized, site_of
from service.kit.http import bearer


class Admission:
    """A FastAPI dependency that stands before a door: UnauthorizedError, ForbiddenError.

    It goes before everything else, so that a stranger learns nothing but 401.
    """

    def __init__(self, access: Authenticator, scope: Scope) -> None:
        self._access = access
        self._scope = scope

    async def __call__(self, request: Request) -> None:
        """Note who the key stands for, for `site`."""
        key = bearer(request.headers)
        request.state.principal = await authorized(self._access, key, self._scope)

    async def site(self, request: Request, slug: str | None) -> Site:
        """The key's own site, or the one that an admin key names."""
        principal: Principal = request.state.principal
        return await site_of(self._access, principal, slug)
