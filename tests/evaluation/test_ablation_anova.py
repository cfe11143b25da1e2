"""The decomposition of variance against its definition, term by term."""

import itertools

import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.evaluation import ablation_anova
from encore_jax.evaluation.ablation_anova import MarginalSums

RNG = np.random.default_rng(2)
NAMES = ("a", "b", "c")


def summed(y, pieces=3):
    sums = MarginalSums(NAMES[: y.ndim], y.shape)
    for index in np.array_split(RNG.permutation(y.size), pieces):
        sums.add(np.stack(np.unravel_index(index, y.shape), -1), y.ravel()[index])
    return sums


def terms(y):
    """Every term of the functional ANOVA by inclusion and exclusion of marginal means."""
    effects = {}
    for n in range(y.ndim + 1):
        for key in itertools.combinations(range(y.ndim), n):
            others = tuple(a for a in range(y.ndim) if a not in key)
            effect = y.mean(axis=others, keepdims=True)
            for smaller in (k for k in effects if set(k) < set(key)):
                effect = effect - effects[smaller]
            effects[key] = effect
    return effects


def test_shares_are_those_of_the_definition_and_sum_to_one():
    y = RNG.random((4, 3, 5)) + np.arange(4)[:, None, None] * RNG.random(3)[:, None]
    got, expected = summed(y).effects(), terms(y)
    share = {key: (effect**2).mean() / y.var() for key, effect in expected.items()}
    assert got.mean == pytest.approx(y.mean()) and got.variance == pytest.approx(y.var())
    for a in range(3):
        assert got.main[NAMES[a]] == pytest.approx(share[a,], abs=1e-12)
    for a, b in itertools.combinations(range(3), 2):
        assert got.pairs[NAMES[a], NAMES[b]] == pytest.approx(share[a, b], abs=1e-12)
    assert got.rest == pytest.approx(share[0, 1, 2], abs=1e-12)
    assert sum(got.main.values()) + sum(got.pairs.values()) + got.rest == pytest.approx(1)


def test_two_axes_leave_no_rest_and_sums_of_choices_no_interaction():
    y = RNG.random((6, 1)) + RNG.random((1, 7))
    effects = summed(y).effects()
    assert effects.pairs["a", "b"] == pytest.approx(0, abs=1e-12) and effects.rest == pytest.approx(0, abs=1e-12)
    assert summed(RNG.random((6, 7))).effects().rest == pytest.approx(0, abs=1e-12)


def test_small_effects_on_a_high_mean_survive():
    y = 0.9 + 1e-6 * RNG.random((5, 4, 3))
    effects = summed(y).effects()
    assert effects.variance == pytest.approx(y.var(), rel=1e-3)
    assert sum(effects.main.values()) + sum(effects.pairs.values()) + effects.rest == pytest.approx(1)


def test_nothing_varies_nothing_is_explained():
    effects = summed(np.full((3, 4), 0.7)).effects()
    assert set(effects.main.values()) == set(effects.pairs.values()) == {0.0} and effects.rest == 0


def test_marginal_means_and_tables_are_numpys_in_either_order():
    y = RNG.random((4, 3, 5))
    sums = summed(y)
    mean, sd = sums.marginal("b")
    np.testing.assert_allclose(mean, y.mean((0, 2)))
    np.testing.assert_allclose(sd, y.std((0, 2)))
    np.testing.assert_allclose(sums.table("a", "c"), y.mean(1))
    np.testing.assert_allclose(sums.table("c", "a"), y.mean(1).T)


def test_pairs_of_too_many_combinations_go_to_the_rest(monkeypatch):
    monkeypatch.setattr(ablation_anova, "MOST_CELLS", 16)
    y = RNG.random((4, 3, 5))
    sums = summed(y)
    effects = sums.effects()
    assert effects.untold == (("a", "c"),) and sums.table("a", "c") is None
    assert sum(effects.main.values()) + sum(effects.pairs.values()) + effects.rest == pytest.approx(1)


def test_an_incomplete_grid_is_refused():
    sums = MarginalSums(("a", "b"), (2, 3))
    sums.add(np.array([[0, 0], [1, 2]]), np.array([0.5, 0.6]))
    with pytest.raises(InputError, match="2 of 6 settings"):
        sums.effects()
