from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conftest import Database


@pytest.fixture
def absent(database: Database, tmp_path: Path) -> tuple[str, Path, Path]:
    """The database's address by another folder, that folder, and what it will lead to."""
    socket = Path(parse_qs(urlsplit(database.url).query)["host"][0])
    later = tmp_path / "s"
    return re.sub(r"host=[^&]+", f"host={later}", database.url), later, socket
