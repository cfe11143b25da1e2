"""Rule heads: one linear score per rule on the pooled feature, always in fp32.

`declare_heads` says once what their parameters are; initialisation, sharding and the Flax module follow from it.
Letters: D features, K rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from encore_jax.errors import InputError


class HeadParam(NamedTuple):
    """A parameter of the heads, in fp32.

    Attributes:
      shape: in letters, ``[D, K]`` or ``[K]``.
      axes: a logical name for every axis, which sharding rules map to mesh axes.
      init: a jax initialiser ``(key, shape, dtype) -> array``.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    init: Callable[..., jax.Array]


def declare_heads(width: int, rules: int) -> dict[str, HeadParam]:
    """The parameters of K heads on D features: a small random kernel, column k for rule k, and offsets of zero.

    >>> {name: param.axes for name, param in declare_heads(8, 3).items()}
    {'kernel': ('embed', 'rules'), 'bias': ('rules',)}
    """

    def small(key: Array, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        return jax.random.normal(key, shape, dtype) * width**-0.5

    return {
        "kernel": HeadParam((width, rules), ("embed", "rules"), small),
        "bias": HeadParam((rules,), ("rules",), jax.nn.initializers.zeros),
    }


def init_heads(key: Array, width: int, rules: int) -> dict[str, Array]:
    """Fresh heads: kernel ``[D, K]`` and bias ``[K]``."""
    return {name: p.init(key, p.shape, jnp.float32) for name, p in declare_heads(width, rules).items()}


PREFERENCE = "preference"
"""What the head trained on preferences is called, beside those of rules or alone."""


def joint_head_names(rules: Sequence[str]) -> tuple[str, ...]:
    """Names of the heads of joint training: the K rules', then the preference head's.

    Raises:
      InputError: a rule has the preference head's name, so no one could tell the two apart.

    >>> joint_head_names(("violence", "privacy"))
    ('violence', 'privacy', 'preference')
    """
    if PREFERENCE in rules:
        raise InputError(
            f"a rule is called {PREFERENCE!r}, which is the name of the head that is trained on preferences",
            where="rules",
            fix="rename the rule in the pool and in its ratings",
        )
    return (*rules, PREFERENCE)


class RuleHeads(nn.Module):
    """K linear heads over the same feature.

    Attributes:
      rules: K, the number of rules.
    """

    rules: int

    @nn.compact
    def __call__(self, features: Float[Array, "*b D"]) -> Float[Array, "*b K"]:
        """Scores of every rule, fp32; see `rule_scores`."""
        params = {
            name: self.param(name, nn.with_logical_partitioning(p.init, p.axes), p.shape, jnp.float32)
            for name, p in declare_heads(features.shape[-1], self.rules).items()
        }
        return rule_scores(features, **params)


def rule_scores(
    features: Float[Array, "*b D"], kernel: Float[Array, "D K"], bias: Float[Array, " K"] | None = None
) -> Float[Array, "*b K"]:
    """``features @ kernel + bias`` in fp32: bf16 scores would tie (their step at 23 is 1/8).

    Args:
      features: pooled hidden states, any dtype.
      kernel: column k belongs to rule k.
      bias: one offset per rule.

    Raises:
      InputError: widths that do not fit.

    >>> rule_scores(jnp.array([[1.0, 2.0]]), jnp.eye(2)).tolist()
    [[1.0, 2.0]]
    """
    if features.shape[-1] != kernel.shape[0]:
        raise InputError(
            f"features are {features.shape[-1]} wide and the heads expect {kernel.shape[0]}",
            where="rule heads",
        )
    scores = jnp.matmul(features.astype(jnp.float32), kernel.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST)
    if bias is None:
        return scores
    return scores + bias.astype(jnp.float32).reshape((1,) * (scores.ndim - 1) + bias.shape)
