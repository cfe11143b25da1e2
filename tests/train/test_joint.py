"""Joint training of a preference head and rule heads: one gradient, the sum of the two losses' gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from encore_jax.errors import InputError
from encore_jax.model.decoder import Backbone
from encore_jax.model.heads import joint_head_names
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.train.batches import Targets, held_out_batches, training_batches
from encore_jax.train.gradient import batch_totals, step_function
from encore_jax.train.losses import joint_loss
from encore_jax.train.packing import Shape, step_shape
from encore_jax.train.settings import LossSettings
from encore_jax.train.state import make_state
from tests.train.tiny_training import (
    CFG,
    LENGTH,
    PROMPTS,
    RULES,
    assert_close,
    params,
    program,
    settings,
    start,
    trees,
)

PREFERENCE = np.eye(RULES, dtype=np.float32)[-1]
"""The last head is the preference head: it alone composes the reward that pairs are compared by."""
HALF = PROMPTS // 2
WEIGHT = 0.3


def mixed(pairs=True, ratings=True) -> Targets:
    """Prompts of three kinds: compared and rated, only compared, only rated; the preference head is never rated."""
    rng = np.random.default_rng(3)
    values = rng.random((2 * PROMPTS, RULES)).astype(np.float32)
    rated = rng.random((2 * PROMPTS, RULES)) < 0.7
    rated[:, -1] = False
    rated[: 2 * (HALF - 2)] = False
    compared = [(2 * i + i % 2, 2 * i + 1 - i % 2) for i in range(HALF + 2)]
    return Targets(values, rated & ratings, compared if pairs else ())


def batches(config, targets):
    return next(iter(training_batches(trees(), targets, step_shape(config), 0, 1)))


@functools.cache
def jitted_step(loss, weight, parts):
    optimizer = optax.sgd(1.0)
    config = settings(rows=4, loss=loss, rating_weight=weight, accumulate=parts)
    return optimizer, config, jax.jit(step_function(Backbone(CFG), optimizer, config))


def gradient(targets, loss="joint", weight=WEIGHT, parts=1):
    """Of one step on all twelve trees, as plain gradient descent applies it; and the step's metrics."""
    optimizer, config, step = jitted_step(loss, weight, parts)
    state = make_state(params(), "all", optimizer)
    new, metrics = step(state, batches(config, targets), jnp.asarray(PREFERENCE))
    before, after = (jax.tree.map(lambda x: np.asarray(x, np.float64), s.trainable) for s in (state, new))
    return jax.tree.map(np.subtract, before, after), {name: float(value) for name, value in metrics.items()}


def test_the_gradient_is_the_sum_of_the_two_losses_gradients():
    joint, of_joint = gradient(mixed())
    pairs, of_pairs = gradient(mixed(), "bradley_terry")
    ratings, of_ratings = gradient(mixed(), "regression")
    assert of_joint["loss"] == pytest.approx(of_pairs["loss"] + WEIGHT * of_ratings["loss"], rel=1e-6)
    assert of_joint["preference_loss"] == pytest.approx(of_pairs["loss"], rel=1e-6)
    assert of_joint["rating_loss"] == pytest.approx(WEIGHT * of_ratings["loss"], rel=1e-6)
    assert (of_joint["pairs"], of_joint["ratings"]) == (HALF + 2, mixed().rated.sum())
    assert_close(joint, jax.tree.map(lambda a, b: a + WEIGHT * b, pairs, ratings), rtol=1e-5, atol=2e-6)
    largest = [max(abs(x).max() for x in jax.tree.leaves(part)) for part in (pairs, ratings)]
    assert min(largest) > 1e-2  # both say something, so the sum is neither of them


def test_without_weight_or_ratings_it_is_bradley_terry_alone():
    alone, _ = gradient(mixed(), "bradley_terry")
    assert_close(gradient(mixed(), weight=0.0)[0], alone, atol=1e-6)
    assert_close(gradient(mixed(ratings=False))[0], alone, atol=1e-6)


def test_without_comparisons_it_is_the_rules_alone():
    alone, of_rules = gradient(mixed(pairs=False), "regression")
    joint, of_joint = gradient(mixed(pairs=False))
    assert_close(joint, jax.tree.map(lambda x: WEIGHT * x, alone), atol=1e-6)
    assert of_joint["loss"] == pytest.approx(WEIGHT * of_rules["loss"], rel=1e-6) and of_joint["pairs"] == 0


