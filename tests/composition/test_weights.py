"""Entropy weights against NumPy in float64, their limits, and selection of rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.composition import effective_rules, entropy_weights, lowest_entropy_weights
from encore_jax.composition.weights import softmax_over
from encore_jax.errors import InputError

ENTROPY = np.array([0.3, 1.7, 2.2, 0.9, 2.39])


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


@pytest.mark.parametrize("tau", [0.05, 0.5, 2, 2.0, 20.0])
def test_equal_the_formula_in_float64(tau):
    np.testing.assert_allclose(entropy_weights(ENTROPY, tau), softmax(-ENTROPY / tau), rtol=1e-5, atol=1e-12)


def test_the_default_temperature_is_two():
    np.testing.assert_array_equal(entropy_weights(ENTROPY), entropy_weights(ENTROPY, 2.0))


def test_temperature_goes_from_one_rule_to_all():
    np.testing.assert_allclose(entropy_weights(ENTROPY, 1e-3), np.eye(5)[0], atol=1e-6)
    np.testing.assert_allclose(entropy_weights(ENTROPY, 1e6), np.full(5, 0.2), rtol=1e-5)
    ratios = np.asarray(jax.vmap(lambda tau: entropy_weights(ENTROPY, tau))(jnp.geomspace(0.1, 10, 20)))
    assert (np.diff(ratios[:, 0]) < 0).all() and (np.diff(ratios[:, 4]) > 0).all()


def test_logarithm_base_and_temperature_are_interchangeable():
    in_bits = ENTROPY / np.log(2)
    np.testing.assert_allclose(entropy_weights(in_bits, 2 / np.log(2)), entropy_weights(ENTROPY, 2.0), rtol=1e-5)


def test_adding_to_every_entropy_changes_nothing():
    np.testing.assert_allclose(entropy_weights(ENTROPY + 100), entropy_weights(ENTROPY), rtol=1e-4)


def test_vmap_over_temperatures_and_batches():
    taus = jnp.array([0.3, 2.0, 7.0])
    expected = np.stack([softmax(-ENTROPY / tau) for tau in (0.3, 2.0, 7.0)])
    entropy = jnp.asarray(ENTROPY, jnp.float32)
    np.testing.assert_allclose(jax.vmap(entropy_weights, (None, 0))(entropy, taus), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(entropy_weights)(entropy, taus[1]), expected[1], rtol=1e-5)
    batch = np.stack([ENTROPY, ENTROPY[::-1]])
    np.testing.assert_allclose(entropy_weights(batch), softmax(-batch / 2), rtol=1e-5)


def test_gradient_is_the_softmaxs():
    w = softmax(-ENTROPY / 2)
    jacobian = jax.jacobian(entropy_weights)(jnp.asarray(ENTROPY, jnp.float32))
    np.testing.assert_allclose(jacobian, -(np.diag(w) - np.outer(w, w)) / 2, atol=1e-6)


TAUS = [
    5e-324,
    1e-300,
    1e-45,
    1e-40,
    1.2e-38,
    1e-37,
    1e-30,
    1e-19,
    1e-18,
    1e-10,
    1e-9,
    1e-3,
    1.0,
    1e9,
    1e38,
    1e39,
    1e300,
]


def exact(entropy, tau):
    """In float64, of what float32 holds of the entropies."""
    with np.errstate(over="ignore"):  # of a quotient that is far beyond exp's range anyway
        return softmax((np.float64(np.float32(entropy).min()) - np.float32(entropy)) / np.float64(tau))


@pytest.mark.parametrize("entropy", [ENTROPY, [1.0, 1.0, 2.0], [0.5, 0.5 + 1e-7], [1e30, -1e30], [0.0], [1e-30, 0.0]])
@pytest.mark.parametrize("tau", [*TAUS, np.inf])
def test_every_positive_temperature_has_weights(entropy, tau):
    """Down to the smallest number that Python knows: then the lowest entropies share the weight."""
    np.testing.assert_allclose(entropy_weights(np.array(entropy), tau), exact(entropy, tau), rtol=2e-5, atol=1e-37)


def test_traced_temperatures_have_weights_and_gradients_too():
    """Denormal ones, and 0, which is all that float32 knows of 1e-300, stand for their limit."""
    with np.errstate(over="ignore", under="ignore"):
        taus = np.array([0.0, *TAUS, np.inf]).astype(np.float32)
    entropy = jnp.asarray([0.3, 1.7, 0.3], jnp.float32)
    weights = jax.jit(jax.vmap(entropy_weights, (None, 0)))(entropy, jnp.asarray(taus))
    expected = np.stack([exact([0.3, 1.7, 0.3], max(np.float64(tau), 1e-300)) for tau in taus])
    np.testing.assert_allclose(weights, expected, rtol=2e-5, atol=1e-37)

    def first(entropy, tau):
        return entropy_weights(entropy, tau)[0]

    of_entropy, of_tau = jax.vmap(jax.grad(first, (0, 1)), (None, 0))(entropy, jnp.asarray(taus))
    assert np.isfinite(of_entropy).all() and np.isfinite(of_tau).all()
    usual = (taus > 1e-3) & (taus < 1e9)
    share = expected[usual]
    np.testing.assert_allclose(of_entropy[usual, 1], share[:, 0] * share[:, 1] / taus[usual], rtol=1e-4)


@pytest.mark.parametrize("temperature", [*TAUS, np.inf])
def test_no_logits_over_a_temperature_give_nan(temperature):
    logits = np.array([[1e30, -np.inf, 3e38, 3e38], [0.0, -1e-30, -1.0, -np.inf]], np.float32)
    shares = np.asarray(softmax_over(logits, temperature))
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    assert (shares >= 0).all() and shares[0, 1] == shares[1, 3] == 0
    assert shares[0, 2] == shares[0, 3] >= shares[0, 0] and shares[1, 0] >= shares[1, 2]


@pytest.mark.parametrize("entropy", [np.zeros(0), np.float32(1.0), np.zeros((3, 0))], ids=str)
def test_no_rules_are_refused(entropy):
    with pytest.raises(InputError, match="entropies have shape"):
        entropy_weights(entropy)


@pytest.mark.parametrize("tau", [0, 0.0, -1.0, float("nan"), -np.inf, np.array([1.0, 0.0])])
def test_a_temperature_that_is_not_positive_is_refused(tau):
    with pytest.raises(InputError, match="tau"):
        entropy_weights(ENTROPY, tau)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_entropy_that_is_not_finite_is_refused_rather_than_making_every_weight_nan(bad):
    with pytest.raises(InputError, match="rule 1: entropy .* is not finite"):
        entropy_weights(np.array([0.5, bad, 1.0]))


def test_lowest_entropy_weights_keep_the_lowest():
    np.testing.assert_allclose(lowest_entropy_weights(ENTROPY, 2), [0.5, 0, 0, 0.5, 0])
    np.testing.assert_allclose(lowest_entropy_weights(ENTROPY, 5), np.full(5, 0.2))
    np.testing.assert_array_equal(lowest_entropy_weights([1.0, 1.0, 1.0], 2), [0.5, 0.5, 0])  # ties: the earlier


@pytest.mark.parametrize("keep", [0, -1, 6])
def test_keeping_none_or_too_many_is_refused(keep):
    with pytest.raises(InputError, match="keep must be between 1 and 5"):
        lowest_entropy_weights(ENTROPY, keep)


def test_effective_rules_count():
    for k in (1, 3, 10):
        np.testing.assert_allclose(effective_rules(np.full(k, 1 / k)), k, rtol=1e-5)
    np.testing.assert_allclose(effective_rules(np.eye(4)), np.ones(4), rtol=1e-6)
    w = softmax(-ENTROPY)
    np.testing.assert_allclose(effective_rules(w), np.exp(-(w * np.log(w)).sum()), rtol=1e-5)
