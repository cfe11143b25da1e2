"""From the rewards of K rules to the advantages of a group: GRPO on the sum, GDPO, and rules as constraints.

Every function is pure and takes arrays that `jax.jit` may trace. NaN stands for a reward that does not exist (a
completion too long to be scored): it enters no mean, and a completion without any reward has advantage 0.

Shape letters: B groups, G completions of one prompt, K rules.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from encore_jax.composition.checks import has_values, numbers, shortened
from encore_jax.errors import InputError

Method = Literal["grpo", "gdpo", "constraints"]


class Convention(NamedTuple):
    """How a trainer divides by a standard deviation.

    Attributes:
      eps: added to the standard deviation within a group.
      ddof: 1 divides the sum of squares by one less than their number, 0 by their number.
      batch_eps: GDPO's last step: added to the batch's standard deviation, or to its variance (`batch_variance`).
      batch_variance: see `batch_eps`.
      keep_single: whether the reward of a group of one is its own advantage; else it is 0.
    """

    eps: float
    ddof: int = 1
    batch_eps: float = 0.0
    batch_variance: bool = False
    keep_single: bool = False


CONVENTIONS = {
    "trl": Convention(eps=1e-4, batch_eps=1e-4),
    "verl": Convention(eps=1e-6, batch_eps=1e-8, batch_variance=True, keep_single=True),
    "tunix": Convention(eps=1e-6, batch_eps=1e-6),
}
"""By trainer. Tunix has GRPO alone: its GDPO here divides as its GRPO does."""


def group_advantages(
    rewards: Float[Array, "*batch G K"],
    weights: Float[Array, "..."],
    method: Method = "grpo",
    *,
    convention: str | Convention = "trl",
    divide: bool = True,
    tokens: Float[Array, "*batch G"] | None = None,
    thresholds: Float[Array, " K"] | None = None,
    multipliers: Float[Array, " K"] | None = None,
) -> Float[Array, "*batch G"]:
    """The advantage of every completion, from its rewards by rule.

    ``"grpo"`` composes first: ``r = Σ_k w_k r_k``, then ``(r - mean) / (sd + eps)`` within the group.
    ``"gdpo"`` (arXiv 2601.05242) divides each rule by its own spread: ``a_k = (r_k - mean_k) / (sd_k + eps)`` within
    the group, ``s = Σ_k w_k a_k``, then ``(s - mean) / (sd + eps)`` over the whole batch.
    ``"constraints"`` is GRPO on ``Σ_k w_k r_k - Σ_k λ_k max(0, c_k - r_k)``: below ``c_k`` it costs, and being above it
    earns nothing more; `updated_multipliers` finds the λ.

    Args:
      rewards: ``[G, K]`` of one group or ``[..., G, K]`` of many; NaN where there is none.
      weights: ``[K]``, or ``[..., G, K]`` (a gate's, one for each text); whatever broadcasts against the rewards.
      method: see above.
      convention: "trl", "verl" or "tunix", or a `Convention` of your own.
      divide: whether standard deviations within a group are divided by; without it, GRPO is Dr. GRPO.
      tokens: of GDPO, how many tokens each completion has, where the batch's mean and spread are those of tokens
        (verl's are); one each if left out (TRL).
      thresholds: of "constraints", ``[K]``: c, -inf for a rule without one.
      multipliers: of "constraints", ``[K]``: λ >= 0; 1 if left out.

    Returns:
      fp32 ``[..., G]``; exactly 0 in a group (GDPO: batch) whose completions are all equal.

    Raises:
      InputError: shapes that do not belong together, an unknown method or convention, arguments of another method, or
        (not under `jax.jit`) text, infinite rewards, weights that are no numbers.

    >>> rewards = jnp.array([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0]]])  # the paper's figure 2
    >>> [[f"{a:.2f}" for a in group] for group in group_advantages(rewards, jnp.ones(2))]
    [['-0.71', '0.71'], ['-0.71', '0.71']]
    >>> [[f"{a:.2f}" for a in group] for group in group_advantages(rewards, jnp.ones(2), "gdpo")]
    [['-0.55', '0.55'], ['-1.10', '1.10']]
    """
    rewards, weights = _checked(rewards, weights)
    convention = _convention(convention)
    if method not in get_args(Method):
        fix = f"use one of {', '.join(get_args(Method))}"
        raise InputError(f"is {shortened(method)}", where="group_advantages, method", fix=fix)
    given = {"tokens": tokens, "thresholds": thresholds, "multipliers": multipliers}
    takes = {"grpo": (), "gdpo": ("tokens",), "constraints": ("thresholds", "multipliers")}[method]
    for name, value in given.items():
        if value is not None and name not in takes:
            raise InputError(f"method {method!r} has no {name}", where=f"group_advantages, {name}", fix="leave it out")
    if method == "gdpo":
        return _gdpo(rewards, weights, _tokens(tokens, rewards), convention, divide)
    cost = jnp.zeros(rewards.shape[:-1])
    if method == "constraints":
        if thresholds is None:
            raise InputError("are missing", where="group_advantages, thresholds", fix="pass [K], -inf for no threshold")
        cost = _cost(rewards, thresholds, 1.0 if multipliers is None else multipliers)
    return _grpo(rewards, weights, cost, convention, divide)


def shortfalls(rewards: Float[Array, "*batch K"], thresholds: Float[Array, " K"]) -> Float[Array, "*batch K"]:
    """By how much each reward lies below its rule's threshold, ``max(0, c_k - r_k)``; 0 where there is no reward.

    >>> shortfalls(jnp.array([0.25, 0.75]), jnp.array([0.5, 0.5])).tolist()
    [0.25, 0.0]
    """
    rewards = numbers(rewards, "rewards", rank=1, finite=False)
    thresholds = jnp.broadcast_to(_per_rule(thresholds, "thresholds", rewards), rewards.shape)
    return jnp.where(jnp.isnan(rewards), 0.0, jnp.maximum(0.0, thresholds - rewards))


def updated_multipliers(
    multipliers: Float[Array, " K"],
    rewards: Float[Array, "*batch K"],
    thresholds: Float[Array, " K"],
    *,
    step_size: float = 1.0,
    tolerance: float = 0.0,
) -> Float[Array, " K"]:
    """One step of dual ascent: ``λ_k + step_size (mean shortfall_k - tolerance)``, at least 0.

    The constraint is that a rule's mean shortfall (`shortfalls`) is at most `tolerance`. As long as it is larger, the
    price of falling below the threshold rises; it falls again where the rule keeps to it.

    Args:
      multipliers: λ before, ``[K]``.
      rewards: of the completions of this step, ``[..., K]``; those without a reward do not count.
      thresholds: ``[K]``, -inf for a rule without one.
      step_size: > 0.
      tolerance: a mean shortfall that is allowed.

    >>> updated_multipliers(jnp.array([1.0, 1.0]), jnp.array([[0.0, 0.9], [0.5, 0.9]]), jnp.array([0.5, 0.5]),
    ...                     tolerance=0.125).tolist()
    [1.125, 0.875]
    """
    rewards = numbers(rewards, "rewards", rank=1, finite=False)
    multipliers = _per_rule(multipliers, "multipliers", rewards)
    axes = tuple(range(rewards.ndim - 1))
    count = jnp.maximum(1.0, jnp.where(jnp.isnan(rewards), 0.0, 1.0).sum(axes))
    mean = shortfalls(rewards, thresholds).sum(axes) / count
    return jnp.maximum(0.0, multipliers + step_size * (mean - tolerance))


def _cost(rewards: Array, thresholds, multipliers) -> Array:
    """What the completions pay for falling short, ``[..., G]``."""
    prices = _per_rule(multipliers, "multipliers", rewards)
    if has_values(prices) and (np.asarray(prices) < 0).any():
        raise InputError("one is negative", where="group_advantages, multipliers", fix="use λ >= 0")
    return (jnp.broadcast_to(prices, rewards.shape) * shortfalls(rewards, thresholds)).sum(-1)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _grpo(rewards: Array, weights: Array, cost: Array, convention: Convention, divide: bool) -> Array:
    missing = jnp.isnan(rewards)
    total = (jnp.where(missing, 0.0, rewards) * weights).sum(-1) - cost
    return _normalised(jnp.where(missing.all(-1), jnp.nan, total), convention, divide)


@functools.partial(jax.jit, static_argnums=(3, 4))
def _gdpo(rewards: Array, weights: Array, tokens: Array, convention: Convention, divide: bool) -> Array:
    per_rule = _normalised(jnp.moveaxis(rewards, -1, 0), convention, divide)  # [K, ..., G]
    total = (jnp.moveaxis(per_rule, 0, -1) * weights).sum(-1)
    exists = ~jnp.isnan(rewards).all(-1)
    offset, spread = _moments(jnp.where(exists, total, jnp.nan).ravel(), convention.ddof, tokens.ravel())
    if convention.batch_variance:
        scaled = offset / jnp.sqrt(spread**2 + convention.batch_eps)
    else:
        scaled = offset / (spread + convention.batch_eps)
    return jnp.where(exists, scaled.reshape(total.shape), 0.0)


def _normalised(rewards: Array, convention: Convention, divide: bool) -> Array:
    """Each group's rewards ``[..., G]`` around their mean, in their standard deviations; 0 where there is none."""
    missing = jnp.isnan(rewards)
    if rewards.shape[-1] == 1 and convention.keep_single:
        offset, spread = rewards, jnp.ones_like(rewards)
    else:
        offset, spread = _moments(rewards, convention.ddof)
    scaled = offset / (spread + convention.eps) if divide else offset
    return jnp.where(missing, 0.0, scaled)


