"""Random worlds, small and nasty: few people and things, so that everything meets everything.

Most times lie at or beside a quarter hour, where the tiers meet, half of them at one of a few; the
days are those on which the clocks of Copenhagen and of Lord Howe change. Visits go back a hundred
days, often exactly as far as a lookback reaches. Events come in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from service.domain.dimensions import Detail, Dimension
from service.domain.kinds import Flag, Kind
from tests.kpi.world import Event, at, uid

FIRST, LAST = at("2026-03-27T00:00"), at("2026-04-07T00:00")
QUARTER = timedelta(minutes=15)
MICRO = timedelta(microseconds=1)
GUEST = uid("customer", "guest")
CURRENCIES = ("DKK", "EUR")
PRODUCTS = ("chair", "table, oak", "lamp*")

TOUCHES = (
    Dimension("Direct"),
    Dimension("Organic Search", "google", "organic"),
    Dimension("Paid Search", "google", "cpc", "spring"),
    Dimension("Email", "newsletter", "email", "spring*", content="top"),
    Dimension("Paid Social", "facebook", "paid", "summer, late", term="sofa"),
)
DETAILS = (
    Detail(),
    Detail("/"),
    Detail("/a", "DK", "mobile"),
    Detail("/a/b", "SE", "desktop", (("plan", "free"),)),
    Detail("", "DK", "tablet", (("plan", "pro"),)),
)
SURVEYS = ("nps", "enps", "csat", "ces", "awareness_aided", "awareness_unaided", "exit")

Draw = Callable[[st.SearchStrategy[Any]], Any]


MEETING_POINTS = tuple(FIRST + number * 43 * QUARTER for number in range(24))
"""Quarter hours at which much happens, and windows begin and end: now a night, now an afternoon."""


def _time(draw: Draw) -> datetime:
    offset = draw(st.sampled_from([-1, 0, 0, 1]))
    if draw(st.booleans()):
        return draw(st.sampled_from(MEETING_POINTS)) + offset * MICRO
    quarters = draw(st.integers(0, (LAST - FIRST) // QUARTER - 1))
    offset = draw(st.one_of(st.just(offset), st.integers(0, 899_999_999)))
    return FIRST + quarters * QUARTER + offset * MICRO


times = st.composite(_time)()
amounts = st.integers(0, 10**9)
small = st.integers(1, 4)
dims = st.sampled_from(TOUCHES)
owns = st.sampled_from((*(Dimension(),) * 9, *TOUCHES))
details = st.sampled_from(DETAILS)
flags = st.sampled_from((Flag.DATED, Flag.DATED | Flag.CONSENT, Flag.DATED | Flag.CONSENT))
ages = st.sampled_from(
    (
        *(timedelta(days=days) for days in (0, 1, 2, 3.5, 7, 10.5, 14, 21, 30, 45, 100)),
        timedelta(days=30) + MICRO,
        timedelta(days=30) - MICRO,
    )
)


def _visit(draw: Draw, when: datetime, visitor: int, **named: str) -> Event:
    who = {name: uid(name, value) for name, value in named.items()}
    flag = int(Flag.DATED | Flag.CONSENT) if who else int(draw(flags))
    return Event(Kind.PAGE_VIEW, when, draw(dims), who, visitor, flag, draw(details))


def _people(draw: Draw) -> dict[str, Any]:
    who = draw(st.sampled_from((("customer",), ("customer", "lead"), ("lead",), (), ("guest",))))
    found = {name: uid(name, draw(small)) for name in who if name != "guest"}
    return {"customer": GUEST} if who == ("guest",) else found


def _lines(draw: Draw) -> dict[str, Any]:
    """Lines of an order: the value need not be theirs."""
    line = st.tuples(
        st.sampled_from(PRODUCTS), st.none() | st.integers(1, 3), st.none() | st.integers(0, 10**8)
    )
    lines = [list(one) for one in draw(st.lists(line, min_size=1, max_size=3))]
    counted = [quantity for _, quantity, _ in lines if quantity is not None]
    return {"lines": lines} | ({"units": sum(counted)} if counted else {})


def _sale(draw: Draw, when: datetime, visitor: int) -> list[Event]:
    number = draw(st.integers(1, 8))
    data: dict[str, Any] = {"value": draw(amounts), "currency": draw(st.sampled_from(CURRENCIES))}
    data |= _people(draw)
    if draw(st.integers(0, 9)):
        data |= {"order": uid("order", number), "quantity": 1}
    else:
        data["quantity"] = draw(st.integers(0, 3))
    if draw(st.integers(0, 9)):
        data["cost"] = draw(amounts)
    if draw(st.integers(0, 5)) == 0:
        data["new"] = draw(st.booleans())
    if draw(st.booleans()):
        data |= _lines(draw)
    flag = int(draw(flags))
    found = [Event(Kind.CONVERSION, when, draw(owns), data, visitor, flag, draw(details))]
    if draw(st.booleans()):
        paid_back = when + timedelta(days=draw(st.integers(0, 40)))
        back = {"order": uid("order", number), "value": draw(amounts), "currency": data["currency"]}
        found.append(
            Event(Kind.REFUND, min(paid_back, LAST), draw(owns), back, detail=draw(details))
        )
    return found


@st.composite
def views(draw: Draw) -> list[Event]:
    """Some page views of one visitor within an hour or two."""
    when, visitor = draw(times), draw(st.integers(0, 4))
    found = [_visit(draw, when, visitor)]
    for step in draw(st.lists(st.integers(0, 2_400), max_size=3)):
        when += timedelta(seconds=step)
        found.append(_visit(draw, when, visitor))
    if draw(st.integers(0, 9)) == 0:
        found[0] = replace(found[0], flags=found[0].flags | Flag.BOT)
    return found


@st.composite
def journeys(draw: Draw) -> list[Event]:
    """Visits over a hundred days, by one or two devices, that end in a sale or a lead."""
    when, devices = draw(times), draw(st.lists(small, min_size=1, max_size=2, unique=True))
    person = draw(small)
    found = []
    for age in draw(st.lists(ages, min_size=1, max_size=5, unique=True)):
        who = draw(st.sampled_from(({}, {"customer": person}, {"lead": person})))
        found.append(_visit(draw, when - age, draw(st.sampled_from(devices)), **who))
    visitor = draw(st.sampled_from((0, devices[0], devices[0])))
    if draw(st.integers(0, 2)):
        return found + _sale(draw, when, visitor)
    data = {"lead": uid("lead", person)}
    flag = int(draw(flags))
    return [*found, Event(Kind.LEAD, when, draw(owns), data, visitor, flag, draw(details))]


@st.composite
def guests(draw: Draw) -> list[Event]:
    """A shop that calls everybody by one name, or a machine that many share: at the limit or over.

    One person may be known as 20 visitors, one visitor as 20 people.
    """
    when, count, shared = draw(times), draw(st.sampled_from((20, 21, 22))), draw(st.booleans())
    consent, seen = int(Flag.DATED | Flag.CONSENT), []
    for number in range(count):
        person = uid("customer", 100 + number) if shared else GUEST
        data, visitor = {"name": "login", "customer": person}, 100 if shared else 100 + number
        dim = Dimension(event="login")
        seen.append(Event(Kind.CUSTOM, when, dim, data, visitor, consent))
    visit = when - timedelta(days=2)
    seen.append(Event(Kind.PAGE_VIEW, visit, draw(dims), {}, 100, consent, draw(details)))
    sold = _sale(draw, when, 0)
    if shared:
        sold[0].data["customer"] = uid("customer", 100)
    return seen + sold


@st.composite
def spendings(draw: Draw) -> list[Event]:
    """A key belongs to one day and campaign; said again, the newer counts."""
    key = draw(st.integers(1, 6))
    impressions, clicks = draw(st.integers(0, 900)), draw(st.integers(0, 90))
    data: dict[str, Any] = {
        "key": uid("spend", key),
        "cost": draw(amounts),
        "currency": CURRENCIES[key % 2],
        "impressions": impressions,
        "clicks": clicks,
    }
    if draw(st.booleans()):
        measurable = draw(st.integers(0, impressions))
        data["invalid_clicks"] = draw(st.integers(0, 9))
        data["measurable"] = measurable
        data["viewable"] = draw(st.integers(0, measurable))
    when = FIRST + timedelta(days=key, hours=9, microseconds=1)
    return [Event(Kind.AD_SPEND, when, TOUCHES[2 + key % 3], data)]


@st.composite
def posts(draw: Draw) -> list[Event]:
    number = draw(st.integers(1, 3))
    names = ("likes", "comments", "shares", "followers", "reach", "impressions")
    data = {name: draw(st.integers(0, 90)) for name in names} | {"key": uid("post", number)}
    when = FIRST + timedelta(days=2 * number, hours=23)
    return [Event(Kind.SOCIAL_POST, when, Dimension("Organic Social", "facebook"), data)]


@st.composite
def searches(draw: Draw) -> list[Event]:
    number, group = draw(st.integers(1, 3)), draw(st.sampled_from(("brand", "category")))
    data = {"key": uid(group, number), "group": group, "volume": draw(st.integers(0, 90))}
    when = FIRST + timedelta(days=number, hours=23)
    return [Event(Kind.SEARCH_VOLUME, when, Dimension(source="google"), data)]


@st.composite
def mails(draw: Draw) -> list[Event]:
    """A mail and what became of it, early, late, or before it was sent."""
    when, message = draw(times), uid("message", draw(st.integers(1, 12)))
    kinds = [kind for kind in Kind if kind.name.startswith("EMAIL_")]
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5))
    found = []
    for kind in chosen:
        after = timedelta(days=draw(st.sampled_from((0, 0, 0, 1, 7, -1))))
        later = when + (timedelta() if kind is Kind.EMAIL_SENT else after)
        flag = int(draw(st.sampled_from((Flag.DATED, Flag.DATED | Flag.MACHINE))))
        found.append(Event(kind, later, TOUCHES[3], {"message": message}, flags=flag))
    return found


@st.composite
def totals(draw: Draw) -> list[Event]:
    """Leads of a day out of a spreadsheet."""
    data = {"quantity": draw(st.integers(1, 5))}
    return [Event(Kind.LEAD, draw(times), draw(dims), data, detail=draw(details))]


@st.composite
def answers(draw: Draw) -> list[Event]:
    """Answers to one survey: some people answer twice, or another one as well, some are unknown."""
    survey = draw(st.sampled_from(SURVEYS))
    dim, detail = Dimension("Email", survey=survey), draw(details)
    bot = Flag.BOT if draw(st.integers(0, 9)) == 0 else 0
    found = []
    for respondent in draw(st.lists(st.sampled_from((0, 1, 1, 2, 3)), min_size=1, max_size=3)):
        data: dict[str, Any] = {"survey": survey, "grade": draw(st.integers(-1, 1))}
        data |= {"respondent": uid("respondent", respondent)} if respondent else {}
        flag = int(Flag.DATED | bot)
        found.append(Event(Kind.SURVEY_ANSWER, draw(times), dim, data, 0, flag, detail))
    return found


@st.composite
def customs(draw: Draw) -> list[Event]:
    name = draw(st.sampled_from(("download", "signup")))
    data: dict[str, Any] = {"name": name}
    if draw(st.booleans()):
        data |= {"value": draw(amounts), "currency": draw(st.sampled_from(CURRENCIES))}
    dim, flag = Dimension("Email", event=name), int(draw(flags))
    data |= _people(draw)
    return [Event(Kind.CUSTOM, draw(times), dim, data, draw(small), flag, draw(details))]


_COMMON = (journeys(), journeys(), journeys(), views(), mails())
_RARE = (spendings(), posts(), searches(), totals(), answers(), answers(), customs())
groups = st.one_of(*_COMMON, *_COMMON, *_COMMON, *_RARE, *_RARE, guests())


@st.composite
def streams(draw: Draw) -> list[Event]:
    """The events of a world in the order in which they come in."""
    found = [event for group in draw(st.lists(groups, min_size=6, max_size=24)) for event in group]
    draw(st.randoms(use_true_random=False)).shuffle(found)
    return found


def something_of_everything() -> list[Event]:
    """What a random world may lack: all answers to surveys, all outcomes of a mail, a bot."""
    noon = FIRST + timedelta(days=3, hours=12)
    asked = [
        Event(
            Kind.SURVEY_ANSWER,
            noon + timedelta(days=grade),
            Dimension("Email", survey=survey),
            {"survey": survey, "grade": grade},
        )
        for survey in SURVEYS
        for grade in (1, 0, -1)
    ]
    kinds = [kind for kind in Kind if kind.name.startswith("EMAIL_")]
    mailed = [
        Event(kind, noon + timedelta(hours=hours), TOUCHES[3], {"message": uid("mail", outcome)})
        for outcome in kinds
        for hours, kind in enumerate((Kind.EMAIL_SENT, outcome))
    ]
    bot = Event(Kind.PAGE_VIEW, noon, TOUCHES[1], {}, 9, int(Flag.BOT), DETAILS[2])
    return [*asked, *mailed, bot]
