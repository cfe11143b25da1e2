"""Messages that a chat template does not print: cut reasoning, a system message left out; noticed, counted and shown.

What a template changes about a text without losing anything is no matter: white space, and escaping for JSON or HTML.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import escape

from encore_jax.terminal_text import cut

_SHORT = 24
"""Characters of a message that may well stand in what a template prints by itself, such as "user"."""


def hidden_messages(turns: Sequence[Mapping[str, Any]], text: str, own: str = "") -> list[int]:
    """Which messages do not occur in a rendering, or not wholly, by their numbers.

    Args:
      turns: the messages.
      text: what the template printed for them.
      own: what it prints by itself for messages of these roles.

    >>> turns = [{"role": "system", "content": "No."}, {"role": "user", "content": " No. Why? "}]
    >>> hidden_messages(turns, "<user>No. Why?</user>")
    [0]
    """
    pieces = [(i, piece) for i, turn in enumerate(turns) for piece in _pieces(turn.get("content"))]
    at = 0
    for _, piece in pieces:
        found = text.find(piece, at)
        if found < 0 or (len(piece) < _SHORT and piece in own):
            break
        at = found + len(piece)
    else:
        return []  # all of them, one after the other
    return _search(pieces, text, own)


def describe(turns: Sequence[Mapping[str, Any]], hidden: Sequence[int]) -> str:
    """Says which messages are hidden: the first of them in its own words."""
    if not hidden:
        return ""
    turn = turns[hidden[0]]
    quoted = cut(" ".join(str(turn.get("content")).split()), 60)
    more = f" and {len(hidden) - 1} more" if len(hidden) > 1 else ""
    return f"the chat template does not print, or not wholly, the {turn.get('role')} message {quoted!r}{more}"


def _pieces(content: Any) -> list[str]:
    """The texts of a message without white space around them."""
    parts = content if isinstance(content, list | tuple) else [content]
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in parts]
    return [text.strip() for text in texts if isinstance(text, str) and text.strip()]


def _search(pieces: Sequence[tuple[int, str]], text: str, own: str) -> list[int]:
    """The same in any order, the longest first, each in a place of its own that is not the template's."""
    text, own, hidden = _bare(text), _bare(own), set()
    for i, piece in sorted(pieces, key=lambda one: -len(one[1])):
        ways = (piece, *(json.dumps(piece, ensure_ascii=ascii)[1:-1] for ascii in (False, True)), str(escape(piece)))
        way = next((way for way in map(_bare, ways) if text.count(way) > own.count(way)), None)
        if way is None:
            hidden.add(i)
        else:
            text = text.replace(way, "\0", 1)
    return sorted(hidden)


def _bare(text: str) -> str:
    return "".join(text.split())
