"""Which files or data sets records are of, in words."""

from __future__ import annotations

import re
from collections.abc import Iterable

from encore_jax.data.comparison import Comparison, RatedResponse
from encore_jax.formats import printable

MOST_NAMES = 3
"""Files that are named before the rest is counted."""
_OF_FILE = re.compile(r"(.+):\d+")


def origin(records: Iterable[Comparison | RatedResponse]) -> str:
    """The files that records without an id of their own were read from, or the data sets that they name; "" if neither
    is known.

    >>> from encore_jax.data import Message
    >>> lines = [Comparison((Message("user", "Hi"),), ("a", "b"), id=f"held_out.jsonl:{i}") for i in (1, 2)]
    >>> origin(lines)
    'held_out.jsonl'
    """
    names: dict[str, None] = {}
    for record in records:
        of_file = _OF_FILE.fullmatch(record.id)
        if name := of_file[1] if of_file else record.source:
            names[name] = None
    shown = [printable(name) for name in list(names)[:MOST_NAMES]]
    return ", ".join(shown) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")
