"""How much a label says about a preference: mutual information in nats (RuleAdapter's objective).

A comparison has no first and second response but by accident, so preference Y and rule label Ŷ are read in both orders:
then P(Y) = ½, the channel is symmetric, and with a share t of ties and accuracy p among the rest

    I(Y; Ŷ) = (1 - t) (ln 2 - h(p)),    h(p) = -p ln p - (1 - p) ln(1 - p)
"""

from __future__ import annotations

import jax.numpy as jnp
from jax.scipy.special import entr
from jax.scipy.stats import norm
from jaxtyping import Array, Float

from encore_jax.composition.checks import numbers
from encore_jax.errors import InputError


def channel_information(p: Float[Array, "..."]) -> Float[Array, "..."]:
    """``ln 2 - h(p)``: what a label that is right with probability p says about an even preference.

    >>> [round(nats, 4) for nats in channel_information(jnp.array([0.5, 1.0])).tolist()]
    [0.0, 0.6931]
    """
    p = numbers(p, "p", finite=False)
    return jnp.log(2.0) - entr(p) - entr(1 - p)


def preference_information(counts: Float[Array, "... 3"], corrections: int = 1) -> Float[Array, "..."]:
    """I(Y; Ŷ) in nats, plug-in, from how often a label agrees, disagrees and ties with the preference.

    The plug-in estimate of n comparisons is too large by 1/(2n) (Miller and Madow: the symmetric table has one occupied
    cell more than its margins, unless the label was never right or never wrong).

    Args:
      counts: ``[..., 3]``, right, wrong, tied; not necessarily integers.
      corrections: how often 1/(2n) is taken off: 0 plug-in, 1 corrected (may be negative), 2 for the replicates of a
        bootstrap, which carry the bias of the estimate they were drawn from and their own.

    Raises:
      InputError: the last axis is not of three counts.

    >>> round(preference_information(jnp.array([75.0, 25.0, 100.0]), corrections=0).item(), 4)
    0.0654
    """
    counts = numbers(counts, "counts", finite=False)
    if counts.ndim == 0 or counts.shape[-1] != 3:
        raise InputError(f"counts have shape {counts.shape}", where="preference_information", fix="pass [..., 3]")
    total, decided = counts.sum(-1), counts[..., 0] + counts[..., 1]
    p = counts[..., 0] / jnp.maximum(decided, 1e-9)
    plug_in = decided / jnp.maximum(total, 1e-9) * channel_information(p)
    open_question = (counts[..., 0] > 0) & (counts[..., 1] > 0)
    return plug_in - jnp.where(open_question, corrections * 0.5 / jnp.maximum(total, 1e-9), 0.0)


def selection_accuracy(
    difference: Float[Array, "N r"], noise: float | Float[Array, ""]
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """How often a label by r selected rules is right, in the model of independent Gaussian judge errors.

    Preference is the sign of ``Σ_i (d_i + σ ε_i)``, the label that of ``Σ_i d_i``, so the label is right with
    probability ``Φ(|Σ d_i| / (σ √r))``. The argument for the largest ``|d_i|`` puts ``Σ |d_i|`` there: it is right only
    where the signs agree.

    Returns:
      The true probability, and the one that ignores signs.
    """
    difference, noise = numbers(difference, "difference", rank=1), numbers(noise, "noise")
    scale = noise * difference.shape[-1] ** 0.5
    return norm.cdf(jnp.abs(difference.sum(-1)) / scale), norm.cdf(jnp.abs(difference).sum(-1) / scale)
