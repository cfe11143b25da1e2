"""Judges of declared, unequal reliability: real human ratings, seen through noise.

Everything made here is *semi-synthetic* and must be labelled so: comparisons and human ratings are real, the judges
are not. A clean answer is the human rating q in [0, 1]; a judge with noise level λ in [0, 1] answers, on a grid of L
evenly spaced levels,

    guess       with probability λ a uniformly random level, otherwise q      (an inattentive judge)
    gaussian    q + λ·N(0, 1), clipped to [0, 1]                                (a shaky judge)
    shrink      with probability λ the middle of the scale, otherwise q       (a judge who shuns a verdict)
    flip        with probability λ the opposite, 1 - q                         (a judge who misreads the rule)

How entropy moves is a matter of the kind of noise, not of noise as such. `guess` fills all levels, so entropy rises as
accuracy falls. Clipping piles strong `gaussian` noise up at the ends of the scale, and `shrink` piles answers up in the
middle, so entropy *falls* as accuracy falls, and ENCORE then prefers the worst judges. `flip` mirrors the ratings'
distribution and changes its entropy only as far as it was lopsided.
"""

from __future__ import annotations

import functools
import math
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry_2x32
from jaxtyping import Array, Float

from encore_jax.errors import InputError

Noise = Literal["guess", "gaussian", "shrink", "flip"]


def simulated_ratings(
    human: Float[Array, " N"], strength: Float[Array, " K"], key: Array, noise: Noise = "guess", levels: int = 11
) -> Float[Array, "N K"]:
    """Ratings ``[N, K]`` of N responses by K simulated judges, on `levels` evenly spaced levels of [0, 1].

    Args:
      human: the human rating of each response, in [0, 1], higher is better.
      strength: noise level λ_k of each judge, 0 to 1.
      key: random key; judges and responses are independent.
      noise: which of the noise models above.
      levels: L.

    Raises:
      InputError: a rating or noise level lies outside [0, 1], there are fewer than 2 levels, or other shapes.
    """
    if human.ndim != 1 or strength.ndim != 1:
        raise InputError(
            f"ratings {human.shape} and noise levels {strength.shape}",
            where="simulated_ratings",
            fix="pass [N] and [K]",
        )
    for what, values in (("response", human), ("judge", strength)):
        for i in np.flatnonzero(~((np.asarray(values) >= 0) & (np.asarray(values) <= 1))):
            raise InputError(f"{values[i]} is not in [0, 1]", where=f"{what} {i}", fix="rescale it")
    if levels < 2:
        raise InputError(f"got {levels}", where="levels", fix="use at least 2")
    chance = uniform_numbers(key, (2, human.shape[0], strength.shape[0]))
    return answers(human, strength, chance, noise, levels)


def uniform_numbers(key: Array, shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    """The numbers of ``jax.random.uniform(key, shape)``, for a key that is not traced.

    The same hash of the same counters, which are passed to it: a program that makes them takes XLA seconds to compile,
    once for every shape.
    """
    count, usual = math.prod(shape), str(jax.random.key_impl(key)) == "threefry2x32"
    if not usual or not jax.config.jax_threefry_partitionable or not 0 < count < 2**32:
        return np.asarray(jax.random.uniform(key, shape))
    counters = np.concatenate([np.zeros(count, np.uint32), np.arange(count, dtype=np.uint32)])
    words = np.asarray(threefry_2x32(jax.random.key_data(key), counters))
    bits = words[:count] ^ words[count:]
    return (((bits >> 9) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)).reshape(
        shape
    )  # 23 bits: [1, 2) - 1


@functools.partial(jax.jit, static_argnames=("noise", "levels"))
def answers(
    human: Float[Array, " N"], strength: Float[Array, " K"], chance: Float[Array, "2 N K"], noise: Noise, levels: int
) -> Float[Array, "N K"]:
    """`simulated_ratings` with its chance made explicit: uniform numbers for "does it err?" and "how?"."""
    whether, how = chance
    q, noise_level = (jnp.broadcast_to(x, whether.shape) for x in (human[:, None], strength[None]))
    errs = whether < noise_level
    if noise == "guess":
        answer = jnp.where(errs, jnp.floor(how * levels) / (levels - 1), q)
    elif noise == "gaussian":
        normal = jax.scipy.special.ndtri(jnp.clip(how, 1e-6, 1 - 1e-6))
        answer = jnp.clip(q + noise_level * normal, 0.0, 1.0)
    elif noise == "shrink":
        answer = jnp.where(errs, 0.5, q)
    elif noise == "flip":
        answer = jnp.where(errs, 1.0 - q, q)
    else:
        raise InputError(f"{noise!r} is unknown", where="noise", fix="use guess, gaussian, shrink or flip")
    return jnp.round(answer * (levels - 1)) / (levels - 1)


def whole_steps(margin: Float[Array, "*shape"], levels: int) -> Float[Array, "*shape"]:
    """Differences of answers in whole steps of the scale; use it where answers and their comparison share a program.

    Compiled together, the answers' division and their difference become one multiply-add, in which two equal answers
    differ by a rounding, in a direction that depends on the level: ties would be decided, and not by chance.

    >>> whole_steps(jnp.array([0.1, -1e-9]), 11).tolist()
    [1.0, 0.0]
    """
    return jnp.round(margin * (levels - 1)) + 0.0
