"""Every shell example in the README and the how-to pages runs as it stands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.running import ADMIN_KEY, Service, kompas_serve

ROOT = Path(__file__).parents[2]
GUIDES = ("send-events", "import", "ask-for-kpis", "own-kpis")
PAGES = ["README.md", *(f"docs/how-to/{name}.md" for name in GUIDES)]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
async def service(postgres_url: str, template: str) -> AsyncIterator[Service]:
    head, _, query = postgres_url.partition("?")
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE examples TEMPLATE {template} STRATEGY FILE_COPY")
    await admin.close()
    with kompas_serve(
        KOMPAS_DATABASE_URL=f"{head.rsplit('/', 1)[0]}/examples?{query}",
    ) as running:
        yield running


def script(page: str) -> str:
    """The examples of a page; what the reader's own terminal would hold comes from outside."""
    blocks = BLOCK.findall((ROOT / page).read_text())
    lines = "\n".join(blocks).splitlines()
    kept = [line for line in lines if not line.startswith(("export KOMPAS", "make "))]
    return (
        'set -euo pipefail\ncurl() { command curl --fail-with-body -S "$@"; echo; }\n'
        + "\n".join(kept)
    )


def run(page: str, service: Service, folder: Path) -> str:
    if not shutil.which("curl"):
        pytest.skip("the examples are curl lines, and this machine has no curl")
    public = {"site": "default", "name": "web", "scopes": ["public"]}
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "KOMPAS": service.url,
        "KOMPAS_URL": service.url,
        "KOMPAS_KEY": ADMIN_KEY,
        "KOMPAS_PUBLIC_KEY": service.post("/v1/keys", public).json["key"],
    }
    text = script(page).replace("kompas import", f"kompas import --url {service.url}")
    result = subprocess.run(
        ["bash", "-c", text],
        check=False,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("page", PAGES)
def test_examples_run(page: str, service: Service, tmp_path: Path) -> None:
    assert BLOCK.search((ROOT / page).read_text())
    out = run(page, service, tmp_path)
    answers = [json.loads(line) for line in out.splitlines() if line.startswith(("{", "["))]
    assert answers or "accepted" in out
    if page == "README.md":
        roas = answers[-1]
        assert roas["kpi"] == "roas"
        assert roas["value"] == 2.5
        assert roas["breakdown"][0]["campaign"] == "spring"


def test_links_of_the_documentation_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []
