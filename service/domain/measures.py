"""Measures: additive numbers that rollups hold and KPI formulas are written over.

The numbers are stored in `rollup_*.measure`: never reuse or change one. Money measures are in
millionths of the currency unit and keep the currency they came in.
"""

from __future__ import annotations

from enum import IntEnum


class Measure(IntEnum):
    """One additive count or sum; see `docs/reference/measures.md` for the meaning of each."""

    PAGE_VIEWS = 1
    VISITS = 2
    BOUNCES = 3
    BOT_HITS = 4

    # E-mail, cohort view: booked on the day (and campaign) the message was sent.
    EMAILS_SENT = 10
    EMAILS_DELIVERED = 11
    EMAILS_BOUNCED = 12
    EMAILS_OPENED = 13
    EMAILS_OPENED_HUMAN = 14
    EMAILS_CLICKED = 15
    EMAILS_UNSUBSCRIBED = 16
    EMAILS_COMPLAINED = 17
    # E-mail, period view: each outcome once per message, booked when it happened.
    EMAILS_DELIVERED_PERIOD = 21
    EMAILS_BOUNCED_PERIOD = 22
    EMAILS_OPENED_PERIOD = 23
    EMAILS_OPENED_HUMAN_PERIOD = 24
    EMAILS_CLICKED_PERIOD = 25
    EMAILS_UNSUBSCRIBED_PERIOD = 26
    EMAILS_COMPLAINED_PERIOD = 27
    EMAIL_OPENS = 28
    """Period view: every open, however often the same message was opened."""

    LEADS = 30
    LEADS_IDENTIFIED = 31
    LEADS_CONVERTED = 32
    """Cohort view: leads that became customers, booked when and where the lead was won."""
    CUSTOMERS_FROM_LEADS = 33
    """Period view: the same outcome booked when the first conversion happened."""

    ORDERS = 40
    GROSS_REVENUE = 41
    REFUNDS = 42
    REFUND_COUNT = 43
    NEW_CUSTOMERS = 44
    COST_OF_GOODS = 45
    ORDERS_WITH_COST = 46
    """Orders whose cost of goods is known: profit is null unless this equals ORDERS."""
    UNITS = 47
    """Pieces sold, as the lines of orders state them."""
    REFUNDS_BY_ORDER = 48
    """The same as REFUNDS, booked when the order was placed instead of when it was refunded."""

    SPEND = 50
    IMPRESSIONS = 51
    CLICKS = 52
    INVALID_CLICKS = 53
    VIEWABLE_IMPRESSIONS = 54
    MEASURABLE_IMPRESSIONS = 55

    POSTS = 60
    ENGAGEMENTS = 61
    FOLLOWERS = 62
    REACH = 63
    SOCIAL_IMPRESSIONS = 64

    NPS_RESPONSES = 70
    NPS_PROMOTERS = 71
    NPS_DETRACTORS = 72
    ENPS_RESPONSES = 73
    ENPS_PROMOTERS = 74
    ENPS_DETRACTORS = 75
    CSAT_RESPONSES = 76
    CSAT_POSITIVE = 77
    CES_RESPONSES = 78
    CES_POSITIVE = 79
    AIDED_RESPONSES = 80
    AIDED_AWARE = 81
    UNAIDED_RESPONSES = 82
    UNAIDED_AWARE = 83
    CUSTOM_RESPONSES = 84

    BRAND_SEARCHES = 90
    CATEGORY_SEARCHES = 91

    CUSTOM_EVENTS = 95
    CUSTOM_VALUE = 96

    @property
    def label(self) -> str:
        """The name used in catalogue formulas, for example `gross_revenue`."""
        return self.name.lower()


MEASURE_BY_LABEL = {measure.label: measure for measure in Measure}

MONEY = frozenset(
    {
        Measure.GROSS_REVENUE,
        Measure.REFUNDS,
        Measure.REFUNDS_BY_ORDER,
        Measure.COST_OF_GOODS,
        Measure.SPEND,
        Measure.CUSTOM_VALUE,
    }
)
"""Measures in millionths of a currency unit; every other measure has the currency ''."""
