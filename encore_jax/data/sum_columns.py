"""Columns that are the sum or the mean of a table's rules: their agreement with the rules is arithmetic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from encore_jax.data.rating_cells import Cell

FEWEST_ROWS, FEWEST_RULES = 8, 3
"""Rows and other rules from which a sum is no chance."""
ROUNDED = 0.0501
"""What a mean that is written with one decimal may be off."""


def summing(cells: Mapping[str, Sequence[Cell | None]], rules: Sequence[str]) -> dict[str, str]:
    """The columns that are the sum or the mean of all other rules in every row, and why in words.

    Args:
      cells: N cells of every rule.
      rules: those that are compared; rows in which one of them has no rating are left out.

    >>> rows = np.random.default_rng(0).integers(1, 6, (9, 3))
    >>> table = dict(zip("abc", rows.T), overall=rows.mean(1).round(1))
    >>> summing({rule: [Cell(float(x)) for x in own] for rule, own in table.items()}, list(table))
    {'overall': 'the mean of the 3 other rules in all 9 rows'}
    """
    if len(rules) <= FEWEST_RULES:
        return {}
    x = np.array([[np.nan if cell is None else cell.value for cell in cells[rule]] for rule in rules]).T
    x = x[~np.isnan(x).any(1)]
    if len(x) < FEWEST_ROWS or (x == x[:, :1]).all():
        return {}
    others = x.sum(1, keepdims=True) - x
    count = len(rules) - 1
    for kind, expected, off in (("sum", others, 1e-6), ("mean", others / count, ROUNDED)):
        equal = (np.abs(x - expected) <= off).all(0) & (np.ptp(x, axis=0) > 2 * off)
        if equal.sum() == 1:
            k = int(equal.argmax())
            return {rules[k]: f"the {kind} of the {count} other rules in all {len(x):,} rows"}
    return {}
