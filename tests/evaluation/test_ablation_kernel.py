"""The kernels against NumPy loops over settings, on any number of devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from encore_jax.composition import entropy_weights
from encore_jax.evaluation.ablation_kernel import (
    SETTINGS,
    Tables,
    Tile,
    decide,
    decide_range,
    setting_weights,
    settings_mesh,
)

RNG = np.random.default_rng(5)
DECIDE = jax.jit(decide, static_argnames="tile")


def problem(n=333, rules=7, entropies=4, taus=(0.05, 0.5, 2.0, np.inf), subsets=9):
    """Margins on eighths, so that ties occur, and tables with every kind of entry."""
    margin = RNG.integers(-8, 9, (n, rules)).astype(np.float32) / 8
    subset = RNG.random((subsets, rules)) < 0.5
    subset[0] = True
    subset[~subset.any(1), 0] = True
    entropy = RNG.random((entropies, rules)).astype(np.float32) * 3
    return margin, Tables(jnp.asarray(entropy), jnp.asarray(taus, jnp.float32), jnp.asarray(subset))


def loop(margin, tables, times):
    """Correct and ties of every setting, one at a time in float64, and how many margins are too close to call."""
    correct, ties, close = [], [], []
    for entropy in np.asarray(tables.entropy, np.float64):
        for tau in np.asarray(tables.tau, np.float64):
            for subset in np.asarray(tables.subset):
                chosen = entropy[subset] / tau
                weights = np.exp(-(chosen - chosen.min()))
                reward = margin[:, subset].astype(np.float64) @ (weights / weights.sum())
                near = abs(reward) < 1e-6
                correct.append(times @ ((reward > 0) & ~near))
                ties.append(times @ near)
                close.append(times @ (near & margin[:, subset].any(1)))
    return np.array(correct), np.array(ties), np.array(close)


@pytest.mark.parametrize("tile", [Tile(512, 512), Tile(100, 32), Tile(333, 7)])
def test_decisions_are_those_of_a_loop_over_settings(tile):
    margin, tables = problem()
    settings = np.prod(tables.shape)
    correct, ties, close = loop(margin, tables, np.ones((1, len(margin))))
    start = jnp.zeros(3, jnp.int32)
    got = decide_range(jnp.asarray(margin), tables, start, count=int(settings), mesh=settings_mesh(), tile=tile)
    # a margin that is 0 but for rounding may be called either way
    assert (abs(np.asarray(got.correct) - correct[:, 0]) <= close[:, 0]).all()
    assert (abs(np.asarray(got.ties) - ties[:, 0]) <= close[:, 0]).all()
    assert (close[:, 0] == 0).sum() > settings / 3, "the test must be sharp for many settings"


def test_ties_are_exact_where_arithmetic_is():
    """Integer margins and weights: nothing rounds, so both counts must be NumPy's to the last one."""
    margin, weight = RNG.integers(-2, 3, (1500, 5)), RNG.integers(0, 3, (70, 5))
    got = DECIDE(jnp.asarray(margin, jnp.float32), jnp.asarray(weight, jnp.float32), tile=Tile(512, 64))
    reward = margin @ weight.T
    np.testing.assert_array_equal(got.correct, (reward > 0).sum(0))
    np.testing.assert_array_equal(got.ties, (reward == 0).sum(0))
    assert (got.ties > 0).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_packed_count_holds_a_full_tile_of_ties_or_of_hits(value):
    margin = jnp.full((2048, 1), value)
    got = DECIDE(margin, jnp.ones((3, 1)), tile=Tile(1023, 3))
    assert got.ties.tolist() == [2048 * (value == 0)] * 3 and got.correct.tolist() == [2048 * (value > 0)] * 3


