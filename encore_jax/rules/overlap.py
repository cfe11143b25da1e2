"""Rules that say nearly the same: overlap of their wording."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from encore_jax.rules.rule import Rule


class Overlap(NamedTuple):
    """Two rules and the share of word pieces they have in common."""

    first: str
    second: str
    share: float


def word_pieces(text: str, n: int = 3) -> frozenset[str]:
    """All runs of n letters of the words in lower case, word ends included.

    >>> sorted(word_pieces("No slur"))
    [' no', ' sl', 'lur', 'no ', 'slu', 'ur ']
    """
    words = re.findall(r"[^\W_]+", text.lower())
    return frozenset(
        padded[i : i + n] for word in words for padded in [f" {word} "] for i in range(len(padded) - n + 1)
    )


def near_duplicates(rules: Iterable[Rule], at_least: float = 0.6) -> list[Overlap]:
    """Pairs of rules whose wording overlaps (Jaccard index of word pieces), most alike first.

    >>> near_duplicates([Rule("a", "It has no slurs."), Rule("b", "It has no slur."), Rule("c", "Be kind.")])[0][:2]
    ('a', 'b')
    """
    pieces = [(rule.name, word_pieces(rule.text)) for rule in rules]
    found = []
    for i, (name, mine) in enumerate(pieces):
        for other, theirs in pieces[i + 1 :]:
            share = len(mine & theirs) / max(1, len(mine | theirs))
            if share >= at_least:
                found.append(Overlap(name, other, share))
    return sorted(found, key=lambda pair: (-pair.share, pair.first, pair.second))
