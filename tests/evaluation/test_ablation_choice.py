"""Which tau and grid: against accuracies computed one by one, where weights matter, and where nothing does."""

import itertools
import math

import numpy as np
import pytest

from encore_jax.composition import entropy_weights, margin_tolerances
from encore_jax.evaluation.ablation_choice import full_set_choice
from encore_jax.evaluation.ablation_grid import Axis
from encore_jax.evaluation.first_line import EQUAL_DO, first_line

TAUS = (0.1, 0.5, 2.0, math.inf)
GRIDS = ("2 levels", "5 levels")


def choice(margin, entropy, taus=TAUS, cluster=None, prior=None, seed=0):
    """`entropy` is ``[2, K]``: one row for each grid."""
    axes = [Axis("grid", GRIDS), Axis("tau", taus), Axis("agreement", ("no",))]
    n, rules = margin.shape
    scores = np.stack([margin, np.zeros_like(margin)], 1).astype(np.float32)
    tolerance = np.asarray(margin_tolerances(scores))[None]
    cluster = np.arange(n) if cluster is None else cluster
    prior = np.ones((1, rules), np.float32) if prior is None else prior
    entropy = np.asarray(entropy, np.float32)[None]
    return full_set_choice(axes, entropy, margin[None].astype(np.float32), tolerance, cluster, prior, seed)


def line(full):
    return first_line({"found": {}, "full": full})


def one_good_rule(n=400, seed=0):
    """Rule 0 is right in 8 of 10 comparisons and has a low entropy; four rules are coin flips of larger size."""
    rng = np.random.default_rng(seed)
    good = np.where(rng.random(n) < 0.8, 1.0, -1.0)
    return np.column_stack([good, *2 * rng.choice([-1.0, 1.0], (4, n))]), [[0.2, 1, 1, 1, 1], [0.3, 1, 1, 1, 1]]


def test_accuracies_are_those_of_each_setting_alone():
    margin, entropy = one_good_rule(60)
    full = choice(margin, entropy)
    accuracy = {}
    for (g, grid), tau in itertools.product(enumerate(GRIDS), TAUS):
        weights = np.asarray(entropy_weights(np.array(entropy[g], np.float32), tau), np.float64)
        reward = margin @ weights
        accuracy[grid, tau] = np.where(abs(reward) < 1e-6, 0.5, reward > 0).mean()
    assert full["settings"] == 8 and full["best"]["accuracy"]["value"] == pytest.approx(max(accuracy.values()))
    assert full["worst"]["accuracy"]["value"] == pytest.approx(min(accuracy.values()))
    uniform = accuracy[GRIDS[0], math.inf]
    assert full["uniform"]["value"] == pytest.approx(uniform)
    for row, tau in zip(full["marginals"]["tau"], TAUS, strict=True):
        mean = np.mean([accuracy[grid, tau] for grid in GRIDS])
        assert row["accuracy"]["value"] == pytest.approx(mean)
        assert row["minus_uniform"]["value"] == pytest.approx(mean - uniform)
    table = np.array([[accuracy[grid, tau] for tau in TAUS] for grid in GRIDS])
    np.testing.assert_allclose(full["heat_map"]["accuracy"], table, atol=1e-9)


def test_where_weights_matter_the_best_is_told_from_equal_weights():
    full = choice(*one_good_rule())
    assert full["best"]["values"]["tau"] == "0.1" and not full["alike"]["uniform"]
    assert full["minus_uniform"]["low"] > 0.05 and full["gain"] > 0.05
    words = line(full)
    assert words.startswith("Best on these data with all rules: tau 0.1 with ")
    assert "more than the choice among 8 settings explains" in words and "the choice matters" in words
    assert "Of entropy weights use it, and confirm it" in words


def test_where_the_best_is_equal_weights_they_are_named():
    margin, entropy = one_good_rule()
    worse = 1 - np.array(entropy)  # the good rule gets the least weight
    alone = choice(margin[:, [0, 1, 2]], worse[:, [0, 1, 2]] * 3)
    assert alone["is_uniform"] and alone["best"]["values"]["tau"] == "\N{INFINITY}"
    assert line(alone).startswith("Best on these data with all rules: equal weights") and EQUAL_DO in line(alone)


def test_settings_that_decide_alike_do_not_matter():
    rng = np.random.default_rng(1)
    full = choice(np.repeat(rng.normal(size=(100, 1)), 3, 1), [[0.1, 0.5, 1.0]] * 2)
    assert full["alike"]["all"] and full["spread"]["value"] == 0
    assert "do not matter here" in line(full) and line(full).endswith(EQUAL_DO)


def test_by_chance_alone_the_best_is_seldom_told_from_anything():
    """40 data sets in which no rule knows anything: at most 5 in 100 should err."""
    errors = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        full = choice(rng.normal(size=(120, 4)), rng.uniform(0, 2, (2, 4)), seed=seed)
        errors += not full["alike"]["all"]
    assert errors <= 5


def test_intervals_are_over_prompts():
    margin, entropy = one_good_rule(80)
    once = choice(margin, entropy)["best"]["accuracy"]
    repeated = choice(np.repeat(margin, 5, 0), entropy, cluster=np.repeat(np.arange(80), 5))["best"]["accuracy"]
    assert repeated["value"] == pytest.approx(once["value"])
    assert repeated["high"] - repeated["low"] == pytest.approx(once["high"] - once["low"], rel=0.1)


def test_few_prompts_and_a_single_setting_are_said():
    margin, entropy = one_good_rule(9)
    assert "9 prompts are too few" in line(choice(margin, entropy))
    axes = [Axis("grid", GRIDS[:1]), Axis("tau", (math.inf,)), Axis("agreement", ("no",))]
    tolerance = np.zeros((1, 9, 5), np.float32)
    ones = np.ones((1, 5), np.float32)
    full = full_set_choice(axes, np.ones((1, 1, 5), np.float32), margin[None], tolerance, np.arange(9), ones)
    assert "the only setting" in line(full)


def test_results_of_an_older_version_say_so():
    assert "older version" in first_line({"found": {}, "best": {}})
