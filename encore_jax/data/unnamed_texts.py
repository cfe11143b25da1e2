"""Columns that hold texts, under names that nobody knows, in a table that is read as nothing but ratings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from encore_jax.data.fields import is_empty
from encore_jax.data.rating_advice import rename_words

Rows = Sequence[tuple[str, Mapping[str, object]]]
_FILLED = 0.9
"""Share of the rows in which a column of prompts or responses has a text; remarks are in fewer."""
_SEVERAL_WORDS = 1 / 3
"""Share of its texts that are more than a word, or as long as a sentence."""


def texts_lines(rows: Rows, unread: Sequence[str], prompt: str | None, where: str) -> tuple[str, ...]:
    """What to know of texts that are not read and may be prompts and responses, in sentences.

    Args:
      rows: ``(where, row)``, of one response each.
      unread: columns that are not read.
      prompt: the column of prompts, if one is known.
      where: the file, as errors name it.

    >>> rows = [("", {"ask": f"What is {i}?", "answer": f"It is {i} - {k}"}) for i in range(5) for k in range(2)]
    >>> texts_lines(rows, ["ask", "answer"], None, "the list")[0]  # doctest: +ELLIPSIS
    "Not read: columns 'ask' and 'answer'. If they are prompts and responses, have these compared: rename ...
    """
    distinct = {name: len({str(row.get(name)) for _, row in rows}) for name in unread if _holds_texts(rows, name)}
    texts = sorted(distinct, key=distinct.get)
    header = list(dict.fromkeys(name for _, row in rows for name in row))
    if prompt is None:
        if len(texts) < 2:
            return ()
        words = rename_words({texts[0]: "prompt", texts[-1]: "response"}, where, header)
        columns = f"{texts[0]!r} and {texts[-1]!r}"
        return (f"Not read: columns {columns}. If they are prompts and responses, have these compared: {words}",)
    count = Counter(str(row.get(prompt)) for _, row in rows if not is_empty(row.get(prompt)))
    several = sum(number > 1 for number in count.values())
    if not several:
        return ()
    stand = f"{several:,} prompt{'s stand' if several > 1 else ' stands'} in two rows or more"
    fix = 'Write the responses into a column "response" to have them compared.'
    if texts:
        words = rename_words({texts[-1]: "response"}, where, header)
        fix = f"If column {texts[-1]!r} holds it, have them compared: {words}"
    return (f"{stand}, which are not compared: there is no column for the response. {fix}",)


def _holds_texts(rows: Rows, column: str) -> bool:
    """Whether a column holds different texts, in nearly every row, of which many are more than a word."""
    cells = [row.get(column) for _, row in rows if not is_empty(row.get(column))]
    if len(cells) < _FILLED * len(rows) or not all(isinstance(cell, str) for cell in cells) or len(set(cells)) < 2:
        return False
    several = sum(len(cell.split()) > 1 or len(cell) > 10 and not cell.isascii() for cell in cells)
    return several >= _SEVERAL_WORDS * len(cells)
