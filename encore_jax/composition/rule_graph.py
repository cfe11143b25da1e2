"""The reward under vetoes and prerequisites, exactly or smoothly, and what decided it.

With scores ψ (oriented: higher is better), weights w, the scale's lowest value ``l``, and for each condition whether it
passes (``p = 1`` or 0; smoothly ``sigmoid((ψ - threshold) / T)``):

- a rule counts by ``c_k``, the product of the passes of all prerequisites that it rests on, directly or through others:
  ``ψ'_k = min(ψ_k, l) + c_k max(ψ_k - l, 0)``; where it does not count, it is as the lowest rating;
- the composed reward ``φ = Σ_k w_k ψ'_k`` then passes the vetoes, the highest cap first:
  ``φ <- min(φ, cap) + p max(φ - cap, 0)``.

So a better score never lowers the reward (weights are at least 0), whatever the graph. As T goes to 0 the smooth reward
becomes the exact one wherever no score lies on a threshold; there the exact one passes and the smooth one half passes.

Letters: N responses, K rules, E prerequisites, V vetoes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from encore_jax.composition.checks import has_values, numbers, real_number
from encore_jax.errors import InputError
from encore_jax.rules.graph import RuleGraph

NOBODY = -1
"""In place of a rule where no veto decided."""

VETO = "veto"
"""In place of a rule's name: what a veto takes away from a reward."""


class CompiledGraph(NamedTuple):
    """A rule graph as arrays, its vetoes from the highest cap to the lowest.

    Attributes:
      low: lowest rating.
      veto_rule, veto_threshold, cap: ``[V]``.
      needed, threshold: ``[E]``: the rule that each prerequisite looks at, and from where it is met.
      rests_on: bool ``[K, E]``: which prerequisites each rule rests on, directly or through others.
    """

    low: float
    veto_rule: np.ndarray
    veto_threshold: np.ndarray
    cap: np.ndarray
    needed: np.ndarray
    threshold: np.ndarray
    rests_on: np.ndarray


def compile_graph(graph: RuleGraph, rules: Sequence[str]) -> CompiledGraph:
    """Arrays of a graph whose thresholds are oriented (`RuleGraph.oriented`).

    Raises:
      InputError: see `RuleGraph.check`.
    """
    graph.check(rules, [1] * len(rules))
    place = {rule: k for k, rule in enumerate(rules)}
    vetoes = sorted(graph.vetoes, key=lambda veto: (-graph.cap(veto), place[veto.rule]))
    edges = graph.prerequisites
    own: dict[int, list[int]] = {}
    for e, edge in enumerate(edges):
        own.setdefault(place[edge.rule], []).append(e)
    rests_on, stack, done = np.zeros((len(rules), len(edges)), bool), list(own), set()
    while stack:  # a rule after those that it needs; there is no circle
        k = stack[-1]
        needed = [place[edges[e].needs] for e in own.get(k, ())]
        waiting = [j for j in needed if j in own and j not in done]
        if waiting and k not in done:
            stack += waiting
            continue
        stack.pop()
        if k not in done:
            done.add(k)
            rests_on[k, own.get(k, [])] = True
            for j in needed:
                rests_on[k] |= rests_on[j]
    return CompiledGraph(
        float(graph.scale[0]),
        np.array([place[veto.rule] for veto in vetoes], np.int32),
        np.array([veto.threshold for veto in vetoes], np.float32),
        np.array([graph.cap(veto) for veto in vetoes], np.float32),
        np.array([place[edge.needs] for edge in edges], np.int32),
        np.array([edge.threshold for edge in edges], np.float32),
        rests_on,
    )


