"""Why rows are not used: every one for one reason, so that the used ones and all reasons add up to those read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from encore_jax.errors import InputError


class Reason(NamedTuple):
    """Why some of N rows are not used.

    Attributes:
      text: completes "3 of them ...", such as "are longer than 256 tokens".
      rows: bool ``[N]``, which rows it applies to.
      fix: what to do about it.
    """

    text: str
    rows: Bool[np.ndarray, " N"]
    fix: str


def count_left_out(total: int, reasons: Sequence[Reason]) -> tuple[Bool[np.ndarray, " N"], list[int]]:
    """Which rows are left, and how many each reason takes; a row counts for the first reason that applies to it.

    >>> long, tied = np.array([True, False, True]), np.array([True, True, False])
    >>> reasons = [Reason("are long", long, ""), Reason("are ties", tied, "")]
    >>> used, counts = count_left_out(3, reasons)
    >>> used.tolist(), counts
    ([False, False, False], [2, 1])
    """
    left, counts = np.ones(total, bool), []
    for reason in reasons:
        counts.append(int((left & reason.rows).sum()))
        left &= ~np.asarray(reason.rows, bool)
    return left, counts


def require_some(
    total: int, reasons: Sequence[Reason], *, what: str, purpose: str, where: str, least: int = 1
) -> Bool[np.ndarray, " N"]:
    """The rows that are left, bool ``[N]``.

    Args:
      total: N.
      reasons: in order.
      what: the rows' name in the plural, such as "comparisons".
      purpose: completes "none of 3 comparisons is left ...", such as "to train on".
      where: what is named as the place.
      least: so many must be left.

    Raises:
      InputError: fewer are left. Says how many each reason took, and how to get around the reasons that took most.

    >>> require_some(1, [Reason("are long", np.array([True]), "raise L")], what="texts", purpose="to score", where="f")
    Traceback (most recent call last):
    encore_jax.errors.InputError: f: 0 of 1 texts are left to score: 1 are long. Fix: raise L
    """
    left, counts = count_left_out(total, reasons)
    if left.sum() >= least:
        return left
    taken = sorted((pair for pair in zip(counts, reasons, strict=True) if pair[0]), key=lambda pair: -pair[0])
    parts = ", ".join(f"{count} {reason.text}" for count, reason in taken) or "there were no more"
    few = f", {least} are needed" if least > 1 else ""
    fixes = dict.fromkeys(reason.fix for _, reason in taken)
    raise InputError(
        f"{int(left.sum())} of {total} {what} are left {purpose}{few}: {parts}",
        where=where,
        fix="; or ".join(fixes) or f"give more {what}",
    )
