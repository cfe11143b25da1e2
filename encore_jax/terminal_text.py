"""Text from data, models and servers, made safe for a terminal, a log and one line of a message."""

from __future__ import annotations

import unicodedata

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escaped(text: object, *, lines: bool = False) -> str:
    """Text in which nothing steers a terminal or hides: control and format characters appear as escapes.

    Letters, marks, signs and spaces of all scripts stay as they are.

    Args:
      text: anything; its `str` is taken.
      lines: keep line breaks and tabs.

    >>> print(escaped("a\\x1b[31m\\nb \\u202e \\ud800 \\u3000\\u00e9"))
    a\\x1b[31m\\nb \\u202e \\ud800 \u3000\u00e9
    """
    text = str(text)
    return text if text.isascii() and text.isprintable() else "".join(_escaped(c, lines) for c in text)


def _escaped(character: str, lines: bool) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs" or (lines and character in "\n\t"):
        return character
    return _SHORT.get(character) or character.encode("unicode_escape").decode()


def one_line(text: object) -> str:
    """The same for a cell of a table: runs of white space become one space.

    >>> print(one_line(" a\\tb\\x1b[31m"))
    a b\\x1b[31m
    """
    return escaped(" ".join(str(text).split()))


def cut(text: str, most: int) -> str:
    """A text of at most so many characters: the middle of a longer one is left out.

    >>> cut("abcdefghij", 7)
    'ab...ij'
    """
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[: most - 3 - half]}...{text[-half:]}"
