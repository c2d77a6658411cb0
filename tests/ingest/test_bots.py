from __future__ import annotations

import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA

from service.ingest import bots
from service.ingest.bots import is_bot, is_machine, prepare
from tests.ingest.patterns import repeats

WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) {WEBKIT}"
ANDROID = (
    "AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/125.0.6422.165 Mobile Safari/537.36"
)

PEOPLE = {
    "Chrome": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/130.0.0.0 Safari/537.36",
    "Edge": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0",
    "Firefox": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
    "Firefox with FirePHP": "Mozilla/5.0 (Windows NT 6.1; rv:43.0) Gecko/20100101 Firefox/43.0"
    " FirePHP/0.7.4",
    "Safari": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/17.5 Safari/605.1.15",
    "Safari on a phone": f"{IPHONE} Version/17.5 Mobile/15E148 Safari/604.1",
    "Chrome on an iPhone": f"{IPHONE} CriOS/126.0.6478.54 Mobile/15E148 Safari/604.1",
    "Google app": f"{IPHONE} GSA/320.0.639 Mobile/15E148 Safari/604.1",
    "DuckDuckGo": f"{IPHONE} Version/17.5 Mobile/15E148 DuckDuckGo/7 Safari/605.1.15",
    "Samsung": "Mozilla/5.0 (Linux; Android 14; SAMSUNG SM-S918B) AppleWebKit/537.36"
    " (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36",
    "Opera": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/129.0.0.0 Safari/537.36 OPR/115.0.0.0",
    "Opera Mini": "Opera/9.80 (Android; Opera Mini/36.2.2254/119.132; U; id) Presto/2.12.423"
    " Version/12.16",
    "Yandex": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/124.0.0.0 YaBrowser/24.6.0.0 Safari/537.36",
    "Internet Explorer": "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
    "television": "Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/87.0.4280.88 Safari/537.36 WebAppManager",
    "console": "Mozilla/5.0 (PlayStation; PlayStation 5/6.00) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/13.0 Safari/605.1.15",
    "Cubot telephone": f"Mozilla/5.0 (Linux; Android 9; CUBOT X19 Build/PPR1; wv) {ANDROID}",
    "Cubot telephone, name last": f"Mozilla/5.0 (Linux; Android 12; KING KONG CUBOT) {ANDROID}",
    "telephone with MIDP": "LG-A390/V100 Obigo/Q05A MMS/LG-MMS-V1.0/1.2 Java/ASVM/1.1"
    " Profile/MIDP-2.1 Configuration/CLDC-1.1",
    "Facebook app": f"{IPHONE} Mobile/21F90 [FBAN/FBIOS;FBAV/468.0.0.38.115;FBLC/da_DK;FBOP/5]",
    "Facebook app on Android": f"Mozilla/5.0 (Linux; Android 14; SM-S918B; wv) {ANDROID}"
    " [FB_IAB/FB4A;FBAV/468.0.0.56.77;IABMV/1;]",
    "Instagram app": f"{IPHONE} Mobile/21F90 Instagram 336.0.0.23.89 (iPhone15,2; da_DK)",
    "Pinterest app": f"{IPHONE} Mobile/15E148 [Pinterest/iOS]",
    "LinkedIn app": f"{IPHONE} Mobile/15E148 [LinkedInApp]/9.29.8",
    "X app": f"{IPHONE} Mobile/15E148 Twitter for iPhone/10.45",
    "WeChat": f"{IPHONE} Mobile/15E148 MicroMessenger/8.0.49(0x18003137) NetType/WIFI",
}

PROGRAMS = {
    "Googlebot": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Googlebot on a phone": "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P)"
    " AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36"
    " (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "bingbot": "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0;"
    " +http://www.bing.com/bingbot.htm) Chrome/116.0.1938.76 Safari/537.36",
    "GPTBot": "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko); compatible; GPTBot/1.1;"
    " +https://openai.com/gptbot",
    "ClaudeBot": "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ClaudeBot/1.0;"
    " +claudebot@anthropic.com)",
    "Baiduspider": "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
    "Yahoo": "Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)",
    "AhrefsBot": "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
    "Facebook's preview": "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "WhatsApp's preview": "WhatsApp/2.23.20.0",
    "Slack's preview": "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "headless Chrome": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
    " HeadlessChrome/130.0.0.0 Safari/537.36",
    "PhantomJS": "Mozilla/5.0 (Unknown; Linux x86_64) AppleWebKit/534.34 (KHTML, like Gecko)"
    " PhantomJS/1.9.2 Safari/534.34",
    "Lighthouse": "Mozilla/5.0 (Linux; Android 11) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Chrome/130.0.0.0 Mobile Safari/537.36 Chrome-Lighthouse",
    "feed parser": "UniversalFeedParser/4.2-pre-314-svn +http://feedparser.org/",
    "feed fetcher": "Digg Feed Fetcher 1.0 (Mozilla/5.0 (Macintosh; Intel Mac OS X 10_7_1))",
    "Ezooms": "Mozilla/5.0 (compatible; Ezooms/1.0; help@moz.com)",
    "UptimeRobot": "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
    "curl": "curl/8.7.1",
    "Wget": "Wget/1.21.4",
    "Python": "python-requests/2.32.3",
    "aiohttp": "Python/3.12 aiohttp/3.9.5",
    "Java": "Java/17.0.11",
    "Go": "Go-http-client/2.0",
    "PHP": "PHP/8.3.8",
    "okhttp": "okhttp/4.12.0",
    "nothing": "",
    "a dash": "-",
    "blanks": "   ",
}


