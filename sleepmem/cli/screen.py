"""The terminal, as no stored text and no model's answer can steer it.

What moves the cursor, hides text or turns its direction is written as an escape such as \\x1b, and
rich's markup means nothing. The one place where the command prints.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from typing import Any

from rich.console import Console
from rich.text import Text

# What may steer: all but printable ASCII, newline and tab is looked at.
_LOOKED_AT = re.compile(r"[^\n\t -~]")
# Control characters, halves of surrogate pairs, separators of lines and of paragraphs.
_STEERING = {"Cc", "Cs", "Zl", "Zp"}
# Of the marks without a shape: those that turn the direction of what follows, and those of no
# direction, which hide between letters.
_TURNING_OR_HIDDEN = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "BN"}
# Persian, Indic scripts and emoji are spelt with these.
_JOINERS = "\u200c\u200d"


def shown(text: object) -> str:
    """The text as a terminal may show it; line ends of Windows are line ends."""
    return _LOOKED_AT.sub(_escaped, str(text).replace("\r\n", "\n"))


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    category = unicodedata.category(character)
    is_mark = category == "Cf" and character not in _JOINERS
    steers = is_mark and unicodedata.bidirectional(character) in _TURNING_OR_HIDDEN
    if category in _STEERING or steers:
        return character.encode("unicode_escape").decode()
    return character


class Screen(Console):
    """rich's console for plain texts: in lines, in tables, whole."""

    def render_str(self, text: str, **how: Any) -> Text:  # type: ignore[override]
        plain = {"emoji": False, "markup": False, "highlight": False, "highlighter": None}
        return super().render_str(shown(text), **{**how, **plain})

    def say(self, text: object) -> None:
        """Print it as it is, in lines of any length."""
        print(shown(text), file=self.file)


class Notes(logging.Handler):
    """Shows what is logged: a warning may quote what was stored."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.say(self.format(record))
