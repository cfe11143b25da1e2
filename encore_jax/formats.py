"""Numbers as text, the same in the terminal, in figures and on the page."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from encore_jax.terminal_text import one_line

MISSING = "n/a"
"""What stands where there is no number."""

_LEAST, _ROUNDING = 0.0005, 1e-9
"""Shares that would be rounded to 0 or 1, unless they differ from these by fp64's rounding alone."""


def known(value: float | None) -> bool:
    """Whether there is a number: results may hold `None` or NaN, e.g. for a correlation over two rules."""
    return value is not None and math.isfinite(value)


def number(value: float | None) -> float:
    """The number, or NaN where there is none, which figures leave out.

    >>> number(0.5), number(None)
    (0.5, nan)
    """
    return float(value) if known(value) else math.nan


def fixed(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A number with so many decimals; never a negative zero.

    >>> fixed(1.005, 1), fixed(-0.04, 1, sign=True), fixed(float("nan"))
    ('1.0', '+0.0', 'n/a')
    """
    if not known(value):
        return MISSING
    return f"{round(value, digits) + 0.0:{'+' if sign else ''}.{digits}f}"


def percent(share: float | None) -> str:
    """A share in percent, one decimal, without the sign; what is not none or all is never shown as 0 or 100.

    >>> percent(0.7438), percent(1.0), percent(0.0001), percent(0.9999)
    ('74.4', '100.0', '<0.1', '>99.9')
    """
    if not known(share):
        return MISSING
    if _ROUNDING < share < _LEAST:
        return "<0.1"
    if 1 - _LEAST < share < 1 - _ROUNDING:
        return ">99.9"
    return fixed(100 * share, 1)


def points(difference: float | None) -> str:
    """A difference of two shares in percentage points.

    >>> points(-0.0123)
    '-1.2'
    """
    return fixed(100 * difference, 1, sign=True) if known(difference) else MISSING


def count(value: float | None) -> str:
    """A count; averages over draws keep one decimal.

    >>> count(363.0), count(356.71)
    ('363', '356.7')
    """
    if not known(value):
        return MISSING
    return f"{value:.0f}" if float(value).is_integer() else fixed(value, 1)


def counts_in_words(counts: Mapping[str, object]) -> str:
    """What was counted, on a line; values that are no whole numbers are left to the files.

    >>> counts_in_words({"texts": 1328, "dropped_too_long": 115, "penalty": 0.5})
    '1,328 texts, 115 dropped too long'
    """
    whole = {name: value for name, value in counts.items() if isinstance(value, int) and not isinstance(value, bool)}
    return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in whole.items())


def p_value(p: float | None) -> str:
    """A p-value, three decimals, never 0.

    >>> p_value(0.0421), p_value(0.0001), p_value(None)
    ('0.042', '<0.001', 'n/a')
    """
    return "<0.001" if known(p) and p < 0.0005 else fixed(p, 3)


def rounded(value: float | None) -> float | None:
    """A large count to two significant digits.

    >>> rounded(7847.3), rounded(None)
    (7800.0, None)
    """
    return float(f"{value:.1e}") if known(value) else None


def bounds(interval: Mapping[str, float | None], form=percent) -> str:
    """The interval of ``{"value", "low", "high"}``.

    >>> bounds({"value": 0.74, "low": 0.71, "high": 0.81})
    '[71.0, 81.0]'
    """
    return f"[{form(interval['low'])}, {form(interval['high'])}]"


def typeset(number: str) -> str:
    """A number's text with a real minus sign, for the page.

    >>> typeset("[-0.5, +0.1]")
    '[−0.5, +0.1]'
    """
    return number.replace("-", "\N{MINUS SIGN}")


def minus_signs(text: str) -> str:
    """A sentence whose negative numbers have a real minus sign, for the page; hyphens stay.

    >>> minus_signs("over rules [-0.45, +0.76]; see the common-footing variants of 10-15")
    'over rules [−0.45, +0.76]; see the common-footing variants of 10-15'
    """
    return re.sub(r"(?<![\w-])-(?=\d)", "\N{MINUS SIGN}", text)


def printable(text: object) -> str:
    """Text on one line without control characters, which could steer a terminal.

    >>> print(printable("a\\tb\\x1b[31m"))
    a b\\x1b[31m
    """
    return one_line(text)


def shortened(text: object, most: int = 30) -> str:
    """A name that fits into a figure.

    >>> shortened("a_name_that_is_too_long", 10)
    'a_name_th…'
    """
    text = printable(text)
    return text if len(text) <= most else text[: most - 1] + "…"
