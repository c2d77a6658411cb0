"""A running Kompas that has seen everything, and a real Prometheus that scrapes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
import yaml

from tests.deploy.scraping import DEPLOY, EMPTY_SITE, Prometheus, prometheus_of, send, until
from tests.running import Service, kompas_serve

TOKEN = "a-token-for-prometheus"  # noqa: S105 -- of this test only


@pytest.fixture(scope="package")
async def service(postgres_url: str, template: str) -> AsyncIterator[Service]:
    """A Kompas with a metrics token, a site with events and one without."""
    head, _, query = postgres_url.partition("?")
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE deployed TEMPLATE {template} STRATEGY FILE_COPY")
    await admin.close()
    with kompas_serve(
        KOMPAS_DATABASE_URL=f"{head.rsplit('/', 1)[0]}/deployed?{query}",
        KOMPAS_METRICS_TOKEN=TOKEN,
        KOMPAS_METRICS_REFRESH_SECONDS="1",
    ) as running:
        running.site_key(EMPTY_SITE, "Europe/Copenhagen", "EUR")
        send(running, 1)
        yield running


@pytest.fixture(scope="package")
def prometheus(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """The scrape configuration of deploy/, quicker and pointed at the running Kompas."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"].update(scrape_interval="1s", scrape_timeout="1s")
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{service.port}"]}]
    token = folder / "token"
    token.write_text(TOKEN)
    job["authorization"]["credentials_file"] = str(token)
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    with prometheus_of(file, folder / "data") as server:
        chosen = '{site="default", window="last_30_days"}'
        valued = f"avg(kompas_kpi_has_value{chosen})"
        until(lambda: server.numbers(valued) == [1.0], "every KPI of the default site has a value")
        # A counter's first sample says nothing about its rate: things must happen once more.
        send(service, 2)
        yield server
