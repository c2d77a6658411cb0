"""What shows that a site counts something, so that none of it is 0 and not "no data".

Written anew out of decisions 5 and 6: a quantity shows itself, and what goes without saying
where something else is counted is shown by that.
"""

from __future__ import annotations

VISITS, POSTS = {"visits"}, {"posts"}
SALES = {"orders", "gross_revenue"}
OUTCOMES = {"delivered", "bounced", "opened", "opened_human", "clicked", "unsubscribed",
            "complained"}  # fmt: skip
MAILS = {"emails_sent"} | {f"emails_{name}{view}" for name in OUTCOMES for view in ("", "_period")}
RESPONSES = {
    f"{survey}_responses" for survey in ("nps", "enps", "csat", "ces", "aided", "unaided", "custom")
}

SHOWN_BY: dict[str, set[str]] = {
    # Whoever visits views pages, and bounces or does not; visitors are those of visits.
    **dict.fromkeys(("page_views", "bounces", "distinct_visitors"), VISITS),
    # One mail of which anything is known: the others of its fates did not happen. That a mail was
    # sent is known only where somebody says so.
    **dict.fromkeys(MAILS - {"emails_sent"} | {"email_opens"}, MAILS),
    "leads_identified": {"leads"},
    # Who sells knows what came of leads, what was given back, and who bought.
    **dict.fromkeys(("leads_converted", "customers_from_leads", "new_customers"), SALES),
    **dict.fromkeys(("gross_revenue", "refunds", "refunds_by_order", "refund_count"), SALES),
    **dict.fromkeys(("cost_of_goods", "orders_with_cost"), SALES),
    **dict.fromkeys(
        ("distinct_customers", "first_time_customers", "repeat_customers", "returning_customers",
         "orders_of_customers", "retained_customers"), SALES,
    ),
    # Whoever states what ads did states what they cost.
    "spend": {"impressions", "clicks"},
    **dict.fromkeys(("engagements", "followers"), POSTS),
    **{
        f"{survey}_{kind}": {f"{survey}_responses"}
        for survey, kinds in {
            "nps": ("promoters", "detractors"),
            "enps": ("promoters", "detractors"),
            "csat": ("positive",),
            "ces": ("positive",),
            "aided": ("aware",),
            "unaided": ("aware",),
        }.items()
        for kind in kinds
    },
    "distinct_respondents": RESPONSES,
}  # fmt: skip
"""Names of quantities, and names of measures that show them beside their own rows."""

SHOWN_BY_A_0 = {
    *("orders", "gross_revenue", "spend", "impressions", "clicks", "invalid_clicks"),
    *("viewable_impressions", "measurable_impressions", "reach", "social_impressions"),
    *("brand_searches", "category_searches"),
}
"""Measures that are known when they were told, though as 0."""


def shows(name: str, measures: set[str]) -> set[str]:
    """Which of the measures show that the quantity of that name is counted."""
    return {name, *SHOWN_BY.get(name, ())} & measures
