"""Every public function of the room, given text, objects, dates, NaN, infinity or an array of the wrong rank.

Each is refused in one line that names the argument, or, where its documentation says so, answered. A walk through the
modules makes sure that a new function gets a row here.
"""

import importlib
import inspect
import pkgutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax import composition as room
from encore_jax.errors import InputError

RNG = np.random.default_rng(0)
PAIRS = RNG.random((30, 2, 4)).astype(np.float32)
RATED = RNG.integers(0, 5, (40, 4)) / np.float32(4)
MASK = np.ones((40, 4), bool)
WEIGHTS = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
GRAM = np.eye(4, dtype=np.float32)

# name: (valid arguments, places of the arrays that are to be numbers, whether NaN is answered as documented)
CALLS = {
    "accuracy.margin_accuracy": ((PAIRS[:, 0],), (0,), False),
    "accuracy.rule_accuracy": ((PAIRS, np.zeros(30, int), np.ones(PAIRS.shape, bool)), (0,), False),
    "advantages.group_advantages": ((PAIRS[:, 0], WEIGHTS), (0,), "no reward"),
    "advantages.shortfalls": ((WEIGHTS, WEIGHTS), (0,), "no reward, no shortfall"),
    "advantages.updated_multipliers": ((WEIGHTS, PAIRS[:, 0], WEIGHTS), (1,), "does not count"),
    "agreement.agreement_loadings": ((RATED,), (0,), False),
    "agreement.agreement_weights": ((WEIGHTS, WEIGHTS), (0, 1), "a NaN loading is an unknown rule"),
    "conformal.conformal_radius": ((WEIGHTS, np.arange(4)), (0,), "no rating, left out; infinity is refused"),
    "conformal.conformal_bands": ((WEIGHTS, WEIGHTS, np.arange(4)), (0, 1), "no rating, left out"),
    "correlation.pearson": ((WEIGHTS, WEIGHTS[::-1].copy()), (0, 1), "NaN"),
    "correlation.fisher_interval": ((0.5, 10), (0,), "NaN"),
    "correlation.entropy_accuracy_correlation": ((WEIGHTS, WEIGHTS[::-1].copy()), (0, 1), "left out"),
    "dawid_skene.dawid_skene": ((RNG.integers(0, 2, (20, 3)).astype(float),), (0,), False),
    "dpp.rating_gram": ((RATED,), (0,), False),
    "dpp.greedy_map": ((GRAM, 2), (0,), False),
    "dpp.sample_kdpp": ((GRAM, 2, jax.random.key(0)), (0,), False),
    "dpp.log_det": ((GRAM, [0, 1]), (0, 1), False),
    "entropy.level_edges": (([0.0, 0.5, 1.0],), (0,), False),
    "entropy.bin_edges": ((4, [0.0, 1.0]), (1,), False),
    "entropy.rating_counts": ((RATED, MASK, np.array([0.5])), (0, 2), "counted nowhere above an edge"),
    "entropy.entropy_of_counts": ((np.ones((2, 3), np.float32),), (0,), "NaN"),
    "entropy.rating_entropy": ((RATED,), (0,), False),
    "information.channel_information": ((WEIGHTS,), (0,), "NaN"),
    "information.preference_information": ((np.ones((2, 3), np.float32),), (0,), "NaN"),
    "information.selection_accuracy": ((PAIRS[:, 0], 1.0), (0, 1), False),
    "kde.kde_entropy": ((RATED, MASK), (0,), False),
    "moments.rating_rows": ((RATED,), (0,), False),
    "reward.compose": ((PAIRS, WEIGHTS), (0, 1), False),
    "reward.margins": ((PAIRS, np.zeros(30, int)), (0, 1), False),
    "reward.margin_tolerances": ((PAIRS,), (0,), False),
    "reward.composed_margins": ((PAIRS, WEIGHTS), (0, 1), False),
    "rule_labels.label_from_rules": ((PAIRS, np.zeros((30, 1), int)), (0, 1), False),
    "selection.discrepancy": ((PAIRS,), (0,), False),
    "selection.mean_relevance": ((PAIRS,), (0,), False),
    "selection.critical_rules": ((PAIRS, PAIRS[:, 0], 1), (0, 1), False),
    "selection.top_rules": ((PAIRS[:, 0], 1), (0,), False),
    "selection.random_rules": ((jax.random.key(0), MASK, 1), (1,), "a mask"),
    "selection.selected": ((np.zeros((3, 1), int), 4), (0,), False),
    "ties.is_tie": ((WEIGHTS,), (0,), "no tie"),
    "ties.sign": ((WEIGHTS,), (0,), "NaN"),
    "ties.credit": ((WEIGHTS,), (0,), "NaN"),
    "ties.rule_tolerance": ((WEIGHTS, WEIGHTS), (0, 1), "NaN"),
    "ties.rule_margins": ((WEIGHTS, WEIGHTS[::-1].copy()), (0, 1), "NaN"),
    "ties.weighted_margin": ((RATED, 0 * RATED, WEIGHTS), (0, 1, 2), "NaN"),
    "ties.reward_tolerance": ((RATED, WEIGHTS), (0, 1), "NaN"),
    "ties.settled": ((WEIGHTS,), (0,), "ties with nothing"),
    "ties.first_place": ((WEIGHTS,), (0,), False),
    "weights.entropy_weights": ((WEIGHTS, 2.0), (0, 1), False),
    "weights.softmax_over": ((WEIGHTS, 2.0), (0, 1), "-inf gets weight 0"),
    "weights.lowest_entropy_weights": ((WEIGHTS, 2), (0,), False),
    "weights.effective_rules": ((WEIGHTS,), (0,), False),
}
INNER = {
    "agreement": {"one_factor", "leading_factor"},  # compiled, on correlations that `correlations` made
    "camps": {"commonality", "number_of_factors", "bootstrap_loadings", "resampled_loadings", "find_camps", "varimax",
              "corrected", "effective_rules_of", "camp_loadings"},  # on moments of ratings that are checked
    "checks": {"is_traced", "has_values", "refuse_masked", "numbers", "flags", "pooled", "observed_grids",
               "check_ratings", "whole_number", "real_number", "shortened", "refuse_answers", "single", "namespace"},
    "conformal": {"fewest_prompts"},  # of one number
    "dpp": {"log_elementary_symmetric"},  # compiled, on eigenvalues
    "moments": {"prompt_groups", "grouped_moments", "moments_of", "correlations", "spreads"},
    "reward": {"pairs_of"},
    "rule_graph": {"compile_graph", "compose_graph", "counted_scores", "decide"},  # of scores, and graphs of a pool
}  # fmt: skip
"""Parts of other functions of the room, which have checked what they pass on."""

