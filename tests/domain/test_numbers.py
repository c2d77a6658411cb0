"""Numbers that are stored: a change here orphans rows, so it must break a test first.

New names get new numbers; a name that goes leaves its number behind, unused for ever.
"""

from __future__ import annotations

from enum import IntEnum

import pytest

from service.domain.kinds import EMAIL_KINDS, STATEMENT_KINDS, Flag, Kind
from service.domain.measures import MEASURE_BY_LABEL, MONEY, Measure

KINDS = """
1 page_view
10 email_sent
11 email_delivered
12 email_bounced
13 email_opened
14 email_clicked
15 email_unsubscribed
16 email_complained
20 lead
30 conversion
31 refund
40 survey_answer
50 ad_spend
60 social_post
70 search_volume
90 custom
"""

MEASURES = """
1 page_views
2 visits
3 bounces
4 bot_hits
10 emails_sent
11 emails_delivered
12 emails_bounced
13 emails_opened
14 emails_opened_human
15 emails_clicked
16 emails_unsubscribed
17 emails_complained
21 emails_delivered_period
22 emails_bounced_period
23 emails_opened_period
24 emails_opened_human_period
25 emails_clicked_period
26 emails_unsubscribed_period
27 emails_complained_period
28 email_opens
30 leads
31 leads_identified
32 leads_converted
33 customers_from_leads
40 orders
41 gross_revenue
42 refunds
43 refund_count
44 new_customers
45 cost_of_goods
46 orders_with_cost
47 units
48 refunds_by_order
50 spend
51 impressions
52 clicks
53 invalid_clicks
54 viewable_impressions
55 measurable_impressions
60 posts
61 engagements
62 followers
63 reach
64 social_impressions
70 nps_responses
71 nps_promoters
72 nps_detractors
73 enps_responses
74 enps_promoters
75 enps_detractors
76 csat_responses
77 csat_positive
78 ces_responses
79 ces_positive
80 aided_responses
81 aided_aware
82 unaided_responses
83 unaided_aware
84 custom_responses
90 brand_searches
91 category_searches
95 custom_events
96 custom_value
"""

FLAGS = """
1 bot
2 consent
4 machine
8 dated
16 opted_out
32 repaired
64 skewed
128 corrected
"""


def rows(members: type[IntEnum] | type[Flag]) -> str:
    return "\n" + "".join(f"{member.value} {member.name.lower()}\n" for member in members)


@pytest.mark.parametrize(("members", "stored"), [(Kind, KINDS), (Measure, MEASURES), (Flag, FLAGS)])
def test_stored_numbers_never_change(members: type[IntEnum] | type[Flag], stored: str) -> None:
    assert rows(members) == stored


@pytest.mark.parametrize("members", [Kind, Measure, Flag])
def test_no_number_has_two_names(members: type[IntEnum] | type[Flag]) -> None:
    """Python would take the second name for an alias of the first."""
    assert len(members.__members__) == len(set(members))


def test_numbers_fit_into_the_columns_that_hold_them() -> None:
    assert max(*Kind, *Measure) < 2**15
    assert sum(Flag) < 2**15
    assert all(flag & (flag - 1) == 0 for flag in Flag)


def test_labels_lead_back() -> None:
    assert {measure.label: measure for measure in Measure} == MEASURE_BY_LABEL


def test_groups_of_kinds() -> None:
    assert {kind.label for kind in EMAIL_KINDS} == {
        *("email_sent", "email_delivered", "email_bounced", "email_opened"),
        *("email_clicked", "email_unsubscribed", "email_complained"),
    }
    assert {kind.label for kind in STATEMENT_KINDS} == {"ad_spend", "social_post", "search_volume"}


def test_measures_of_money() -> None:
    assert {measure.label for measure in MONEY} == {
        *("gross_revenue", "refunds", "refunds_by_order", "cost_of_goods", "spend", "custom_value")
    }
