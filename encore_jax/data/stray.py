"""Ratings that do not belong to the others: an inferred scale must not rest on a slip of the pen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from encore_jax.data.mixed_scales import SeveralScales, check_mixed
from encore_jax.data.orientation import Scale
from encore_jax.data.rating_cells import SIGNED, USUAL, Cell, infer_scale

FEW = 0.01
"""A scale that at most this share of the ratings needs is theirs alone, and is asked for."""
ENOUGH = 100
"""Of fewer ratings it is only said: a single one is more than this share of them."""
LEAST = 10
CLEARLY = 0.1
"""How far beyond the narrower scale they are at least, in its widths: predictions of -0.01 or 1.02 are no slips."""
FIX = (
    "give the ratings' scale: scale=(LOWEST, HIGHEST); of a command --scale=LOWEST,HIGHEST, of a run "
    "--config.data.scale=LOWEST,HIGHEST"
)
"""How a scale is given, wherever it is."""


def check_stray(
    values: Mapping[str, np.ndarray],
    scales: Mapping[str, Scale],
    place: Callable[[str, int], str],
    fix: str = FIX,
) -> None:
    """Refuses inferred scales that a few ratings decide, as one 55 among thousands from 1 to 5; warns where there are
    too few ratings to tell.

    Args:
      values: ``[n]`` by rule, all its ratings.
      scales: of every rule; rules of one scale are looked at together.
      place: where a rule's i-th rating stands.
      fix: how the scale is given.

    Raises:
      InputError: naming the rating; or one of a rule that is rated on two scales (`encore_jax.data.mixed_scales`).

    >>> grades = np.repeat([1.0, 2, 3, 4, 5], 40)
    >>> check_stray({"kind": grades}, {"kind": (1, 5)}, "line {1}".format)
    >>> check_stray({"kind": np.append(grades, 55)}, {"kind": (0, 100)}, "{1}".format)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    encore_jax.data.mixed_scales.SeveralScales: 200, rule 'kind': this rating is 55, and the other 200...
    """
    check_mixed(values, place, fix)
    total = sum(map(len, values.values()))  # a rule that a slip has put on a scale of its own has few
    for scale in dict.fromkeys(scales.values()):
        rules = [rule for rule in values if scales.get(rule) == scale and len(values[rule])]
        together = np.concatenate([values[rule] for rule in rules]) if rules else np.zeros(0)
        narrower = _narrower(together, scale)
        if narrower is None:
            continue
        far = {rule: _beyond(values[rule], narrower) for rule in rules}
        count = sum(int(one.sum()) for one in far.values())
        rule = next(rule for rule in rules if far[rule].any())
        i = int(np.flatnonzero(far[rule])[0])
        which = "this rating is" if count == 1 else f"{count:,} ratings are far from all others, this one is"
        problem = (
            f"{which} {values[rule][i]:g}, and the other {len(together) - count:,} lie on the scale from "
            f"{narrower[0]:g} to {narrower[1]:g}"
        )
        where = f"{place(rule, i)}, rule {rule!r}"
        if total < ENOUGH:
            log = logging.getLogger(__name__)
            log.warning("%s: %s; the scale is taken to be %g to %g because of it", where, problem, *scale)
            continue
        one = "it" if count == 1 else "them"
        meant = "it is" if count == 1 else "they are"
        raise SeveralScales(problem, where=where, fix=f"correct {one} or leave {one} out; if {meant} meant so, {fix}")


def _narrower(values: np.ndarray, scale: Scale) -> Scale | None:
    """A usual scale that holds all but a few of the values, which lie clearly beyond it; None if there is none."""
    few = max(int(FEW * len(values)), 1 if LEAST <= len(values) < ENOUGH else 0)
    if not few:
        return None
    inner = np.sort(values)
    for kept in (inner[:-few], inner[few:]):
        found = infer_scale([Cell(float(kept[0])), Cell(float(kept[-1]))])
        if found in (*USUAL, *SIGNED) and found != tuple(scale) and scale[0] <= found[0] and found[1] <= scale[1]:
            beyond = _beyond(values, found)
            if beyond.any() and beyond.sum() == np.sum((values < found[0]) | (values > found[1])):
                return found
    return None


def _beyond(values: np.ndarray, scale: Scale) -> np.ndarray:
    far = CLEARLY * (scale[1] - scale[0])
    return (values < scale[0] - far) | (values > scale[1] + far)


def values_of(cells: Mapping[str, Sequence[Cell | None]]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Of every rule the values of its cells that hold one, and their numbers."""
    at = {rule: np.flatnonzero([cell is not None for cell in own]) for rule, own in cells.items()}
    return {rule: np.array([own[i].value for i in at[rule]], np.float64) for rule, own in cells.items()}, at