def test_each_head_learns_from_its_own_term_only():
    pairs, ratings = gradient(mixed(ratings=False))[0], gradient(mixed(pairs=False))[0]
    assert not pairs["heads"]["kernel"][:, :-1].any() and pairs["heads"]["kernel"][:, -1].any()
    assert not ratings["heads"]["kernel"][:, -1].any() and ratings["heads"]["kernel"][:, :-1].all()
    assert all(any(x.any() for x in jax.tree.leaves(part["backbone"])) for part in (pairs, ratings))


def test_micro_batches_of_unequal_content_change_nothing_but_rounding():
    whole, _ = gradient(mixed())
    split, metrics = gradient(mixed(), parts=4)
    content = batches(settings(rows=4, accumulate=4), mixed())
    shares = content.paired.sum(1) / np.maximum(content.rated.sum((1, 2)), 1)
    assert len(set(shares.tolist())) > 1 and metrics["pairs"] == HALF + 2
    assert_close(split, whole, atol=2e-6)


def test_devices_change_nothing_but_rounding():
    """Adam's first moment after a step from zero is (1 - b1) times the gradient, where nothing is clipped."""
    own = settings(rows=4, loss="joint", rating_weight=WEIGHT, clip=0.0)
    made = program(own, MeshSettings(data=4), 4)
    state = start(made)
    heads = jax.tree.map(lambda x: np.asarray(x, np.float32), state.trainable["heads"])
    state, metrics = made.step(state, made.place(batches(own, mixed())), jnp.asarray(PREFERENCE))
    [moment] = [x.mu for x in jax.tree.leaves(state.optimizer, is_leaf=lambda x: hasattr(x, "mu")) if hasattr(x, "mu")]
    optimizer, config, step = jitted_step("joint", WEIGHT, 1)
    alone = make_state(params() | {"heads": heads}, "all", optimizer)
    new, told = step(alone, batches(config, mixed()), jnp.asarray(PREFERENCE))
    expected = jax.tree.map(lambda a, b: (1 - own.b1) * (np.asarray(a) - np.asarray(b)), alone.trainable, new.trainable)
    assert_close(moment, expected, rtol=1e-4, atol=1e-6)
    assert_close(metrics, told)


def test_its_terms_against_numpy():
    rng = np.random.default_rng(0)
    chosen, rejected, margin = rng.standard_normal((3, 5)).astype(np.float32)
    scores, ratings = rng.standard_normal((2, 6, 3)).astype(np.float32)
    paired, rated = rng.random(5) < 0.6, rng.random((6, 3)) < 0.6
    ratings[~rated], chosen[~paired] = np.nan, np.nan
    found = joint_loss(*map(jnp.asarray, (chosen, rejected, paired, scores, ratings, rated)), 0.7,
                       jnp.asarray(margin), 0.01)  # fmt: skip
    a, b, m = (x[paired].astype(np.float64) for x in (chosen, rejected, margin))
    pairs = (np.log1p(np.exp(-(a - b - m))) + 0.01 * (a + b) ** 2).mean()
    errors = ((scores - ratings)[rated].astype(np.float64) ** 2).mean()
    assert float(found.preference.mean) == pytest.approx(pairs, rel=1e-5)
    assert float(found.mean) == pytest.approx(pairs + 0.7 * errors, rel=1e-5)
    assert (float(found.preference.count), float(found.rating.count)) == (paired.sum(), rated.sum())


def test_held_out_totals_add_up_to_the_mean_of_each_term():
    """Over batches of unequal content, added as they come: what a watched loss is."""
    loss = LossSettings(loss="joint", rating_weight=0.5)
    totals_of = jax.jit(lambda batch: batch_totals(Backbone(CFG), params(), batch, jnp.asarray(PREFERENCE), loss))
    [whole] = [totals_of(batch) for batch in held_out_batches(trees(), mixed(), Shape(1, 8, LENGTH, 64))]
    first, *rest = [totals_of(batch) for batch in held_out_batches(trees(), mixed(), Shape(1, 1, LENGTH, 8))]
    added = sum(rest, start=first)
    assert rest and {k: float(v) for k, v in added.metrics.items()} == pytest.approx(
        {k: float(v) for k, v in whole.metrics.items()}, rel=1e-5
    )


def test_a_rule_of_the_preference_heads_name_is_refused():
    assert joint_head_names(("kind", "preferences")) == ("kind", "preferences", "preference")
    with pytest.raises(InputError, match="'preference'.*rename the rule"):
        joint_head_names(("kind", "preference"))
