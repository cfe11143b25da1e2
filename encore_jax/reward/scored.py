"""Scores and weights of texts, and the rewards that they compose to.

Shape letters: N texts, K rules.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from encore_jax.composition.rule_graph import CompiledGraph, Decision, compile_graph, decide
from encore_jax.composition.ties import reward_tolerance
from encore_jax.reward.passport import Passport


class Scored(NamedTuple):
    """Scores and weights ``[N, K]`` of N texts, fp32; NaN scores where there are none.

    Attributes:
      scores, weights: as above.
      graph: vetoes and prerequisites under which they are composed, if the model has any.
    """

    scores: np.ndarray
    weights: np.ndarray
    graph: CompiledGraph | None = None

    @property
    def rewards(self) -> np.ndarray:
        """Composed rewards ``[N]``: ``φ = Σ_k w_k ψ_k``, or what a rule graph makes of it.

        Each depends on its own row alone, to the last bit.
        """
        return self.plain_rewards if self.graph is None else self.decision.rewards

    @property
    def plain_rewards(self) -> np.ndarray:
        """``Σ_k w_k ψ_k``, ``[N]``, whatever a rule graph says."""
        return (self.scores * self.weights).sum(1)

    @property
    def decision(self) -> Decision | None:
        """What the rule graph made of the rewards, and which veto decided; None without a graph."""
        return None if self.graph is None else decide(self.scores, self.weights, self.graph)

    @property
    def terms(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores and weights that add up to `rewards`: ``[N, K]``, or with vetoes ``[N, K + 1]``.

        Of a rule that does not count the score is the lowest. The last column, of weight 1, is what a veto takes away.
        """
        decision = self.decision
        if decision is None:
            return self.scores, np.asarray(self.weights)
        if not len(self.graph.cap):
            return decision.counted, np.asarray(self.weights)
        taken = (decision.rewards - decision.before)[:, None]
        return np.concatenate([decision.counted, taken], 1), np.concatenate([self.weights, np.ones_like(taken)], 1)

    @property
    def tolerances(self) -> np.ndarray:
        """By how much rounding may have moved each reward, ``[N]``; see `encore_jax.composition.ties`."""
        return reward_tolerance(self.scores, self.weights)


def compiled_graph(passport: Passport) -> CompiledGraph | None:
    """The rule graph of a passport as arrays, None without one."""
    return compile_graph(passport.graph, passport.rules) if passport.graph else None
