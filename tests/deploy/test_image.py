"""The image and the services around it: linted, pinned, contained, and free of secrets.

Images cannot be built where these tests run; what can be held against the code is.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from service.settings import ENV_PREFIX, Settings
from tests.deploy.scraping import DEPLOY, program
from tests.running import Service, free_port

ROOT = DEPLOY.parent
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {"migrate"}
PINNED = re.compile(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?")
SECRET = re.compile(r"PASSWORD|TOKEN|_KEY$|_URL$")
each_service = pytest.mark.parametrize("name", SERVICES)


def instructions(name: str) -> list[str]:
    """The arguments of a Dockerfile's instruction, continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.partition(" ")[2] for line in joined.splitlines() if line.startswith(f"{name} ")]


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = str(Path(sys.executable).parent / "hadolint")
    result = subprocess.run([hadolint, DEPLOY / "Dockerfile"], check=False, capture_output=True)
    assert (result.returncode, result.stdout) == (0, b"")


def test_the_image_runs_as_nobody_in_particular() -> None:
    assert all(PINNED.match(image.split()[0]) for image in instructions("FROM"))
    uid, _, gid = instructions("USER")[-1].partition(":")
    assert int(uid) > 1000
    assert int(gid) > 1000
    assert instructions("ENTRYPOINT") == ['["kompas"]']
    assert instructions("CMD") == ['["serve"]']
    for line in DOCKERFILE.replace("\\\n", " ").splitlines():
        if " install " in line and "--requirement" in line:
            assert "--require-hashes" in line


def test_the_image_gets_no_more_than_it_needs() -> None:
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")
    assert "*" in allowed
    copied = {
        source.rstrip("/")
        for line in instructions("COPY")
        if "--from" not in line
        for source in line.split()[:-1]
    }
    assert copied == {line[1:] for line in allowed if line.startswith("!")}
    assert [source for source in copied if not (ROOT / source).exists()] == []


def needed(package: str) -> set[str]:
    """A package and everything that it needs here, by name."""
    found = {package}
    for line in requires(package) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            found |= needed(requirement.name)
    return found


def test_the_builder_is_locked() -> None:
    """The tools that the image's wheel is built with come out of the lock, all of them."""
    (listed,) = re.findall(r"wanted = /\^\(([\w|-]+)\)==/", DOCKERFILE)
    assert set(listed.split("|")) == needed("hatchling")
    locked = re.findall(r"^([a-z][\w.-]*)==", (ROOT / "constraints-dev.txt").read_text(), re.M)
    assert needed("hatchling") <= set(locked)


def test_the_health_check_tells_ready_from_not(service: Service) -> None:
    (line,) = instructions("HEALTHCHECK")
    command = json.loads(line[line.index("[") :])
    command[0] = sys.executable
    for port, status in ((service.port, 0), (free_port(), 1)):
        environment = {**os.environ, "KOMPAS_PORT": str(port)}
        result = subprocess.run(command, check=False, env=environment, capture_output=True)
        assert result.returncode == status


@each_service
def test_a_service_is_pinned_and_contained(name: str) -> None:
    service = SERVICES[name]
    assert PINNED.fullmatch(service["image"]), service["image"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert service.get("read_only") or name == "prometheus"
    assert service.get("user", instructions("USER")[-1]).partition(":")[0] not in {"root", "0"}
    assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped")


@each_service
def test_a_service_is_watched(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["healthcheck"] == {"disable": True}
    elif "build" in service:
        assert "healthcheck" not in service  # the image's own
    else:
        assert service["healthcheck"]["test"][0] == "CMD"
    for other, wish in service.get("depends_on", {}).items():
        done = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert wish == {"condition": done}


def test_the_image_has_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert SERVICES["kompas"]["image"] == SERVICES["migrate"]["image"] == f"kompas:{version}"
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_database_is_for_kompas_alone() -> None:
    assert "ports" not in SERVICES["postgres"]
    assert COMPOSE["networks"]["database"] == {"internal": True}
    inside = {name for name, service in SERVICES.items() if "database" in service["networks"]}
    assert inside == {"postgres", "migrate", "kompas"}
    assert SERVICES["postgres"]["networks"] == ["database"]


def test_nothing_listens_outside_unless_told_to() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    for port in ports:
        assert re.fullmatch(r"\$\{[A-Z_]+:-127\.0\.0\.1:\d+\}:\d+", port)


def test_secrets_are_asked_for_and_nowhere_written() -> None:
    asked: set[str] = set()
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            found = re.findall(r"\$\{(\w+):\?[^}]+\}", str(value))
            assert bool(found) == bool(SECRET.search(name)), name
            asked.update(found)
    example = dict(
        line.split("=")
        for line in (DEPLOY / ".env.example").read_text().splitlines()
        if line and not line.startswith("#")
    )
    assert example == dict.fromkeys(asked, "")
    ignored = (DEPLOY / ".gitignore").read_text().split()
    assert {".env", "kompas.env"} <= set(ignored)


def test_settings_of_the_image_exist() -> None:
    files = [DOCKERFILE, (DEPLOY / "compose.yaml").read_text()]
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    used = set(re.findall(r"KOMPAS_[A-Z_]+", "".join(files))) - {"KOMPAS_LISTEN"}
    assert used <= known
    assert {"KOMPAS_DATABASE_URL", "KOMPAS_HOST"} <= used


def test_what_is_mounted_is_there() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source, target, *mode = volume.split(":")
            if source.startswith("."):
                assert (DEPLOY / source).exists()
                assert mode == ["ro"]
            else:
                assert source in COMPOSE["volumes"]
            assert target.startswith("/")


def test_the_parts_find_each_other() -> None:
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = scrape["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"kompas:{instructions('EXPOSE')[0]}"]}]
    (secret,) = SERVICES["prometheus"]["secrets"]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    assert COMPOSE["secrets"][secret] == {"environment": "KOMPAS_METRICS_TOKEN"}

    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "kompas.yaml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "kompas.yaml").read_text())[
        "providers"
    ]
    assert (
        f"./grafana/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]
    )


def test_promtool_accepts_the_configuration(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t")
    text = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
    file = tmp_path / "prometheus.yml"
    file.write_text(text.replace("/run/secrets/metrics_token", str(token)))
    command = [program("promtool"), "check", "config", "--lint=all", "--lint-fatal", str(file)]
    result = subprocess.run(command, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
