"""What is known about a request before its events are looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from zoneinfo import ZoneInfo

from service.domain.access import Site
from service.domain.kinds import Kind
from service.ingest import bots
from service.ingest.devices import device_of
from service.ingest.hashing import SEPARATOR, Keyring, keyring
from service.store.secrets import Salts

FUTURE = timedelta(hours=24)


@dataclass(frozen=True)
class Context:
    """The facts of one request for one site; `now` is aware UTC, other members as RequestFacts.

    Verdicts that all events of the request share are taken once.
    """

    site: Site
    now: datetime
    door: str
    salts: Salts
    kind: Kind | None = None
    user_agent: str = field(default="", repr=False)
    address: str = field(default="", repr=False)
    country: str = ""
    opted_out: bool = False
    prefetch: bool = False
    browser: bool = False
    repaired: bool = False
    public: bool = False

    @cached_property
    def keyring(self) -> Keyring:
        """The hashes of the site."""
        return keyring(self.site.secret)

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.site.timezone)

    @cached_property
    def bot(self) -> bool:
        """Whether a known bot sent this, or nobody has seen it yet.

        Servers are never asked for their user agent.
        """
        return self.browser and (self.prefetch or bots.is_bot(self.user_agent))

    @cached_property
    def machine(self) -> bool:
        """Whether a mail scanner or prefetcher, not a reader, opened or clicked."""
        return self.browser and (self.prefetch or bots.is_machine(self.user_agent))

    # Plain properties: these verdicts are cached by user agent, and `cached_property` takes a lock.
    @property
    def device(self) -> str:
        """What sort of device a visitor's browser runs on; '' for servers."""
        return device_of(self.user_agent) if self.browser else ""

    @property
    def visitor_country(self) -> str:
        """`country`, unless a mail service's machine stands there."""
        return "" if self.country and bots.is_mail_proxy(self.user_agent) else self.country

    @cached_property
    def latest(self) -> datetime:
        """The last instant that an event may claim."""
        return self.now + FUTURE

    @cached_property
    def today(self) -> date:
        """The day of `now` in the site's zone."""
        return self.now.astimezone(self.zone).date()

    def day_of(self, at: datetime) -> date:
        """The day of an instant in the site's zone."""
        return self.today if at is self.now else at.astimezone(self.zone).date()

    def start_of(self, day: date) -> datetime:
        """The first instant of a day in the site's zone, in UTC."""
        return start_of_day(self.site.timezone, day)

    def passing_visitor(self, visitor: str, at: datetime) -> int:
        """The hash of a visitor who did not agree to be recognised: it lasts a local day.

        `visitor` '' means the one who sent this request (address and user agent).
        """
        day = self.day_of(at)
        salt = self.salts.of(day, self.now.date())
        who = visitor or SEPARATOR.join((self.address, self.user_agent))
        kind = "v" if visitor else "a"
        return self.keyring.passing_visitor(salt, f"{day.isoformat()}{kind}{who}")

    @cached_property
    def sender_now(self) -> int:
        """`passing_visitor` of the request's own sender, now."""
        return self.passing_visitor("", self.now)


@lru_cache(maxsize=16384)
def start_of_day(timezone: str, day: date) -> datetime:
    """The first instant of a local day, in UTC.

    Where midnight does not exist (or exists twice) because clocks changed, it is the first
    instant that carries the date: fold 0 reads a missing midnight with the offset before the gap.
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone))
    return midnight.astimezone(UTC)
