"""The files that are made from code: the contract, and pages of the reference."""

from __future__ import annotations

import json

from service.app import describe
from service.kpi.document import render
from service.publish.document import metrics_page
from service.settings import Settings


def openapi_text() -> str:
    """The contract as it is committed: `openapi.json`."""
    return json.dumps(describe(), indent=2, ensure_ascii=False) + "\n"


def settings_page() -> str:
    """`docs/reference/settings.md`: every environment variable, as the code has it."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default if field.default_factory is None else None
        shown = ",".join(default) if isinstance(default, tuple) else default
        shown = str(shown).lower() if isinstance(shown, bool) else shown
        extra = field.json_schema_extra
        must_be = extra["must_be"] if isinstance(extra, dict) else ""
        value = "" if shown in {None, ""} else f"`{shown}`"
        rows.append(f"| `KOMPAS_{name.upper()}` | {field.description} | {must_be} | {value} |")
    head = "| variable | meaning | must be | default |\n|---|---|---|---|\n"
    return (
        f"# Settings\n\nAll settings are environment variables.\n\n{head}" + "\n".join(rows) + "\n"
    )


GENERATED = {"kpis.md": render, "metrics.md": metrics_page, "settings.md": settings_page}
"""Pages of `docs/reference/` that are made from code, by file name."""
