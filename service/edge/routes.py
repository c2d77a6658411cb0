"""Every door of the way in, as routes for a Starlette (or FastAPI) application."""

from __future__ import annotations

from starlette.routing import Route

from service.domain.access import Authenticator
from service.edge import pixel, reader
from service.edge.doors import DOORS, EventDoor
from service.edge.options import EdgeOptions
from service.edge.pixel import PixelDoor
from service.edge.reader import ClickDoor, OpenDoor
from service.ingest.intake import Intake


def edge_routes(intake: Intake, access: Authenticator, options: EdgeOptions) -> list[Route]:
    """The routes, each for all methods: the doors answer 405 and preflights themselves.

    Whoever mounts them counts their requests.
    """
    return [
        *(Route(door.path, EventDoor(door, intake, access, options)) for door in DOORS),
        Route(pixel.PATH, PixelDoor(intake, access, options)),
        Route(reader.OPEN, OpenDoor(intake, access, options)),
        Route(reader.CLICK, ClickDoor(intake, access, options)),
    ]
