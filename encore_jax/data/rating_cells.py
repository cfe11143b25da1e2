"""Ratings as people write them (4, "7/10", "80 %", "yes"), and the scale that they are on."""

from __future__ import annotations

import contextlib
import functools
import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from encore_jax.data.orientation import Scale
from encore_jax.errors import InputError

USUAL: tuple[Scale, ...] = ((0, 1), (1, 5), (0, 5), (1, 7), (1, 10), (0, 10), (0, 100))
"""Scales that people use, the narrowest first."""
SIGNED: tuple[Scale, ...] = ((-1, 1), (-2, 2), (-3, 3))
"""Those with ratings below 0."""
MISSING = frozenset({
    "", "-", "--", "---", "\N{EN DASH}", "\N{EM DASH}", ".", "?",
    "na", "n/a", "n.a.", "#n/a", "<na>", "nan", "null", "none", "missing",
})  # fmt: skip
WORDS = {"yes": 1.0, "y": 1.0, "true": 1.0, "no": 0.0, "n": 0.0, "false": 0.0}
_NUMBER = r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_FORMS = re.compile(rf"({_NUMBER})\s*(?:(%)|(?:/|out of)\s*({_NUMBER}))?")
HOW = 'write a number, "7/10", "80 %", yes or no; leave a missing rating empty'


class Cell(NamedTuple):
    """A rating, and the end of its scale where the cell says so: 10 of "7/10", 100 of "80 %", 1 of "yes"."""

    value: float
    top: float | None = None


def parse_cell(raw: object) -> Cell | None:
    """What a cell says; None where there is no rating.

    Raises:
      InputError: it is no rating.

    >>> [parse_cell(raw) for raw in (4, "4,5", "7/10", "80 %", "Yes", "n/a")]
    ... # doctest: +NORMALIZE_WHITESPACE
    [Cell(value=4.0, top=None), Cell(value=4.5, top=None), Cell(value=7.0, top=10.0), Cell(value=80.0, top=100.0),
     Cell(value=1.0, top=1.0), None]
    """
    if raw is None:
        return None
    if isinstance(raw, bool):
        return Cell(float(raw), 1.0)
    if isinstance(raw, int | float):
        return None if raw != raw else Cell(_finite(_float(raw), raw))
    return _parse_text(str(raw).strip())


def is_rating(raw: object) -> bool:
    """Whether a cell is a rating, or empty."""
    with contextlib.suppress(InputError):
        parse_cell(raw)
        return True
    return False


@functools.lru_cache(maxsize=1 << 12)
def _parse_text(text: str) -> Cell | None:
    """Remembers texts, because the same few ratings come again."""
    if text.lower() in MISSING:
        return None
    if text.lower() in WORDS:
        return Cell(WORDS[text.lower()], 1.0)
    if not (found := _FORMS.fullmatch(text)):
        raise InputError(f"{text[:60]!r} is no rating", fix=HOW)
    value, percent, of = found.groups()
    top = 100.0 if percent else _number(of) if of else None
    if top is not None and not 0 < top < math.inf:
        raise InputError(f"{text[:60]!r} is no rating", fix=HOW)
    return Cell(_finite(_number(value), text), top)


def _float(number: float) -> float:
    """The number; infinite if it is a whole one of more than 308 digits."""
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _number(text: str) -> float:
    return float(text.replace(",", "."))


def _finite(value: float, raw: object) -> float:
    if not math.isfinite(value):
        raise InputError(f"{str(raw)[:60]!r} is no finite number", fix=HOW)
    return value


def infer_scale(cells: Iterable[Cell]) -> Scale:
    """The scale that ratings are on: what they say themselves, else the narrowest usual one that holds them.

    Raises:
      InputError: ratings say different ends, or lie beyond the end that others say.

    >>> infer_scale([Cell(2), Cell(5)]), infer_scale([Cell(7, 10)]), infer_scale([Cell(1, 1)]), infer_scale([Cell(-9)])
    ((1, 5), (1, 10), (0, 1), (-9, -8))
    """
    low, high, tops = math.inf, -math.inf, []
    for cell in cells:
        low, high = min(low, cell.value), max(high, cell.value)
        if cell.top is not None and cell.top not in tops:
            tops.append(cell.top)
    if len(tops) > 1:
        problem = f"some are out of {tops[0]:g}, others out of {tops[1]:g}"
        raise InputError(problem, fix="bring them to one scale")
    if low > high:
        return USUAL[0]
    usual = [scale for scale in (*USUAL, *SIGNED) if not tops or scale[1] == tops[0]]
    for scale in usual:
        if scale[0] <= low and high <= scale[1]:
            return scale
    if tops and (high > tops[0] or low < 0):
        problem = f"some are out of {tops[0]:g}, and one is {high if high > tops[0] else low:g}"
        raise InputError(problem, fix="bring them to one scale")
    if tops:
        return (1.0 if low >= 1 and tops[0] > 1 else 0.0, tops[0])
    return (low, high if high > low else low + 1)