def _moments(values: Array, ddof: int, count: Array | None = None) -> tuple[Array, Array]:
    """Distances from the mean and the standard deviation, over the last axis; both exactly 0 where all are equal.

    Args:
      values: NaN where there is none.
      ddof: see `Convention`.
      count: how often each value counts.
    """
    exists = ~jnp.isnan(values)
    count = jnp.where(exists, 1.0 if count is None else count, 0.0)
    # Seen from one of the values themselves, equal values are 0 whatever rounding does to a mean.
    first = jnp.take_along_axis(values, jnp.argmax(exists, -1, keepdims=True), -1)
    shifted = jnp.where(exists, values - first, 0.0)
    total = count.sum(-1, keepdims=True)
    offset = jnp.where(exists, shifted - (count * shifted).sum(-1, keepdims=True) / jnp.maximum(total, 1.0), 0.0)
    variance = (count * offset**2).sum(-1, keepdims=True) / jnp.maximum(total - ddof, 1.0)
    # A square root has no gradient at 0.
    spread = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
    return offset, spread


def _checked(rewards, weights) -> tuple[Array, Array]:
    rewards, weights = numbers(rewards, "rewards", rank=2, finite=False), numbers(weights, "weights", rank=1)
    if 0 in rewards.shape:
        fix = "pass [..., G, K] of at least one completion and one rule"
        raise InputError(f"have shape {rewards.shape}", where="rewards", fix=fix)
    if has_values(rewards) and np.isinf(np.asarray(rewards)).any():
        raise InputError("one is infinite", where="rewards", fix="pass NaN where there is no reward")
    try:
        shape = jnp.broadcast_shapes(weights.shape, rewards.shape)
    except ValueError:
        shape = None
    if shape != rewards.shape or weights.shape[-1] != rewards.shape[-1]:
        problem = f"weights {weights.shape} do not fit rewards {rewards.shape}"
        raise InputError(problem, where="group_advantages", fix="pass [K], or [..., G, K] with the same K rules")
    return rewards, jnp.broadcast_to(weights, rewards.shape)


