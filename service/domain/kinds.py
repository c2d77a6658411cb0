"""Event kinds and the flags of a log row. The numbers are stored: never reuse or change one."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Kind(IntEnum):
    """What an event is; the value is `event.kind` in the log."""

    PAGE_VIEW = 1
    EMAIL_SENT = 10
    EMAIL_DELIVERED = 11
    EMAIL_BOUNCED = 12
    EMAIL_OPENED = 13
    EMAIL_CLICKED = 14
    EMAIL_UNSUBSCRIBED = 15
    EMAIL_COMPLAINED = 16
    LEAD = 20
    CONVERSION = 30
    REFUND = 31
    SURVEY_ANSWER = 40
    AD_SPEND = 50
    SOCIAL_POST = 60
    SEARCH_VOLUME = 70
    CUSTOM = 90

    @property
    def label(self) -> str:
        """The name used in the contract, for example `page_view`."""
        return self.name.lower()


EMAIL_KINDS = tuple(kind for kind in Kind if kind.name.startswith("EMAIL_"))

STATEMENT_KINDS = (Kind.AD_SPEND, Kind.SOCIAL_POST, Kind.SEARCH_VOLUME)
"""Kinds with a natural key: a newer statement replaces the older one in every KPI."""


class Flag(IntFlag):
    """Verdicts taken when the event came in; stored as `event.flags`."""

    BOT = 1
    """A known bot or prefetch sent it: kept in the log, counted only as `bot_hits`."""
    CONSENT = 2
    """The person agreed to be recognised across days."""
    MACHINE = 4
    """An e-mail open or click by a machine, as the mailer or our rules say."""
    DATED = 8
    """The client said when it happened (`occurred_at` is not just the time of receipt)."""
    OPTED_OUT = 16
    """DNT or Sec-GPC was set: no visitor id was derived."""
    REPAIRED = 32
    """NUL or lone surrogates in a text were replaced by U+FFFD."""
    SKEWED = 64
    """The client's clock differs from ours by more than a day."""
    CORRECTED = 128
    """`occurred_at` was corrected by what the client's clock differs from ours; `data` says how."""