@pytest.mark.parametrize("agent", PEOPLE.values(), ids=PEOPLE)
def test_browsers_and_apps_are_people(agent: str) -> None:
    assert not is_bot(agent)
    assert not is_machine(agent)


@pytest.mark.parametrize("agent", PROGRAMS.values(), ids=PROGRAMS)
def test_crawlers_and_programs_are_bots(agent: str) -> None:
    assert is_bot(agent)
    assert is_machine(agent)


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0"
        " (via ggpht.com GoogleImageProxy)",
        "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
    ],
    ids=["Gmail", "Gmail, newer", "Yahoo"],
)
def test_image_proxies_open_mails_for_people_and_request_no_pages(agent: str) -> None:
    assert not is_machine(agent)
    assert is_bot(agent)


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)",
        f"{IPHONE} Mobile/15E148",
        IPHONE,
        f" {IPHONE} ",
    ],
)
def test_apples_prefetch_does_not_name_itself(agent: str) -> None:
    assert is_machine(agent)
    assert not is_bot(agent), "a nameless browser still reads pages"


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Microsoft Outlook 16.0; ms-office)",
        f"{IPHONE} Mobile/15E148 Outlook-iOS/709.2226530.prod.iphone (3.24.0)",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:115.0) Gecko/20100101 Thunderbird/115.11.1",
        "Airmail 3.6 rv:574 (Macintosh; Intel Mac OS X 10_14)",
    ],
)
def test_mail_programs_are_people(agent: str) -> None:
    assert not is_machine(agent)


@pytest.mark.parametrize(
    "agent",
    [
        "Mozilla/5.0 (compatible; Proofpoint URL Defense)",
        "Mimecast URL Protection Service",
        "BarracudaCentral Link Protection/1.0",
        "Mozilla/5.0 (Windows NT 10.0) Chrome/80 Safari/537.36 SafeLinks",
    ],
)
def test_mail_scanners_are_machines(agent: str) -> None:
    assert is_machine(agent)


def test_the_list_finds_its_own_examples() -> None:
    """Nearly: some examples of the list are longer than what we look at."""
    examples = [text for entry in CRAWLER_USER_AGENTS_DATA for text in entry["instances"]]
    missed = [text for text in examples if not is_bot(text)]
    assert len(examples) > 1_000
    assert missed == []


def test_rules_have_names_of_their_own() -> None:
    for rules in (bots.BOT_RULES, bots.MACHINE_RULES):
        names = [name for name, _ in rules]
        assert len(names) == len(set(names))
    assert {name for name, _ in bots.BOT_RULES} < {name for name, _ in bots.MACHINE_RULES}


def test_only_the_beginning_of_a_long_user_agent_is_looked_at() -> None:
    chrome = PEOPLE["Chrome"]
    assert is_bot(f"{chrome} Googlebot/2.1")
    assert not is_bot(chrome + " " * 1_000 + "Googlebot/2.1")
    # And only that is remembered: two that differ later are one to the cache.
    before = bots._is_bot.cache_info()
    is_bot("q" * 600 + "1")
    is_bot("q" * 600 + "2")
    after = bots._is_bot.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 1)


def test_patterns_cannot_be_made_slow() -> None:
    """No repeat stands in another, and few stand in a row: 512 characters bound the steps.

    Three in a row would be 512 to the fourth at worst, if a text could keep all of them busy; the
    list's patterns begin with a word of their own, which a text must hold to get that far.
    """
    prepare()
    own = (bots._PROGRAM, bots._READERS_PROXY, bots._MAIL_SCANNER)
    assert [repeats(pattern).in_a_row for pattern in own] == [0, 0, 0]
    assert repeats(bots._NAMELESS).depth == 1  # matched as a whole, every part ends by itself
    for pattern in bots._patterns():
        found = repeats(pattern)
        assert found.depth <= 1, pattern.pattern
        assert found.in_a_row <= 3, pattern.pattern