def _convention(convention: str | Convention) -> Convention:
    if isinstance(convention, Convention):
        return convention
    if convention not in CONVENTIONS:
        fix = f"use one of {', '.join(CONVENTIONS)}, or a Convention"
        raise InputError(f"is {shortened(convention)}", where="group_advantages, convention", fix=fix)
    return CONVENTIONS[convention]


def _tokens(tokens, rewards: Array) -> Array:
    if tokens is None:
        return jnp.ones(rewards.shape[:-1])
    tokens = numbers(tokens, "tokens")
    if tokens.shape != rewards.shape[:-1]:
        problem = f"have shape {tokens.shape}, the completions {rewards.shape[:-1]}"
        raise InputError(problem, where="group_advantages, tokens", fix="pass one number for each completion")
    return tokens


def _per_rule(values, name: str, rewards: Array) -> Array:
    values = numbers(values, name, finite=False)
    rules = rewards.shape[-1]
    if values.shape not in ((), (rules,)):
        raise InputError(f"have shape {values.shape}", where=name, fix=f"pass [K] for K = {rules} rules")
    if has_values(values) and np.isnan(np.asarray(values)).any():
        raise InputError("one is not a number", where=name, fix="use -inf for a rule without a threshold")
    return jnp.broadcast_to(values, (rules,))
