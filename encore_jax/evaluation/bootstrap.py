"""Paired bootstrap over clusters: comparisons that share a prompt are resampled together."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from encore_jax.errors import InputError

AT_ONCE = 2**22
"""Numbers drawn at once."""


def cluster_sums(values: Float[Array, "N ..."], cluster: Int[Array, " N"], clusters: int) -> Float[np.ndarray, "G ..."]:
    """Sums in fp32 the rows of each cluster 0..G-1; clusters without rows are 0.

    Raises:
      InputError: a row is of no such cluster.

    >>> cluster_sums(np.array([1.0, 2.0, 4.0]), np.array([0, 1, 0]), 2).tolist()
    [5.0, 2.0]
    """
    values, cluster = np.asarray(values, np.float32), np.asarray(cluster)
    outside = np.flatnonzero((cluster < 0) | (cluster >= clusters))
    if outside.size:
        raise InputError(
            f"there is no cluster {cluster[outside[0]]}",
            where=f"row {outside[0]}",
            fix=f"number them 0 to {clusters - 1}",
        )
    sums = np.zeros((clusters, *values.shape[1:]), np.float32)
    if len(cluster):
        order = np.argsort(cluster, kind="stable")
        present, first = np.unique(cluster[order], return_index=True)
        sums[present] = np.add.reduceat(values[order], first, axis=0)
    return sums


def resampled_totals(sums: Float[Array, "G ..."], key: Array, replicates: int) -> Float[np.ndarray, "R ..."]:
    """Totals over G clusters drawn with replacement, once per replicate.

    The same key gives the same draws whatever `sums` holds: totals made with one key are *paired*.
    """
    sums = np.asarray(sums, np.float32)
    flat = sums.reshape(len(sums), -1)
    totals = [times @ flat for times in _times_drawn(key, len(sums), replicates)]
    return np.concatenate(totals).reshape(replicates, *sums.shape[1:])


def _times_drawn(key: Array, clusters: int, replicates: int) -> Iterator[Float[np.ndarray, "r G"]]:
    """How often each of some replicates draws each cluster, until all replicates have been drawn."""
    keys, some = jax.random.split(key, replicates), max(1, AT_ONCE // clusters)
    for start in range(0, replicates, some):
        drawn = np.asarray(_drawn(keys[start : start + some], clusters))
        place = drawn + clusters * np.arange(len(drawn))[:, None]
        yield np.bincount(place.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("clusters",))
def _drawn(keys: Array, clusters: int) -> Int[Array, "r G"]:
    return jax.vmap(lambda key: jax.random.randint(key, (clusters,), 0, clusters))(keys)


def percentile_interval(samples: Float[Array, "R ..."], level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The central `level` of the replicates (first axis).

    NaN replicates (nothing drawn, or no correlation) are left out; NaN where no other is left.
    """
    tail = 100 * (1 - level) / 2
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        low, high = np.nanpercentile(np.asarray(samples, np.float64), [tail, 100 - tail], axis=0)
    return low, high
