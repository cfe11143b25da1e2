"""Names of columns that are of one of several responses, such as ``kind_a``, ``Kind (A)`` and ``A: Kind``."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

_BETWEEN = r"\s*[ _.:/-]\s*"
_BEFORE = r"\s*[(\[]\s*"
_ANY = r"[a-z]|\d+"


def rule_and_side(column: str, sides: Iterable[str]) -> tuple[str, str] | None:
    """What a column is named after, and of which response; None if its name says no side.

    Args:
      column: in any case.
      sides: the responses' names. One at the end counts before one at the beginning.

    >>> [rule_and_side(name, "ab") for name in ("kind_a", "Kind (B)", "A: Kind", "b_b", "kind", "drama")]
    [('kind', 'a'), ('Kind', 'b'), ('Kind', 'a'), ('b', 'b'), None, None]
    """
    names = {side.lower(): side for side in sides}
    found = _parted(column, "|".join(re.escape(side) for side in names)) if names else None
    return None if found is None else (found[0], names[found[1].lower()])


def response_side(column: str, words: Iterable[str]) -> str | None:
    """The side of a column of responses, in lower case; None if it is none.

    Args:
      column: in any case.
      words: what responses are called.

    >>> [response_side(name, ["response"]) for name in ("response_a", "Response (2)", "B - Response", "kind_a")]
    ['a', '2', 'b', None]
    """
    found = _parted(column, _ANY)
    return found[1].lower() if found and found[0].lower() in words else None


@functools.lru_cache(maxsize=10_000)  # chat rows are asked about one by one
def _parted(column: str, side: str) -> tuple[str, str] | None:
    forms = (
        rf"(?P<rest>.+?)(?:{_BETWEEN}(?P<side>{side})|{_BEFORE}(?P<within>{side})\s*[)\]])",
        rf"(?:(?P<side>{side})|[(\[](?P<within>{side})[)\]]){_BETWEEN}(?P<rest>.+)",
    )
    for form in forms:
        if match := re.fullmatch(form, column.strip(), re.IGNORECASE):
            rest = match["rest"].strip(" _.:/-")
            return (rest, match["side"] or match["within"]) if rest else None
    return None
