"""What sort of device a browser runs on, by its user agent: which is not stored, this word is.

An iPad whose Safari asks for desktop pages says that it is a Macintosh, and counts as a desktop.
"""

from __future__ import annotations

import re
from functools import lru_cache

_LONGEST = 512
"""Characters that are looked at: also what bounds the time of a verdict."""

DEVICES: tuple[tuple[str, re.Pattern[str]], ...] = (
    # A mail service's machines fetch in the reader's place; apps' own requests name no form.
    ("", re.compile(r"GoogleImageProxy|YahooMailProxy|^Dalvik/")),
    (
        "tv",
        re.compile(
            r"Smart-?TV|Apple ?TV|Google ?TV|Android ?TV|BRAVIA|HbbTV|NetCast|Web0S|Tizen.* TV\b"
            r"|\bRoku|\bCrKey|\bAFT[A-Z]",
            re.IGNORECASE,
        ),
    ),
    # Internet Explorer told of a desktop's pen as `Tablet PC`.
    ("tablet", re.compile(r"iPad|Kindle|Silk/(?!.*Mobi)|PlayBook|Tablet(?! PC)|Android(?!.*Mobi)")),
    ("mobile", re.compile(r"Mobi|iPhone|iPod|Windows Phone|BlackBerry|Opera Mini|KAIOS|MIDP")),
    ("desktop", re.compile(r"Windows|Macintosh|X11|CrOS|Linux")),
)
"""Class and pattern; the first that is found wins, and '' means that nobody knows."""


@lru_cache(maxsize=8192)
def _device_of(agent: str) -> str:
    return next((device for device, pattern in DEVICES if pattern.search(agent)), "")


def device_of(user_agent: str) -> str:
    """`desktop`, `mobile`, `tablet`, `tv`, or '' where the user agent does not tell."""
    # Cut before the cache, so that long user agents do not fill the memory.
    return _device_of(user_agent[:_LONGEST])
