"""Pages are reachable, complete, and their configuration examples hold."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from service.kpi.catalogue import load_catalogue, read_entries
from service.settings import ENV_PREFIX, Settings, load_settings

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
SETTINGS = ROOT / "docs" / "reference" / "settings.md"
DEPLOY = ROOT / "docs" / "how-to" / "deploy.md"
OWN_KPIS = ROOT / "docs" / "how-to" / "own-kpis.md"
LINK = re.compile(r"\]\(([^)#\s]+)")


def linked(page: Path) -> Iterator[Path]:
    """The files of this project that a page links to."""
    for target in LINK.findall(page.read_text("utf-8")):
        if "://" not in target:
            yield (page.parent / target).resolve()


def reachable(start: Path) -> set[Path]:
    """Every file that links lead to."""
    found, open_ = {start}, [start]
    while open_:
        page = open_.pop()
        new = {target for target in linked(page) if target.is_file()} - found
        found |= new
        open_ += [target for target in new if target.suffix == ".md"]
    return found


def block(page: Path, language: str, holding: str) -> str:
    """The code block of a page that holds a text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    (found,) = [text for text in blocks if holding in text]
    return str(found)


def test_every_page_is_reachable_from_the_readme() -> None:
    pages = {path.resolve() for path in (ROOT / "docs").rglob("*") if path.is_file()}
    pages.add(ROOT / "CHANGELOG.md")
    assert sorted(str(page) for page in pages - reachable(README)) == []


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    field = Settings.model_fields[name]
    (row,) = re.findall(rf"^\| `{ENV_PREFIX}{name.upper()}` .*$", SETTINGS.read_text(), re.M)
    assert field.description
    assert field.description in row


def test_pages_name_no_setting_that_is_not_there() -> None:
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    # What the examples and the command line call the reader's own key and address.
    known |= {"KOMPAS_KEY", "KOMPAS_PUBLIC_KEY", "KOMPAS_URL"}
    for page in (README, *(ROOT / "docs").rglob("*.md")):
        used = set(re.findall(r"KOMPAS_[A-Z_]*[A-Z]", page.read_text("utf-8")))
        assert used <= known, page


def test_every_decision_has_its_line() -> None:
    folder = ROOT / "docs" / "decisions"
    index = (folder / "README.md").read_text("utf-8")
    records = sorted(path.name for path in folder.glob("0*.md"))
    assert re.findall(r"\((0\d+-[\w-]+\.md)\)", index) == records


def test_the_picture_is_drawn_for_light_and_dark() -> None:
    file = ROOT / "docs" / "images" / "data-path.svg"
    assert "images/data-path.svg" in README.read_text("utf-8")
    picture = ET.fromstring(file.read_text("utf-8"))  # noqa: S314 -- our own file
    names = [element.tag.rpartition("}")[2] for element in picture.iter()]
    assert {"title", "desc"} <= set(names)
    assert not {"script", "image", "foreignObject"} & set(names)
    assert "prefers-color-scheme: dark" in file.read_text("utf-8")


def test_secrets_made_as_the_page_says_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shutil.which("openssl"):
        pytest.skip("the example makes its secrets with openssl, which is not here")
    (tmp_path / "deploy").mkdir()
    script = "set -euo pipefail\n" + block(DEPLOY, "sh", "openssl")
    subprocess.run(["bash", "-c", script], cwd=tmp_path, check=True)
    file = tmp_path / "deploy" / ".env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = dict(line.split("=") for line in file.read_text().splitlines())
    example = (ROOT / "deploy" / ".env.example").read_text()
    assert set(made) == set(re.findall(r"^([A-Z_]+)=$", example, re.M))
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    for name, value in made.items():
        if name.startswith(ENV_PREFIX):
            monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.bootstrap_admin_key
    assert settings.metrics_token


def test_the_lines_for_a_proxy_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in block(DEPLOY, "ini", "KOMPAS_PUBLIC_URL").splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    settings = load_settings()
    assert settings.public_url == "https://stats.example.dk"
    assert len(settings.trusted_proxies) == 2


def test_the_example_of_an_own_kpi_is_sound(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(block(OWN_KPIS, "toml", "[[kpi]]"))
    (entry,) = read_entries(tmp_path)
    assert load_catalogue(more=[entry]).get(entry.id).own


def test_the_scrape_example_is_the_deployed_one() -> None:
    said = yaml.safe_load(block(DEPLOY, "yaml", "scrape_configs"))
    file = ROOT / "deploy" / "prometheus" / "prometheus.yml"
    (job,) = yaml.safe_load(file.read_text())["scrape_configs"]
    (example,) = said["scrape_configs"]
    assert job["authorization"].pop("type") == "Bearer"  # the default
    assert example == job