CASES = [(name, place) for name, (_, places, _) in CALLS.items() for place in places]


def function(name):
    module, inner = name.split(".")
    return getattr(importlib.import_module(f"encore_jax.composition.{module}"), inner)


def call(name, place, value):
    arguments = list(CALLS[name][0])
    arguments[place] = value
    return function(name)(*arguments)


def refused(name, place, value):
    with pytest.raises(InputError) as caught:
        call(name, place, value)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500 and caught.value.where
    return caught.value.problem


def test_every_public_function_of_the_room_is_here():
    found = set()
    for info in pkgutil.iter_modules(room.__path__):
        module = importlib.import_module(f"encore_jax.composition.{info.name}")
        for name, value in vars(module).items():
            own = getattr(value, "__module__", "") == module.__name__ and not inspect.isclass(value)
            if callable(value) and own and not name.startswith("_") and name not in INNER.get(info.name, ()):
                found.add(f"{info.name}.{name}")
    assert found == set(CALLS)
    public = {name for name in room.__all__ if inspect.isfunction(getattr(room, name))}
    assert public <= {name.split(".")[1] for name in CALLS}


@pytest.mark.parametrize(("name", "place"), CASES)
def test_text_objects_and_dates_are_refused(name, place):
    shape = np.shape(CALLS[name][0][place])
    for value in (np.full(shape, "1"), np.full(shape, {}, object), np.full(shape, None, object), "good", {"a": 1},
                  np.full(shape, "2020-01-01", "datetime64[D]"), np.full(shape, 1j), [[1.0], [1.0, 2.0]]):  # fmt: skip
        words = ("holds", "is no array", "got ", "has shape", "have shape", "is no whole number", "is a single number")
        assert any(word in refused(name, place, value) for word in words)


@pytest.mark.parametrize(("name", "place"), CASES)
def test_a_masked_array_does_not_lose_its_mask(name, place):
    """As a plain array, what is masked would count as a number."""
    values = np.ma.masked_array(np.array(CALLS[name][0][place], np.float64), False)
    values[(0,) * values.ndim] = np.ma.masked
    assert "masked array" in refused(name, place, values)


@pytest.mark.parametrize(("name", "place"), [case for case in CASES if not CALLS[case[0]][2]])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.filterwarnings("ignore::encore_jax.composition.RatingsWarning")
def test_what_is_not_finite_is_refused_where_nothing_else_is_documented(name, place, bad):
    if bad != bad or name not in INFINITE:
        value = np.array(CALLS[name][0][place], np.float64)
        value[(0,) * value.ndim] = bad
        refused(name, place, value)


INFINITE = {
    "accuracy.margin_accuracy",  # an infinite margin is decided
    "selection.top_rules",
    "weights.lowest_entropy_weights",  # whatever is infinite comes last, or first
    "weights.entropy_weights",  # an infinite temperature weighs equally
    "ties.first_place",
}
"""Answered: their order is known."""

SCALARS_ARE_FINE = {"correlation.fisher_interval", "information.channel_information", "ties.is_tie", "ties.sign",
                    "ties.credit", "weights.entropy_weights.1", "weights.softmax_over.1",
                    "information.selection_accuracy.1", "ties.rule_tolerance.1"}  # fmt: skip


@pytest.mark.parametrize(("name", "place"), CASES)
def test_a_single_number_where_an_array_is_wanted_is_refused(name, place):
    if name not in SCALARS_ARE_FINE and f"{name}.{place}" not in SCALARS_ARE_FINE:
        refused(name, place, 1.0)


@pytest.mark.parametrize("name", ["reward.compose", "reward.margins", "reward.composed_margins", "ties.is_tie"])
def test_inside_a_compiled_program_nothing_is_looked_at(name):
    arguments = [jnp.asarray(a) for a in CALLS[name][0]]
    plain, compiled = function(name)(*arguments), jax.jit(function(name))(*arguments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), plain, compiled)