def test_replicates_count_each_comparison_as_often_as_it_was_drawn():
    margin, tables = problem()
    times = np.concatenate([np.ones((1, len(margin))), RNG.poisson(1.0, (4, len(margin)))])
    correct, ties, close = loop(margin, tables, times)
    decided = functools.partial(
        decide_range, jnp.asarray(margin), tables, jnp.zeros(3, jnp.int32), mesh=settings_mesh()
    )
    got = decided(jnp.asarray(times, jnp.float32), count=len(correct), tile=Tile(128, 32))
    assert (abs(np.asarray(got.correct) - correct) <= close).all()
    assert (abs(np.asarray(got.ties) - ties) <= close).all()
    plain = decided(count=len(correct))
    np.testing.assert_array_equal(got.correct[:, 0], plain.correct)
    np.testing.assert_array_equal(got.ties[:, 0], plain.ties)


def test_eight_devices_decide_as_one():
    margin, tables = problem()
    one = jax.make_mesh((1,), (SETTINGS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
    assert settings_mesh().size == 8
    times = jnp.asarray(RNG.poisson(1.0, (3, len(margin))), jnp.float32)
    count, start = 37, jnp.array([1, 2, 3], jnp.int32)  # a number that 8 does not divide
    for drawn in (None, times):
        run = functools.partial(decide_range, jnp.asarray(margin), tables, start, drawn, count=count)
        many, few = run(mesh=settings_mesh(), tile=Tile(128, 16)), run(mesh=one, tile=Tile(128, 16))
        jax.tree.map(np.testing.assert_array_equal, many, few)
        assert len(many.correct) == count


def test_a_range_is_a_piece_of_the_whole():
    margin, tables = problem()
    run = functools.partial(decide_range, jnp.asarray(margin), tables, mesh=settings_mesh())
    whole = run(jnp.zeros(3, jnp.int32), count=int(np.prod(tables.shape)))
    start = 41
    piece = run(jnp.asarray(np.unravel_index(start, tables.shape), jnp.int32), count=50)
    np.testing.assert_array_equal(piece.correct, whole.correct[start : start + 50])


def test_weights_are_encores_within_the_subset_whatever_the_temperature():
    _, tables = problem(taus=(1e-3, 0.2, np.inf))
    digits = np.stack(np.unravel_index(np.arange(np.prod(tables.shape)), tables.shape), -1)
    weights = np.asarray(jax.jit(setting_weights)(tables, jnp.asarray(digits)))
    for (e, t, m), row in zip(digits, weights, strict=True):
        inside = np.asarray(tables.subset)[m]
        expected = entropy_weights(tables.entropy[e][inside], float(tables.tau[t]))
        np.testing.assert_allclose(row[inside], expected, rtol=2e-4, atol=1e-30)
        assert (row[~inside] == 0).all() and row.sum() == pytest.approx(1, abs=1e-5)
        if np.isinf(tables.tau[t]):
            np.testing.assert_allclose(row[inside], 1 / inside.sum(), rtol=1e-6)


def test_a_prior_multiplies_the_weights_and_is_the_fastest_choice():
    """With equal weights, entropies and subset aside, a prior's decisions are those of the prior as weights."""
    margin, tables = problem(entropies=2, taus=(0.5, np.inf), subsets=3)
    prior = np.stack([np.ones(7), RNG.random(7) * (np.arange(7) != 2)]).astype(np.float32)
    with_prior = tables._replace(prior=jnp.asarray(prior))
    assert with_prior.shape == (2, 2, 3, 2)
    run = functools.partial(decide_range, jnp.asarray(margin), mesh=settings_mesh(), tile=Tile(128, 16))
    plain = run(tables, jnp.zeros(3, jnp.int32), count=12)
    both = run(with_prior, jnp.zeros(4, jnp.int32), count=24)
    np.testing.assert_array_equal(both.correct.reshape(12, 2)[:, 0], plain.correct)
    expected = DECIDE(jnp.asarray(margin), jnp.asarray(prior[1:] * np.asarray(tables.subset)), tile=Tile(128, 16))
    got = jax.tree.map(lambda counts: counts.reshape(2, 2, 3, 2)[0, 1, :, 1], both)
    jax.tree.map(np.testing.assert_array_equal, got, expected)
