"""Composition root of `kompas serve`: every floor put together as one ASGI application."""

from service.app.running import describe, running

__all__ = ["describe", "running"]
