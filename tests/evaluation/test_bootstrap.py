"""The paired cluster bootstrap against NumPy with the same draws, and its coverage."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.evaluation.bootstrap import cluster_sums, percentile_interval, resampled_totals

RNG = np.random.default_rng(8)
KEY = jax.random.key(3)


def draws(key, replicates, clusters):
    """Clusters drawn in each replicate: ``[R, G]``."""
    keys = jax.random.split(key, replicates)
    return np.stack([jax.random.randint(k, (clusters,), 0, clusters) for k in keys])


def test_cluster_sums_equal_numpy():
    values, cluster = RNG.random((40, 3)).astype(np.float32), RNG.integers(0, 7, 40)
    expected = np.zeros((9, 3))
    np.add.at(expected, cluster, values)
    np.testing.assert_allclose(cluster_sums(values, cluster, 9), expected, rtol=1e-6)


def test_a_cluster_beyond_their_number_is_refused_rather_than_dropped():
    for bad in (-1, 3):
        with pytest.raises(InputError, match=f"row 1: there is no cluster {bad}"):
            cluster_sums(np.ones(3), np.array([0, bad, 2]), 3)


def test_totals_equal_a_loop_over_the_same_draws():
    sums = RNG.random((11, 2, 3)).astype(np.float32)
    expected = np.stack([sums[chosen].sum(0) for chosen in draws(KEY, 80, 11)])  # 80: not a multiple of a batch
    np.testing.assert_allclose(resampled_totals(jnp.asarray(sums), KEY, 80), expected, rtol=1e-5)


def test_one_key_gives_paired_draws_whatever_is_summed():
    a, b = jnp.asarray(RNG.random((2, 11)), jnp.float32)
    together = resampled_totals(jnp.stack([a, b], 1), KEY, 80)
    np.testing.assert_allclose(resampled_totals(a, KEY, 80), together[:, 0], rtol=1e-6)
    np.testing.assert_allclose(resampled_totals(b, KEY, 80), together[:, 1], rtol=1e-6)
    assert not np.allclose(resampled_totals(a, jax.random.key(4), 80), together[:, 0])


def test_every_replicate_draws_as_many_clusters_as_there_are():
    np.testing.assert_array_equal(resampled_totals(jnp.ones(11), KEY, 80), np.full(80, 11.0))


def test_percentile_interval_is_numpys():
    samples = RNG.normal(size=(500, 2))
    samples[::7, 1] = np.nan
    low, high = percentile_interval(samples, 0.9)
    expected = [np.percentile(column[~np.isnan(column)], [5, 95]) for column in samples.T]
    np.testing.assert_allclose(np.stack([low, high], 1), expected)


def test_no_replicate_at_all_gives_nan_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        low, high = percentile_interval(np.full((20, 2), np.nan))
    assert np.isnan(low).all() and np.isnan(high).all()


def test_intervals_cover_the_truth_as_often_as_they_say():
    """300 experiments of 80 prompts, whose 1 to 5 comparisons share the prompt's difficulty."""
    experiments, prompts, truth = 300, 80, 0.7
    rng = np.random.default_rng(0)
    size = rng.integers(1, 6, (prompts, experiments))
    difficulty = rng.beta(0.7, 0.3, (prompts, experiments))  # mean 0.7
    sums = jnp.asarray(np.stack([rng.binomial(size, difficulty), size], -1), jnp.float32)
    totals = np.asarray(resampled_totals(sums, KEY, 400))
    low, high = percentile_interval(totals[..., 0] / totals[..., 1])
    assert 0.90 < ((low <= truth) & (truth <= high)).mean() < 0.98
    # Resampling comparisons as if they were independent would be overconfident.
    correct, n = np.asarray(sums).sum(0).T
    naive = 1.96 * np.sqrt(truth * (1 - truth) / n)
    assert (np.abs(correct / n - truth) <= naive).mean() < ((low <= truth) & (truth <= high)).mean() - 0.03
