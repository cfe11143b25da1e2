"""Every way of weighting a model's rules on a benchmark's pairs, beside the model's own.

A benchmark has no training comparisons, and its labels are what methods are judged by. So the methods are those that
look at no label: weights that were made with the model, and what the scores themselves say.

Letters: N comparisons, P pairs of a right and a wrong response, K rules.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from encore_jax.composition import Margin, entropy_weights
from encore_jax.composition.settings import ENCORE, UNIFORM
from encore_jax.evaluation.bootstrap import percentile_interval
from encore_jax.evaluation.methods import Method, agreement_methods, critical_methods, half_credit
from encore_jax.evaluation.rule_agreement import rule_agreement
from encore_jax.evaluation.view import Pairs

MODEL = "the model"
"""Its own weights, or its gate."""
NO_ENTROPY = "the model's passport holds no entropies of ratings"


def right_and_wrong(
    scores: Sequence[Float[np.ndarray, "n K"]], right: Sequence[Bool[np.ndarray, " n"]], prompts: Sequence[Hashable]
) -> tuple[Pairs, Int[np.ndarray, "P 2"], Int[np.ndarray, " P"]]:
    """Every right response against every wrong one, of every comparison.

    Args:
      scores: of the responses of each of N comparisons.
      right: which of them are right; one at least is, and one is not.
      prompts: equal for comparisons of one prompt.

    Returns:
      The P pairs, the right response first; the numbers of their responses among all responses in turn; and of every
      pair the number of its comparison.

    >>> pairs, at, comparison = right_and_wrong([np.zeros((3, 2))], [np.array([True, False, False])], ["Hi"])
    >>> at.tolist(), comparison.tolist()
    ([[0, 1], [0, 2]], [0, 0])
    """
    numbers = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    at, comparison, start = [], [], 0
    for i, good in enumerate(right):
        own = [(start + a, start + b) for a in np.flatnonzero(good) for b in np.flatnonzero(~good)]
        at += own
        comparison += [i] * len(own)
        start += len(good)
    at, comparison = np.array(at).reshape(-1, 2), np.array(comparison, int)
    cluster = np.array([numbers[prompts[i]] for i in comparison], int)
    flat = np.concatenate(scores).astype(np.float32)
    pairs = Pairs(flat[at], np.zeros(len(at), int), cluster, np.full(len(at), "all"))
    return pairs, at, comparison


def label_free_methods(
    pairs: Pairs,
    rules: Sequence[str],
    *,
    entropy: Float[np.ndarray, " K"] | None = None,
    tau: float = 2.0,
    seed: int = 0,
) -> list[Method]:
    """ENCORE, equal weights, agreement, their product, and critical rules; none looks at which response is right.

    Args:
      pairs: in any orientation, which changes nothing.
      rules: K names, two at least.
      entropy: of the ratings that the rules' heads were trained on, if it is known.
      tau: temperature of the entropy weights.
      seed: of the bootstrap that tells whether the rules have one thing in common.
    """
    count = len(rules)
    equal = np.full(count, 1 / count, np.float32)
    by_entropy = None if entropy is None else np.asarray(entropy_weights(np.asarray(entropy, np.float32), tau))
    agreement = rule_agreement(pairs, tuple(rules), labelled=False, entropy=entropy, tau=tau, seed=seed)
    encore = Method(ENCORE, "ratings", by_entropy, refused="" if entropy is not None else NO_ENTROPY)
    return [
        encore,
        Method(UNIFORM, "nothing", equal),
        *agreement_methods(agreement, by_entropy),
        *critical_methods("critical rules", np.ones(count, np.float32)),
    ]


def benchmark_methods(
    pairs: Pairs,
    comparison: Int[np.ndarray, " P"],
    own: Margin,
    methods: Sequence[Method],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> list[dict]:
    """Accuracy of every method, and what it gains on the model's own reward, as plain values.

    A comparison's credit is the share of its pairs whose right response has the higher reward, a tie one half.

    Args:
      pairs: the right response first.
      comparison: of every pair, 0 to N - 1.
      own: the model's margins ``[P]``.
      methods: others.
      replicates, seed: of the bootstrap over prompts, the same for all methods.

    Returns:
      A row for each, the model's own first: name, sees, refused (why there is no such method, or ""), accuracy and
      minus_model with 95 % intervals, None where refused.
    """
    size = np.bincount(comparison)
    known = size > 0
    cluster = np.zeros(len(size), int)
    cluster[comparison] = pairs.cluster

    def credit(values: np.ndarray) -> np.ndarray:
        return np.bincount(comparison, values)[known] / size[known]

    numbers = np.unique(cluster[known], return_inverse=True)[1]
    prompts = int(numbers.max()) + 1
    times = np.random.default_rng(seed).multinomial(prompts, np.full(prompts, 1 / prompts), replicates)
    drawn = times @ np.bincount(numbers)

    def told(values: np.ndarray) -> dict[str, float]:
        low, high = percentile_interval(times @ np.bincount(numbers, values, prompts) / drawn)
        return {"value": float(values.mean()), "low": float(low), "high": float(high)}

    reference = credit(own.credit)
    rows = [{"name": MODEL, "sees": "", "refused": "", "accuracy": told(reference), "minus_model": None}]
    for method in methods:
        row = {"name": method.name, "sees": method.sees, "refused": method.refused, "accuracy": None}
        row |= {"minus_model": None}
        if method.weights is not None:
            value = credit(half_credit(pairs, method.weights, method.critical)[0])
            row |= {"accuracy": told(value), "minus_model": told(value - reference)}
        rows.append(row)
    return rows
