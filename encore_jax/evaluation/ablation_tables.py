"""What the settings of an ablation choose from: entropies under every way of measuring them, and draws of the data.

A *draw* is a set of training prompts: a share of them, chosen by a seed. With features of the texts at hand, rule heads
are fitted again on each draw (closed form); without, a draw changes the ratings that entropies come from, and the heads
stay as they are.

Letters: R rated responses, K rules, N comparisons, D features, H draws, L levels.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from encore_jax.composition import bin_edges, entropy_of_counts, kde_entropy, level_edges, rating_counts
from encore_jax.errors import InputError
from encore_jax.evaluation.ablation_grid import Axis
from encore_jax.train.ridge import ridge_heads

ENTROPY_AXES = ("grid", "estimator", "normalize", "base")
"""Axes that entropies depend on, slowest first."""


def parse_rating_grid(text: str, scale: tuple[float, float]) -> np.ndarray:
    """Inner edges of "11 levels" or "10 bins".

    >>> parse_rating_grid("3 levels", (0.0, 1.0)).tolist(), parse_rating_grid("2 bins", (0.0, 1.0)).tolist()
    ([0.25, 0.75], [0.5])
    """
    number, _, kind = text.partition(" ")
    if not number.isdecimal() or kind not in ("levels", "bins"):
        raise InputError(f"got {text!r}", where="grid", fix="write e.g. '11 levels' or '10 bins'")
    return (level_edges if kind == "levels" else bin_edges)(int(number), scale)


def training_draws(cluster: Int[np.ndarray, " R"], seeds: Sequence[int], shares: Sequence[float]) -> np.ndarray:
    """Which responses each draw sees: bool ``[seeds * shares, R]``, the share changing faster.

    A seed orders the prompts; a share takes the first of them, so that a larger share of one seed contains the smaller
    ones. A share of 1 is all of the data under every seed.
    """
    prompts, position = np.unique(cluster, return_inverse=True)
    draws = []
    for seed in seeds:
        rank = np.random.default_rng(seed).permutation(len(prompts))[position]
        draws += [rank < math.ceil(share * len(prompts)) for share in shares]
    return np.stack(draws)


def entropy_table(
    ratings: Float[Array, "R K"], rated: Bool[Array, "R K"], axes: Sequence[Axis], scale: tuple[float, float]
) -> np.ndarray:
    """Entropies ``[E, K]`` under every combination of the `ENTROPY_AXES`, as `rating_entropy` defines them.

    An axis that does not concern an estimator ("kde" has no levels) repeats its values.

    Raises:
      InputError: a rule without ratings, or an entropy that is not finite: a constant rule has no density.
    """
    grids, estimators, normalizations, bases = (axis.values for axis in axes)
    ratings, rated = jnp.asarray(ratings, jnp.float32), jnp.asarray(rated)
    for k in np.flatnonzero(~np.asarray(rated).any(0)):
        raise InputError(
            "has no rating in a draw of the training prompts", where=f"rule {k}", fix="take larger shares, or drop it"
        )
    density = kde_entropy(ratings, rated) if "kde" in estimators else None
    table = []
    for grid in grids:
        counts = _counts(ratings, rated, jnp.asarray(parse_rating_grid(grid, scale), jnp.float32))
        for estimator in estimators:
            for normalize in normalizations:
                if estimator == "kde":
                    entropy = density
                else:
                    miller_madow = estimator == "miller_madow"
                    entropy = entropy_of_counts(counts, miller_madow=miller_madow, normalize=normalize)
                unit_free = normalize != "none" and estimator != "kde"
                table += [np.asarray(entropy) / np.float32(1 if unit_free else math.log(base)) for base in bases]
    table = np.stack(table).astype(np.float32)
    for _, k in np.argwhere(~np.isfinite(table)):
        raise InputError(
            "is constant, so it has no density and no 'kde' entropy",
            where=f"rule {k}",
            fix="leave kde out of config.estimators, or drop the rule",
        )
    return table


_counts = jax.jit(rating_counts)


def refitted_margins(
    features: Float[np.ndarray, "R D"],
    ratings: Float[np.ndarray, "R K"],
    rated: Bool[np.ndarray, "R K"],
    draw: Bool[np.ndarray, " R"],
    alpha: Float[np.ndarray, " K"],
    difference: Float[np.ndarray, "N D"],
) -> Float[np.ndarray, "N K"]:
    """Margins of heads fitted by ridge regression on one draw.

    Args:
      features: of the rated responses, scaled as for the choice of `alpha`.
      ratings, rated: and which of them exist.
      draw: which responses the heads may see.
      alpha: penalty of each rule.
      difference: features of the preferred minus those of the other response; a head's intercept cancels.

    Raises:
      InputError: a rule without ratings in the draw, or a penalty too small for a finite fit.
    """
    kernel, _ = ridge_heads(features, ratings, rated & draw[:, None], alpha)
    return (difference @ kernel).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("clusters", "replicates"))
def resampling_times(cluster: Int[Array, " N"], clusters: int, key: Array, replicates: int) -> Float[Array, "R N"]:
    """How often each replicate draws each comparison: the data themselves first, then `replicates - 1` bootstraps.

    Clusters are drawn with replacement, as by `encore_jax.evaluation.bootstrap.resampled_totals` with the same key.
    """

    def one(replicate_key):
        drawn = jax.random.randint(replicate_key, (clusters,), 0, clusters)
        return jnp.zeros(clusters, jnp.float32).at[drawn].add(1.0)[cluster]

    plain = jnp.ones((1, len(cluster)), jnp.float32)
    if replicates == 1:
        return plain
    return jnp.concatenate([plain, jax.lax.map(one, jax.random.split(key, replicates - 1))])
