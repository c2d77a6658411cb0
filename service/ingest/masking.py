"""What texts lose before they are stored: e-mail addresses, which are people, and controls."""

from __future__ import annotations

import re

# Begins where a run of such characters does, and gives none of them back: linear for any text.
_MAIL_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]++(?:@|%40)[\w-]++(?:\.[\w-]++)+")


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def printable(text: str) -> str:
    """The text with a space for every control character.

    A separator inside a text could make two dimensions, or two details, look like one to the hash.
    """
    return text if text.isprintable() else _CONTROL.sub(" ", text)


def masked(text: str) -> str:
    """The text with `[email]` in place of every e-mail address."""
    if "@" not in text and "%40" not in text:
        return text
    return _MAIL_ADDRESS.sub("[email]", text)
