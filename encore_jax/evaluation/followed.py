"""What the agreement weights follow, and which way round: a factor has no sign of its own.

Rules that agree may agree on the opposite of quality, and in a pool that splits only one part is about quality. An
anchor says so, or labels do. Where neither speaks, most rules are taken to be better than chance; if as many run one
way as the other, nothing is followed.

Letters: M pairs, K rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from encore_jax.composition.agreement import agreement_weights
from encore_jax.composition.camps import LEAST_LOADING, Commonality, camp_loadings
from encore_jax.composition.ties import Margin
from encore_jax.errors import InputError
from encore_jax.evaluation.few_labels import CHOSEN, preferred_side


class Part(NamedTuple):
    """Rules that follow one thing.

    Attributes:
      loading: ``[K]`` of all rules on it, the right way round as far as anything says so.
      by: what says which way round.
      weights: ``[K]``, agreement weights; None where nothing says which way round.
    """

    loading: Float[np.ndarray, " K"]
    by: Literal["anchor", "labels", "most rules", ""]
    weights: Float[np.ndarray, " K"] | None


class Followed(NamedTuple):
    """The parts of a pool, and which of them is meant.

    Attributes:
      parts: the one factor, or one for each camp; none if there is too little in common.
      camp: index of the camp that is meant; None if the pool does not split, or nothing says so.
      probability: of every camp, that its reward is better than any other camp's; empty without labels or split.
    """

    parts: tuple[Part, ...]
    camp: int | None
    probability: tuple[float, ...]

    @property
    def chosen(self) -> Part | None:
        """The part whose weights may be used."""
        at = 0 if len(self.parts) == 1 else self.camp
        return None if at is None or not self.parts or self.parts[at].weights is None else self.parts[at]


def follow(
    common: Commonality,
    correlation: Float[np.ndarray, "K K"],
    together: Float[np.ndarray, "K K"],
    spread: Float[np.ndarray, " K"],
    margin: Callable[[np.ndarray], Margin],
    sign: Float[np.ndarray, " M"],
    prompt: Int[np.ndarray, " M"],
    names: Sequence[str],
    anchor: str | None,
) -> Followed:
    """Turns every part the right way round, and finds the one that is meant.

    Args:
      common: what the rules have in common.
      correlation, together, spread: of all rules, from `correlations` and `spreads`.
      margin: of a weighting, over the pairs.
      sign: ``[M]``, 1 where people prefer the first response, -1 the second, 0 where nobody chose.
      prompt: ``[M]``.
      names: of the K rules.
      anchor: the name of a rule that is known to be about quality.

    Raises:
      InputError: there is no rule of the anchor's name, or it agrees with no other rule.
    """
    if anchor is not None and anchor not in names:
        raise InputError(f"there is no rule {anchor!r}", where="anchor", fix=f"use one of {', '.join(names)}")
    if common.verdict == "one common factor":
        loadings, members = [common.loading], [np.flatnonzero(np.abs(common.loading) >= LEAST_LOADING)]
    elif common.verdict == "the pool splits":
        loadings = [camp_loadings(correlation, together, camp) for camp in common.camps]
        members = [np.array(camp) for camp in common.camps]
    else:
        return Followed((), None, ())
    at = None if anchor is None else list(names).index(anchor)
    home = [i for i, camp in enumerate(members) if at in camp]
    if at is not None and not home:
        raise InputError("it agrees with no other rule", where=f"anchor {anchor!r}", fix="name another rule")
    labelled = sign != 0

    def credit(weights: np.ndarray) -> np.ndarray:
        part = margin(weights)
        return Margin(part.value * sign, part.tolerance).credit[labelled]

    def better(weights: np.ndarray, other: np.ndarray) -> float:
        return preferred_side(credit(weights), credit(other), prompt[labelled])

    def part_of(number: int, v: np.ndarray, camp: np.ndarray) -> Part:
        if number in home:
            return _part(v if v[at] > 0 else -v, spread, "anchor")
        lies_both_ways = (v[camp] > 0).any() and (v[camp] < 0).any()
        if labelled.any() and lies_both_ways:
            likely = better(_weights(v, spread), _weights(-v, spread))
            if max(likely, 1 - likely) >= CHOSEN:
                return _part(v if likely >= 0.5 else -v, spread, "labels")
        if len(loadings) == 1 and common.leaning_low <= 0:
            return Part(v, "", None)
        return _part(v, spread, "most rules")

    parts = tuple(part_of(i, v, camp) for i, (v, camp) in enumerate(zip(loadings, members, strict=True)))
    if len(parts) == 1:
        return Followed(parts, None, ())
    probability: tuple[float, ...] = ()
    if labelled.any():
        probability = tuple(
            min(better(own.weights, other.weights) for j, other in enumerate(parts) if j != i)
            for i, own in enumerate(parts)
        )
    likely = [i for i, p in enumerate(probability) if p >= CHOSEN]
    return Followed(parts, home[0] if home else likely[0] if likely else None, probability)


def _part(loading: np.ndarray, spread: np.ndarray, by) -> Part:
    return Part(loading, by, _weights(loading, spread))


def _weights(loading: np.ndarray, spread: np.ndarray) -> Float[np.ndarray, " K"]:
    return np.asarray(agreement_weights(loading, spread), np.float64)
