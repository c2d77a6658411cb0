"""Five rows in a hundred that Postgres refuses: every good one is stored, by both paths."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.events import Submission
from service.ingest.outage import Outage
from service.ingest.spool.drain import Drainer
from service.ingest.spool.folder import Spool
from service.ingest.writer import Writer
from service.kit.clock import SystemClock
from service.kit.log import configure_logging
from service.store.access import create_site
from service.store.embedded import EmbeddedPostgres
from service.store.engine import make_engine
from service.store.migrate import migrate
from tests.submissions import row, submission
from tests.torture.report import Line
from tests.torture.stack import passable

POISON = '{"page": "\\u0000"}'
SHARE = 0.05
EVENTS = 20
SPOOL_BYTES = 1 << 30
FOUND = """
SELECT (SELECT count(*) FROM event),
       (SELECT count(DISTINCT data->'props'->>'mark') FROM event),
       (SELECT count(*) FROM rejection WHERE code = 'not_storable')
"""


async def run(short: bool) -> Line:
    """Requests of twenty events each, half of them while Postgres is thought to be away."""
    configure_logging("critical", "console")  # each bad row is an error in the log
    with tempfile.TemporaryDirectory(prefix="kompas-poison-", dir="/var/tmp") as name:
        folder = passable(Path(name))
        server = EmbeddedPostgres(folder / "database")
        engine = make_engine(await asyncio.to_thread(server.start))
        try:
            await migrate(engine)
            site = await create_site(engine, "poison", "poison", "UTC", "DKK")
            return await _poisoned(engine, site, folder / "spool", 100 if short else 2_500)
        finally:
            await engine.dispose()
            await asyncio.to_thread(server.stop)


async def _poisoned(engine: AsyncEngine, site: Site, root: Path, requests: int) -> Line:
    chance = random.Random(1)
    spool, outage, clock = Spool(root, SPOOL_BYTES), Outage(), SystemClock()
    await spool.open()
    writer = Writer(engine, clock, spool=spool, outage=outage)
    await writer.start()
    good = bad = 0
    for away in (False, True):
        if away:
            outage.begin()
        made = [_request(site, f"{away}{n}", chance) for n in range(requests // 2)]
        good += sum(row.data != POISON for one in made for row in one.rows)
        bad += sum(row.data == POISON for one in made for row in one.rows)
        await asyncio.gather(*map(writer.submit, made))
    await writer.stop()
    await Drainer(spool, engine, clock, outage).drain_all()
    await spool.close()
    async with engine.connect() as connection:
        stored, marks, refused = (await connection.execute(text(FOUND))).one()
    result = f"{stored:,} of {good:,} good rows stored, {refused:,} of {bad:,} bad ones refused"
    holds = stored == marks == good and refused == bad
    return Line("5 % poison", "100 % of good rows stored", result, holds)


def _request(site: Site, name: str, chance: random.Random) -> Submission:
    rows = []
    for position in range(EVENTS):
        data = f'{{"page": "a", "props": {{"mark": "{name}-{position}"}}}}'
        rows.append(row(position, data=POISON if chance.random() < SHARE else data))
    return submission(site.id, rows)
