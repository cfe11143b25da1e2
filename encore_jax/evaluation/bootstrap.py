"""Paired bootstrap over clusters: comparisons that share a prompt are resampled together."""

from __future__ import annotations

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from encore_jax.errors import InputError

REPLICATES_AT_ONCE = 64


def cluster_sums(values: Float[Array, "N ..."], cluster: Int[Array, " N"], clusters: int) -> Float[Array, "G ..."]:
    """Sums the rows of each cluster 0..G-1; clusters without rows are 0.

    Raises:
      InputError: a row is of no such cluster.

    >>> cluster_sums(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 1, 0]), 2).tolist()
    [5.0, 2.0]
    """
    outside = np.flatnonzero((np.asarray(cluster) < 0) | (np.asarray(cluster) >= clusters))
    if outside.size:
        raise InputError(
            f"there is no cluster {np.asarray(cluster)[outside[0]]}",
            where=f"row {outside[0]}",
            fix=f"number them 0 to {clusters - 1}",
        )
    return jax.ops.segment_sum(jnp.asarray(values, jnp.float32), jnp.asarray(cluster), clusters)


@functools.partial(jax.jit, static_argnames=("replicates",))
def resampled_totals(sums: Float[Array, "G ..."], key: Array, replicates: int) -> Float[Array, "R ..."]:
    """Totals over G clusters drawn with replacement, once per replicate.

    The same key gives the same draws whatever `sums` holds: totals made with one key are *paired*.
    """
    clusters = sums.shape[0]
    flat = sums.reshape(clusters, -1)

    def one(replicate_key):
        drawn = jax.random.randint(replicate_key, (clusters,), 0, clusters)
        times = jnp.zeros(clusters, jnp.float32).at[drawn].add(1.0)
        return jnp.matmul(times, flat, precision="highest")

    totals = jax.lax.map(one, jax.random.split(key, replicates), batch_size=REPLICATES_AT_ONCE)
    return totals.reshape(replicates, *sums.shape[1:])


def percentile_interval(samples: Float[Array, "R ..."], level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The central `level` of the replicates (first axis).

    NaN replicates (nothing drawn, or no correlation) are left out; NaN where no other is left.
    """
    tail = 100 * (1 - level) / 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        low, high = np.nanpercentile(np.asarray(samples, np.float64), [tail, 100 - tail], axis=0)
    return low, high
