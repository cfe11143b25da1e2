"""What a whole file of prompts and responses holds, found before anything of it is scored."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from encore_jax.cli.score_repeats import Repeats
from encore_jax.cli.score_rows import Item, read_items
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError


class Totals(NamedTuple):
    """What a whole input holds: items, characters of all responses and prompts, what was skipped, and what repeats."""

    items: int
    characters: int
    skips: SkipCounter
    repeats: Repeats


def count(source: Path, format: str, chunk: int) -> Totals:
    """Reads a file once, whose chunks have so many rows.

    Raises:
      InputError: there is nothing in it, or a row breaks the format.
    """
    items, characters, skips, repeats = 0, 0, SkipCounter(), Repeats()
    for item in read_items(source, format, skips):
        repeats.see(item, items // chunk)
        items += 1
        characters += characters_of(item)
    if not items:
        raise InputError("there is nothing to score", where=str(source), fix="check the file")
    repeats.find()
    return Totals(items, characters, skips, repeats)


def characters_of(item: Item) -> int:
    """Of its prompt and all responses."""
    return sum(len(turn.content) for turn in item.prompt) + sum(map(len, item.responses))
