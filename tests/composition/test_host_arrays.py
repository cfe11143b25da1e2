"""Arrays on the host are computed there, by NumPy, which compiles nothing; the numbers are those of JAX arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.composition import (
    composed_margins,
    effective_rules,
    entropy_of_counts,
    lowest_entropy_weights,
    margin_accuracy,
    margins,
    pearson,
    rating_entropy,
    rule_accuracy,
)
from encore_jax.composition.agreement import agreement_weights

RNG = np.random.default_rng(5)
SCORES = RNG.integers(0, 11, (60, 2, 7)).astype(np.float32) / 10
PREFERRED = RNG.integers(0, 2, 60)
MASK = RNG.random((60, 2, 7)) < 0.8
WEIGHTS = RNG.dirichlet(np.ones(7), 3).T.astype(np.float32)
COUNTS = RNG.integers(0, 9, (4, 7, 5)).astype(np.float32)
COUNTS[0, 0] = 0
LOADING = np.array([0.9, 0.5, np.nan, -0.4, 0.2, 0.7, 0.1], np.float32)
SPREAD = np.array([1.0, 0.2, 0.3, 1.0, 0.0, 2.0, 0.5], np.float32)


@pytest.mark.parametrize(
    "function, arguments",
    [
        (pearson, (COUNTS[..., 0], COUNTS[..., 1])),
        (pearson, (np.ones(4, np.float32), np.arange(4, dtype=np.float32))),
        (margins, (SCORES, PREFERRED)),
        (margin_accuracy, (SCORES[:, 0] - SCORES[:, 1], MASK[:, 0], np.full((60, 7), 0.05, np.float32))),
        (rule_accuracy, (SCORES, PREFERRED)),
        (rule_accuracy, (SCORES, PREFERRED, MASK)),
        (composed_margins, (SCORES, WEIGHTS, PREFERRED)),
        (entropy_of_counts, (COUNTS,)),
        (rating_entropy, (SCORES, MASK)),
        (lowest_entropy_weights, (np.array([1.0, 0.5, 0.5, 0.2], np.float32), 2)),
        (effective_rules, (WEIGHTS.T,)),
        (agreement_weights, (LOADING, SPREAD)),
    ],
)
def test_numpy_and_jax_arrays_give_the_same_numbers(function, arguments):
    on_host = function(*arguments)
    on_device = function(*(jnp.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments))
    for host, device in zip(jax.tree.leaves(on_host), jax.tree.leaves(on_device), strict=True):
        assert isinstance(host, np.ndarray | np.generic) and isinstance(device, jax.Array)
        assert host.dtype == device.dtype == np.float32 and np.shape(host) == device.shape
        np.testing.assert_allclose(host, device, rtol=2e-6, atol=1e-7)


def test_nothing_to_compare_is_not_a_number_and_no_warning():
    accuracy = margin_accuracy(np.zeros((3, 2), np.float32), np.zeros((3, 2), bool))
    assert np.isnan(accuracy.ties_half).all() and np.isnan(accuracy.decided).all()
    assert np.isnan(entropy_of_counts(np.zeros(4))) and np.isnan(pearson(np.zeros(0), np.zeros(0)))
