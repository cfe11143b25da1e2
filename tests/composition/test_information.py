"""Mutual information against scikit-learn's on the same counts, its bias, and the Gaussian model of rule labels."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import mutual_info_score

from encore_jax.composition import channel_information, preference_information, selection_accuracy
from encore_jax.errors import InputError


def both_orders(right, wrong, tied):
    """Every comparison read in both orders, as two label sequences: preference 0/1, label 0/1/2 (tie)."""
    preference = [0] * (right + wrong + tied) + [1] * (right + wrong + tied)
    label = [0] * right + [1] * wrong + [2] * tied + [1] * right + [0] * wrong + [2] * tied
    return preference, label


@pytest.mark.parametrize("counts", [(75, 25, 0), (60, 30, 17), (5, 5, 90), (10, 0, 3), (0, 10, 0)])
def test_the_plug_in_estimate_is_scikit_learns_on_both_orders(counts):
    got = float(preference_information(jnp.array(counts, jnp.float32), corrections=0))
    assert got == pytest.approx(mutual_info_score(*both_orders(*counts)), abs=1e-6)


def test_the_correction_removes_the_bias():
    rng = np.random.default_rng(0)
    n, p, t = 60, 0.62, 0.2
    truth = (1 - t) * float(channel_information(jnp.float32(p)))
    counts = rng.multinomial(n, [(1 - t) * p, (1 - t) * (1 - p), t], size=20000).astype(np.float32)
    plug_in, corrected = (float(preference_information(counts, c).mean()) for c in (0, 1))
    assert abs(corrected - truth) < 0.1 * abs(plug_in - truth)
    assert plug_in - truth == pytest.approx(1 / (2 * n), rel=0.1)


@pytest.mark.parametrize(("counts", "biased"), [((9, 4, 7), True), ((9, 0, 7), False), ((0, 4, 7), False)])
def test_only_an_open_question_is_corrected(counts, biased):
    """A label that was never wrong, or never right, has no cell too many; the correction is 1/(2n) each time."""
    values = [float(preference_information(jnp.array(counts, jnp.float32), corrections)) for corrections in (0, 1, 2)]
    assert values[0] - values[1] == pytest.approx(biased / (2 * sum(counts)), abs=1e-7)
    assert values[0] - values[2] == pytest.approx(biased / sum(counts), abs=1e-7)
    assert float(preference_information(jnp.zeros(3), 1)) == 0


def test_information_grows_with_accuracy_and_is_even_around_a_half():
    p = jnp.linspace(0.5, 1.0, 21)
    values = np.asarray(channel_information(p))
    assert (np.diff(values) > 0).all()
    np.testing.assert_allclose(channel_information(1 - p), values, atol=1e-6)


def test_signs_that_cancel_make_the_largest_discrepancies_worthless():
    difference = np.array([[1.0, -1.0], [1.0, 1.0], [0.6, 0.5]], np.float32)
    true, naive = selection_accuracy(difference, 0.7)
    total = np.abs(difference.sum(1)) / (0.7 * np.sqrt(2))
    np.testing.assert_allclose(true, norm.cdf(total), rtol=1e-5)
    assert true[0] == 0.5 and naive[0] == naive[1] == true[1]
    assert true[2] == naive[2] > true[0]


def test_counts_of_another_shape_are_refused():
    with pytest.raises(InputError, match=r"\[..., 3\]"):
        preference_information(jnp.zeros((3, 2)))


def test_one_discrepancy_alone_is_no_list_of_them():
    with pytest.raises(InputError, match="difference: has shape .*pass an array of at least 1 axis"):
        selection_accuracy(0.5, 1.0)
