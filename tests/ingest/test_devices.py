from __future__ import annotations

import pytest

from service.ingest.devices import DEVICES, device_of
from tests.ingest.patterns import repeats

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/126.0.0.0 Safari/537.36",
         "desktop"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
         " Version/17.5 Safari/605.1.15", "desktop"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0", "desktop"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/126.0.0.0 Safari/537.36",
         "desktop"),
        ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; Trident/4.0; Tablet PC 2.0)",
         "desktop"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like"
         " Gecko) Version/17.5 Mobile/15E148 Safari/604.1", "mobile"),
        (f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/126.0.0.0 Mobile Safari/537.36",
         "mobile"),
        ("Mozilla/5.0 (Android 14; Mobile; rv:127.0) Gecko/127.0 Firefox/127.0", "mobile"),
        ("Mozilla/5.0 (Windows Phone 8.1; ARM; Trident/7.0; Touch; IEMobile/11.0) like Gecko",
         "mobile"),
        ("Opera/9.80 (J2ME/MIDP; Opera Mini/7.1.32052/29.3709; U; en) Presto/2.8.119", "mobile"),
        ("Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
         " Version/12.1 Mobile/15E148 Safari/604.1", "tablet"),
        (f"Mozilla/5.0 (Linux; Android 13; SM-X906C) {WEBKIT} Chrome/126.0.0.0 Safari/537.36",
         "tablet"),
        ("Mozilla/5.0 (Android 13; Tablet; rv:109.0) Gecko/118.0 Firefox/118.0", "tablet"),
        (f"Mozilla/5.0 (Linux; Android 11; KFTRWI) {WEBKIT} Silk/126.4.1 like Chrome/126.0.0.0"
         " Safari/537.36", "tablet"),
        ("Mozilla/5.0 (X11; U; Linux armv7l like Android; en-us) AppleWebKit/531.2+ (KHTML, like"
         " Gecko) Version/5.0 Safari/533.2+ Kindle/3.0+", "tablet"),
        (f"Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) {WEBKIT} Version/5.0 TV Safari/537.36", "tv"),
        (f"Mozilla/5.0 (Linux; Tizen 2.3) {WEBKIT} SamsungBrowser/2.1 TV Safari/538.1", "tv"),
        (f"Mozilla/5.0 (Web0S; Linux/SmartTV) {WEBKIT} Chrome/79.0.3945.79 Safari/537.36", "tv"),
        (f"Mozilla/5.0 (Linux; Android 9; BRAVIA 4K UR3) {WEBKIT} Chrome/112.0.0.0 Safari/537.36",
         "tv"),
        (f"Mozilla/5.0 (Linux; Android 9; AFTMM) {WEBKIT} Silk/112.6.3 like Chrome/112.0.0.0"
         " Safari/537.36", "tv"),
        ("AppleTV11,1/11.1", "tv"),
        ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Firefox/11.0 (via ggpht.com GoogleImageProxy)", ""),
        ("Dalvik/2.1.0 (Linux; U; Android 9; SM-G960F Build/PPR1.180610.011)", ""),
        ("curl/8.4.0", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_what_browsers_run_on(agent: str, device: str) -> None:
    assert device_of(agent) == device
    # Only the beginning is looked at.
    assert device_of(agent.ljust(512) + "iPad SmartTV") == device


def test_patterns_cannot_be_made_slow() -> None:
    """The texts are cut to 512 characters, and no repeat stands within another."""
    for _, pattern in DEVICES:
        assert repeats(pattern).depth <= 1
        assert repeats(pattern).in_a_row <= 2