def compose_graph(
    scores: Float[Array, "*batch K"],
    weights: Float[Array, "..."],
    graph: CompiledGraph,
    temperature: float | Float[Array, ""] | None = None,
) -> Float[Array, "*batch"]:
    """Rewards ``[...]`` under a rule graph; see the module.

    Args:
      scores: ``[..., K]``, oriented, on the graph's scale.
      weights: ``[K]`` or ``[..., K]``.
      graph: see `compile_graph`.
      temperature: T > 0 for training (the gradient flows through the conditions too), in units of the scale; None is
        the exact reward.

    Raises:
      InputError: other rules; or (not under `jax.jit`) scores that are not finite, a temperature that is not positive.

    >>> from encore_jax.rules.graph import Prerequisite, RuleGraph, Veto
    >>> rules = ("lawful", "helpful")
    >>> graph = compile_graph(RuleGraph([Veto("lawful", 0.2)], [Prerequisite("helpful", "lawful", 0.5)]), rules)
    >>> scores = jnp.array([[0.1, 1.0], [0.25, 1.0], [0.75, 1.0]])
    >>> compose_graph(scores, jnp.array([0.5, 0.5]), graph).tolist()  # vetoed; helpful does not count; it does
    [0.0, 0.125, 0.875]
    >>> compose_graph(scores, jnp.array([0.5, 0.5]), graph, 1e-3).round(4).tolist()[2]
    0.875
    """
    scores = numbers(scores, "scores", rank=1)
    weights = numbers(weights, "weights", rank=1)
    if scores.shape[-1] != graph.rests_on.shape[0] or weights.shape[-1] != scores.shape[-1]:
        problem = f"scores {scores.shape} and weights {weights.shape} for a graph of {graph.rests_on.shape[0]} rules"
        raise InputError(problem, where="compose_graph", fix="pass the pool's rules, [..., K] and [K] or [..., K]")
    if temperature is not None and has_values(temperature):
        fix = "use a number above 0, or None for the exact reward"
        real_number(temperature, "temperature", lambda value: value > 0, fix)
    reward = (counted_scores(scores, graph, temperature) * jnp.broadcast_to(weights, scores.shape)).sum(-1)
    for v in range(len(graph.cap)):
        passes = _passes(scores[..., int(graph.veto_rule[v])], graph.veto_threshold[v], temperature)
        reward = jnp.minimum(reward, graph.cap[v]) + passes * jnp.maximum(reward - graph.cap[v], 0.0)
    return reward


def counted_scores(
    scores: Float[Array, "*batch K"], graph: CompiledGraph, temperature: float | Float[Array, ""] | None = None
) -> Float[Array, "*batch K"]:
    """Scores ψ' with prerequisites applied: what is weighted and added up before any veto."""
    if not len(graph.needed):
        return jnp.asarray(scores, jnp.float32)
    scores = jnp.asarray(scores, jnp.float32)
    passes = [_passes(scores[..., int(j)], t, temperature) for j, t in zip(graph.needed, graph.threshold, strict=True)]
    counts = []
    for row in graph.rests_on:
        count = jnp.ones(scores.shape[:-1])
        for e in np.flatnonzero(row):
            count = count * passes[e]
        counts.append(count)
    return jnp.minimum(scores, graph.low) + jnp.stack(counts, -1) * jnp.maximum(scores - graph.low, 0.0)


class Decision(NamedTuple):
    """What a rule graph made of N rewards, exactly.

    Attributes:
      rewards: ``[N]``.
      counted: ``[N, K]``: the scores that were added up.
      before: ``[N]``: rewards before any veto.
      decided_by: ``[N]``: the rule whose veto set the reward, `NOBODY` where none did.
      not_counted: bool ``[N, K]``: rules whose prerequisites are not met.
    """

    rewards: np.ndarray
    counted: np.ndarray
    before: np.ndarray
    decided_by: np.ndarray
    not_counted: np.ndarray


def decide(scores: Float[np.ndarray, "N K"], weights: Float[np.ndarray, "..."], graph: CompiledGraph) -> Decision:
    """The exact rewards of N responses and what decided each, in NumPy, row by row: no other response has a say.

    Of several vetoes that apply, the lowest cap decides; of equal caps, the one of the rule that falls short
    by most, then the first. A veto that applies and changes nothing, the reward being as low already, decides nothing.

    Args:
      scores: NaN where there are none; the reward is NaN then.
      weights: ``[K]`` or ``[N, K]``.
    """
    scores = np.asarray(scores, np.float32)
    unmet = ~(scores[:, graph.needed] >= graph.threshold[None])
    not_counted = unmet.astype(np.float32) @ graph.rests_on.T.astype(np.float32) > 0
    counted = np.where(not_counted, np.minimum(scores, np.float32(graph.low)), scores)
    before = (counted * np.asarray(weights, np.float32)).sum(1)
    short = graph.veto_threshold[None] - scores[:, graph.veto_rule]  # > 0 where a veto applies
    rewards, decided_by = before.copy(), np.full(len(scores), NOBODY)
    for cap in dict.fromkeys(graph.cap.tolist()):
        of_cap = np.where((graph.cap == cap)[None] & (short > 0), short, -np.inf)
        applies = (of_cap > -np.inf).any(1) & (rewards > cap) if of_cap.shape[1] else np.zeros(len(scores), bool)
        rewards = np.where(applies, np.float32(cap), rewards)
        decided_by = np.where(applies, graph.veto_rule[of_cap.argmax(1)], decided_by)
    return Decision(rewards, counted, before, decided_by, not_counted & ~np.isnan(scores).any(1)[:, None])


def _passes(score: Array, threshold, temperature) -> Array:
    if temperature is None:
        return jnp.where(score >= threshold, 1.0, 0.0)
    return jax.nn.sigmoid((score - threshold) / temperature)
