"""Does entropy predict accuracy? Pearson's r over the rules, with the interval that K rules allow."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from encore_jax.composition.checks import namespace, numbers, single
from encore_jax.errors import InputError


class Correlation(NamedTuple):
    """Pearson's r over `n` rules with its Fisher interval at `level`."""

    r: float
    low: float
    high: float
    n: int
    level: float


def pearson(x: Float[Array, "*batch K"], y: Float[Array, "*batch K"]) -> Float[Array, "*batch"]:
    """Pearson's correlation over the last axis; NaN where either side is constant, empty or not finite.

    Whatever the size of the numbers: they are multiplied by powers of two, so no square overflows or vanishes.

    >>> pearson(jnp.array([0.0, 1.0, 2.0]), jnp.array([3.0, 2.0, 1.0])).item()
    -1.0
    """
    x, y = (single(side, name, rank=1, finite=False) for side, name in ((x, "x"), (y, "y")))
    if x.shape[-1] != y.shape[-1]:
        raise InputError(f"shapes {x.shape} and {y.shape}", where="pearson", fix="pass [..., K] twice")
    xp, count = namespace(x, y), max(x.shape[-1], 1)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # answered by NaN
        constant = (x == x[..., :1]).all(-1) | (y == y[..., :1]).all(-1)  # whose deviations round to almost zero
        x, y = (_rescaled(side - side.sum(-1, keepdims=True) / count) for side in map(_rescaled, (x, y)))
        r = (x * y).sum(-1) / xp.sqrt((x * x).sum(-1) * (y * y).sum(-1))
        return xp.where(constant, xp.float32(xp.nan), xp.clip(r, -1.0, 1.0))


def _rescaled(x: Array) -> Array:
    """Times the power of two that brings the largest entry near 1."""
    xp = namespace(x)
    _, exponent = xp.frexp(xp.abs(x).max(-1, keepdims=True, initial=0.0))
    power = xp.ldexp(xp.ones_like(x[..., :1]), -xp.clip(exponent, -125, 125))
    return x * (jax.lax.stop_gradient(power) if xp is jnp else power)


def fisher_interval(r: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a correlation over n points by Fisher's z; (-1, 1) when n < 4.

    >>> low, high = fisher_interval(-0.93, 10)
    >>> round(low, 2), round(high, 2)
    (-0.98, -0.72)
    """
    r, level = (float(numbers(value, name, finite=False, dtype=None)) for value, name in ((r, "r"), (level, "level")))
    if not 0 < level < 1:
        raise InputError(f"level is {level}", where="fisher_interval", fix="use a probability, such as 0.95")
    if math.isnan(r):
        return math.nan, math.nan
    if n < 4:
        return -1.0, 1.0
    z = math.atanh(max(min(r, 1 - 1e-12), -1 + 1e-12))
    half = NormalDist().inv_cdf(0.5 + level / 2) / math.sqrt(n - 3)
    return math.tanh(z - half), math.tanh(z + half)


def entropy_accuracy_correlation(
    entropy: Float[Array, " K"], accuracy: Float[Array, " K"], level: float = 0.95
) -> Correlation:
    """ENCORE's premise in one number: r(H_k, accuracy_k), expected negative; rules without accuracy are left out.

    The interval treats the rules as the sample. How r moves with the *comparisons* is the bootstrap's business
    (`encore_jax.evaluation.premise`).

    >>> import numpy as np
    >>> found = entropy_accuracy_correlation(np.array([0.5, 1.0, 1.5, 2.0]), np.array([0.9, 0.7, 0.75, 0.55]))
    >>> round(found.r, 2), found.n
    (-0.89, 4)
    """
    entropy = np.asarray(single(entropy, "entropy", finite=False))
    accuracy = np.asarray(single(accuracy, "accuracy", finite=False))
    if entropy.shape != accuracy.shape or entropy.ndim != 1:
        raise InputError(f"entropy {entropy.shape} and accuracy {accuracy.shape} must both be [K]", where="correlation")
    known = ~np.isnan(accuracy)
    r, n = float(pearson(entropy[known], accuracy[known])), int(known.sum())
    return Correlation(r, *fisher_interval(r, n, level), n, level)
