"""Entropy of ratings against scipy.stats.entropy over np.histogram, and what bad ratings lead to."""

import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from encore_jax.composition import (
    RatingsWarning,
    bin_edges,
    entropy_of_counts,
    level_edges,
    rating_counts,
    rating_entropy,
)
from encore_jax.errors import InputError

RNG = np.random.default_rng(0)
RATINGS = RNG.random((40, 2, 3)).astype(np.float32)
MASK = RNG.random(RATINGS.shape) < 0.7


def reference(ratings, where, edges, base=math.e):
    """Entropy of each rule by np.histogram between the given inner edges."""
    full = np.concatenate([[-np.inf], edges, [np.inf]])
    columns = zip(ratings.reshape(-1, ratings.shape[-1]).T, where.reshape(-1, where.shape[-1]).T, strict=True)
    return [scipy.stats.entropy(np.histogram(column[seen], full)[0], base=base) for column, seen in columns]


@pytest.mark.parametrize("where", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("levels", [2, 5, 11, 101, (0.0, 0.1, 0.75, 1.0)], ids=str)
def test_levels_equal_histograms_of_nearest_levels(levels, where):
    values = np.linspace(0, 1, levels) if isinstance(levels, int) else np.array(levels)
    expected = reference(RATINGS, np.ones_like(MASK) if where is None else where, (values[1:] + values[:-1]) / 2)
    np.testing.assert_allclose(rating_entropy(RATINGS, where, levels=levels), expected, rtol=1e-5)


@pytest.mark.parametrize("bins", [2, 3, 10, 64])
def test_bins_equal_numpy_histograms(bins):
    expected = [
        scipy.stats.entropy(np.histogram(RATINGS[..., k][MASK[..., k]], bins, (0, 1))[0])
        for k in range(RATINGS.shape[-1])
    ]
    np.testing.assert_allclose(rating_entropy(RATINGS, MASK, bins=bins), expected, rtol=1e-5)


def test_values_on_edges_fall_where_numpy_puts_them():
    on_edges = np.array([0, 0, 0.25, 0.5, 0.5, 0.75, 1, 1, 1], np.float32)[:, None]
    counts = rating_counts(on_edges, np.ones_like(on_edges, bool), jnp.asarray(bin_edges(4), jnp.float32))
    np.testing.assert_array_equal(counts[0], np.histogram(on_edges, 4, (0, 1))[0])
    expected = scipy.stats.entropy(np.histogram(on_edges, 4, (0, 1))[0])
    np.testing.assert_allclose(rating_entropy(on_edges, bins=4), [expected], rtol=1e-6)


def test_every_level_of_a_grid_is_its_own_bin():
    for levels in (2, 3, 5, 10, 11, 21, 101):
        grid = np.linspace(0, 1, levels, dtype=np.float32)[:, None]
        np.testing.assert_allclose(rating_entropy(grid, levels=levels), [math.log(levels)], rtol=1e-5)


def test_counts_are_exact_and_only_of_what_is_rated():
    edges = level_edges(5)
    counts = np.asarray(rating_counts(RATINGS[:, 0], MASK[:, 0], jnp.asarray(edges, jnp.float32)))
    np.testing.assert_array_equal(counts.sum(1), MASK[:, 0].sum(0))
    for k in range(3):
        column = RATINGS[:, 0, k][MASK[:, 0, k]]
        np.testing.assert_array_equal(counts[k], np.histogram(column, [-np.inf, *edges, np.inf])[0])


@pytest.mark.parametrize("base", [2, 10, math.e])
def test_bases(base):
    expected = reference(RATINGS, MASK, level_edges(11), base)
    np.testing.assert_allclose(rating_entropy(RATINGS, MASK, base=base), expected, rtol=1e-5)


@pytest.mark.parametrize(("scale", "levels"), [((-1.0, 1.0), 11), ((1.0, 5.0), 5), ((0.0, 100.0), 11)])
def test_other_scales_shift_and_stretch_the_grid(scale, levels):
    low, high = scale
    expected = rating_entropy(RATINGS, MASK, levels=levels)
    stretched = low + (high - low) * RATINGS
    np.testing.assert_allclose(rating_entropy(stretched, MASK, levels=levels, scale=scale), expected, rtol=1e-5)


def test_miller_madow_adds_its_correction():
    plug_in = np.array(reference(RATINGS, MASK, level_edges(11)))
    flat, seen = RATINGS.reshape(-1, 3), MASK.reshape(-1, 3)
    occupied = [len(set(np.searchsorted(level_edges(11), flat[seen[:, k], k], "right"))) for k in range(3)]
    expected = plug_in + (np.array(occupied) - 1) / (2 * seen.sum(0))
    np.testing.assert_allclose(rating_entropy(RATINGS, MASK, estimator="miller_madow"), expected, rtol=1e-5)
    in_bits = rating_entropy(RATINGS, MASK, estimator="miller_madow", base=2)
    np.testing.assert_allclose(in_bits, expected / math.log(2), rtol=1e-5)


def test_miller_madow_is_less_biased():
    truth, draws = math.log(11), np.random.default_rng(1).integers(0, 11, (30, 2000)).astype(np.float32) / 10
    plug_in = np.asarray(rating_entropy(draws)).mean()
    corrected = np.asarray(rating_entropy(draws, estimator="miller_madow")).mean()
    assert abs(corrected - truth) < 0.2 * abs(plug_in - truth)


def test_normalisations():
    two_levels = np.array([0, 0, 0, 1], np.float32)
    four_levels = np.array([0, 0.25, 0.5, 1], np.float32)
    ratings = np.stack([two_levels, four_levels], 1)
    h = [scipy.stats.entropy([3, 1]), math.log(4)]
    levels = rating_entropy(ratings, levels=5, normalize="levels")
    np.testing.assert_allclose(levels, np.array(h) / math.log(5), rtol=1e-5)
    observed = rating_entropy(ratings, levels=5, normalize="observed", base=2)
    np.testing.assert_allclose(observed, [h[0] / math.log(2), 1.0], rtol=1e-5)  # a share has no unit, so no base


def test_a_constant_rule_has_entropy_zero_under_every_normalisation():
    ratings = np.stack([np.full(8, 0.3), np.tile([0.0, 1.0], 4)], 1).astype(np.float32)
    for normalize in ("none", "levels", "observed"):
        with pytest.warns(RatingsWarning, match="rule 0: all ratings are equal"):
            assert rating_entropy(ratings, normalize=normalize)[0] == 0.0


def test_entropy_of_counts_takes_weights_and_batches_and_is_nan_without_counts():
    counts = RNG.random((4, 3, 7)).astype(np.float32)
    np.testing.assert_allclose(entropy_of_counts(jnp.asarray(counts)), scipy.stats.entropy(counts, axis=-1), rtol=1e-5)
    assert np.isnan(entropy_of_counts(jnp.zeros(3)))


def test_gradient_of_entropy_is_the_formulas_and_finite_at_empty_levels():
    counts = jnp.array([3.0, 0.0, 5.0, 1.0])
    p = np.array([3, 0, 5, 1]) / 9
    with np.errstate(divide="ignore"):
        expected = -(np.log(p) + scipy.stats.entropy(p)) / 9
    gradient = np.asarray(jax.grad(entropy_of_counts)(counts))
    np.testing.assert_allclose(gradient[p > 0], expected[p > 0], rtol=1e-5)
    assert np.isfinite(gradient).all()


def test_jit_and_vmap_give_the_same():
    expected = rating_entropy(RATINGS, MASK)
    np.testing.assert_allclose(jax.jit(rating_entropy)(RATINGS, MASK), expected, rtol=1e-6)
    batch = jnp.asarray(RATINGS.reshape(4, 10, 2, 3))
    apart = [rating_entropy(part) for part in batch]
    np.testing.assert_allclose(jax.vmap(rating_entropy)(batch), jnp.stack(apart), rtol=1e-6)


@pytest.mark.parametrize("kind", [np.float64, np.float16, jnp.bfloat16, np.int32, bool])
def test_any_number_type_is_read(kind):
    ratings = np.array([[0], [1], [1], [0], [1]]).astype(kind)
    np.testing.assert_allclose(rating_entropy(ratings), [scipy.stats.entropy([2, 3])], rtol=1e-5)
    assert rating_entropy(ratings).dtype == jnp.float32


def test_lists_are_read():
    np.testing.assert_allclose(rating_entropy([[0.0], [1.0]]), [math.log(2)], rtol=1e-6)


def test_masked_entries_may_hold_anything():
    ratings = RATINGS.copy()
    ratings[~MASK] = RNG.choice([np.nan, np.inf, -7], (~MASK).sum())
    for estimator in ("plug_in", "miller_madow", "kde"):
        expected = rating_entropy(np.where(MASK, RATINGS, 0), MASK, estimator=estimator)
        np.testing.assert_allclose(rating_entropy(ratings, MASK, estimator=estimator), expected, rtol=1e-6)


# Refusals and warnings


@pytest.mark.parametrize(
    ("row", "value", "message"),
    [(3, np.nan, "row 3, rule 1.*nan is not finite"), (5, np.inf, "row 5, rule 1.*is not finite"),
     (0, 1.01, r"row 0, rule 1.*outside \[0.0, 1.0\].*rescale"), (1, -0.1, "row 1, rule 1.*outside")],
)  # fmt: skip
def test_bad_ratings_are_refused_by_row_and_rule(row, value, message):
    ratings = RATINGS[:, 0].copy()
    ratings[row, 1] = value
    with pytest.raises(InputError, match=message):
        rating_entropy(ratings)
    with pytest.raises(InputError, match="rule 'b'"):
        rating_entropy(ratings, names=("a", "b", "c"))


def test_a_rule_without_ratings_is_refused():
    with pytest.raises(InputError, match="rule 'b': has no rating"):
        rating_entropy(RATINGS[:, 0], np.ones((40, 3), bool) & [True, False, True], names=["a", "b", "c"])


def test_shapes_are_checked():
    with pytest.raises(InputError, match=r"shape \(3,\)"):
        rating_entropy(np.zeros(3))
    with pytest.raises(InputError, match=r"the mask has shape \(40, 3\)"):
        rating_entropy(RATINGS, MASK[:, 0])
    with pytest.raises(InputError, match="2 names for 3 rules"):
        rating_entropy(RATINGS, names=("a", "b"))
    with pytest.raises(InputError, match="there is no rule"):
        rating_entropy(np.zeros((5, 2, 0)))


@pytest.mark.parametrize("value", [None, "0.5", 0.5 + 1j, np.datetime64("2026-01-01"), b"x"], ids=str)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(InputError, match="ratings: holds .*, no numbers"):
        rating_entropy(np.full((5, 2), value))


@pytest.mark.parametrize(
    "options",
    [{"estimator": "exact"}, {"normalize": "max"}, {"levels": 1}, {"levels": (0.5,)}, {"levels": (0.0, 0.5, 0.5)},
     {"levels": (1.0, 0.0)}, {"bins": 1}, {"bins": 0}, {"base": 1.0}, {"base": 0.0}, {"base": -2.0},
     {"scale": (1.0, 0.0)}, {"scale": (0.0, 0.0)}],
    ids=str,
)  # fmt: skip
def test_unknown_and_senseless_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        rating_entropy(RATINGS, **options)


def test_numpy_integers_count_levels_too():
    np.testing.assert_array_equal(rating_entropy(RATINGS, levels=np.int64(5)), rating_entropy(RATINGS, levels=5))


def test_rounding_at_the_ends_of_the_scale_is_tolerated():
    ratings = np.array([[np.nextafter(np.float32(1), np.float32(2))], [-1e-9]], np.float32)
    np.testing.assert_allclose(rating_entropy(ratings), [math.log(2)], rtol=1e-6)


def test_grids_of_different_size_are_warned_of_unless_normalised():
    ratings = np.stack([np.tile([0, 1.0], 6), np.tile([0, 0.5, 1.0], 4)], 1).astype(np.float32)
    with pytest.warns(RatingsWarning, match="rule 'coarse': 2, rule 'fine': 3.*normalize='observed'"):
        rating_entropy(ratings, names=("coarse", "fine"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rating_entropy(ratings, normalize="observed")
        rating_entropy(ratings[:, :1])
        rating_entropy(np.random.default_rng(0).random((300, 2)))  # continuous: no grid to differ


def test_levels_that_nobody_used_make_no_other_grid():
    ratings = np.stack([np.repeat(np.arange(11), 2), np.repeat([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 10], 2)], 1) / 10
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rating_entropy(ratings)


def test_ratings_that_never_repeat_lie_on_no_grid():
    ratings, mask = np.random.default_rng(0).random((60, 2)), np.ones((60, 2), bool)
    mask[:20, 1] = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rating_entropy(ratings, mask)
