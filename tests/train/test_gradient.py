"""Loss and step: right loss, right gradient, however trees are packed and a step is cut into micro-batches."""

import functools
import re

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import strategies as st

from encore_jax.data.prefix_tree import lay_out, make_trees
from encore_jax.errors import InputError
from encore_jax.model.decoder import Backbone
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.train.batches import Targets, held_out_batches
from encore_jax.train.gradient import batch_scores, batch_totals, step_function
from encore_jax.train.optimizer import schedule, transformation
from encore_jax.train.packing import Shape, step_shape
from encore_jax.train.program import make_program
from encore_jax.train.settings import LossSettings, OptimizerSettings
from encore_jax.train.state import make_state
from tests.train.tiny_training import (
    CFG,
    LENGTH,
    PROMPTS,
    RULES,
    UNIFORM,
    assert_close,
    batches,
    params,
    program,
    sequences,
    settings,
    start,
    targets,
    tokens,
    trees,
)


@functools.partial(jax.jit, static_argnames=("name", "margins", "centering"))
def totals_of(params, batch, weights, name="regression", margins=False, centering=0.0):
    loss = LossSettings(loss=name, margins=margins, centering=centering)
    return batch_totals(Backbone(CFG), params, batch, weights, loss)


scores_of = jax.jit(functools.partial(batch_scores, Backbone(CFG)))
ONE_ROW = Shape(1, 1, LENGTH, 8)


def scores_alone(sequence):
    """Scores of one sequence, run by itself."""
    [batch] = held_out_batches(make_trees([sequence], [0], len(sequence)), targets(), ONE_ROW)
    return np.asarray(scores_of(params(), batch.trees))[0]


def test_losses_equal_those_of_every_sequence_run_alone():
    alone = np.stack([scores_alone(sequence) for sequence in sequences()])
    sums = dict.fromkeys(("squared", "bradley", "binary", "entries", "pairs", "right"), 0.0)
    weights, known = jnp.array([0.5, 0.3, 0.2]), targets()
    for batch in held_out_batches(trees(), known, step_shape(settings())):
        regression = totals_of(params(), batch, weights)
        sums["squared"] += float(regression.loss.total)
        sums["entries"] += float(regression.loss.count)
        sums["right"] += float(regression.right.total)
        pairwise = totals_of(params(), batch, weights, "bradley_terry", margins=True, centering=0.01)
        sums["bradley"] += float(pairwise.loss.total)
        sums["pairs"] += float(pairwise.loss.count)
        sums["binary"] += float(totals_of(params(), batch, weights, "binary").loss.total)
    error = np.where(known.rated, alone - known.ratings, 0)
    assert sums["entries"] == known.rated.sum() and sums["pairs"] == PROMPTS
    assert sums["squared"] == pytest.approx((error**2).sum(), rel=1e-5)
    reward = alone @ np.asarray(weights)
    better, worse = reward[known.pairs[:, 0]], reward[known.pairs[:, 1]]
    expected = np.log1p(np.exp(-(better - worse - known.margin))) + 0.01 * (better + worse) ** 2
    assert sums["bradley"] == pytest.approx(expected.sum(), rel=1e-5)
    assert sums["right"] == (better > worse).sum()
    p = 1 / (1 + np.exp(-alone.astype(np.float64)))
    cross = -(known.ratings * np.log(p) + (1 - known.ratings) * np.log(1 - p))
    assert sums["binary"] == pytest.approx(cross[known.rated].sum(), rel=1e-5)


LOSSES_BY_HAND = {
    "regression": LossSettings(loss="regression", positive_weight=7.0, centering=7.0, margins=True),
    "binary": LossSettings(loss="binary", positive_weight=1.0),
    "binary, yes weighs more": LossSettings(loss="binary", positive_weight=3.5),
    "pairs": LossSettings(loss="bradley_terry", positive_weight=7.0),
    "pairs with margins": LossSettings(loss="bradley_terry", margins=True),
    "pairs, centred": LossSettings(loss="bradley_terry", centering=0.3),
    "pairs with margins, centred": LossSettings(loss="bradley_terry", margins=True, centering=0.3),
}


@pytest.mark.parametrize("chosen", LOSSES_BY_HAND)
def test_every_setting_of_a_loss_does_what_it_says(chosen):
    """Against NumPy on scores of the whole batch; `right` and the counts do not depend on the loss."""
    loss, known = LOSSES_BY_HAND[chosen], targets()
    weights = np.array([0.5, 0.3, 0.2], np.float32)
    [batch] = held_out_batches(trees(), known, Shape(1, 8, LENGTH, 64))
    found = jax.jit(lambda p: batch_totals(Backbone(CFG), p, batch, weights, loss))(params())
    scores = np.asarray(scores_of(params(), batch.trees), np.float64)
    real = batch.trees.key >= 0
    psi, rated = known.ratings[batch.trees.key[real]], known.rated[batch.trees.key[real]]
    place = {int(key): m for m, key in enumerate(batch.trees.key) if key >= 0}
    better, worse = ([scores[place[int(key)]] @ weights for key in known.pairs[:, side]] for side in (0, 1))
    difference, centre = np.subtract(better, worse), np.add(better, worse)
    if loss.loss == "regression":
        expected, count = ((scores[real] - psi) ** 2)[rated].sum(), rated.sum()
    elif loss.loss == "binary":
        yes, no = np.log1p(np.exp(-scores[real])), np.log1p(np.exp(scores[real]))
        expected, count = (loss.positive_weight * psi * yes + (1 - psi) * no)[rated].sum(), rated.sum()
    else:
        margin = known.margin if loss.margins else 0
        expected = (np.log1p(np.exp(margin - difference)) + loss.centering * centre**2).sum()
        count = len(known.pairs)
    assert float(found.loss.total) == pytest.approx(expected, rel=1e-5) and float(found.loss.count) == count
    assert float(found.right.total) == (difference > 0).sum() and float(found.right.count) == len(known.pairs)
    means = {name: float(value) for name, value in found.metrics.items()}
    right = float((difference > 0).mean())
    assert means == pytest.approx({"loss": expected / count, "count": count, "accuracy": right, "pairs": PROMPTS})


@pytest.mark.parametrize("loss", ["regression", "bradley_terry"])
def test_pairs_that_tie_count_half(loss):
    """Heads of zeros tie every pair; a pair of equal texts ties under any heads, and has no gradient."""
    silent = params() | {"heads": jax.tree.map(jnp.zeros_like, params()["heads"])}
    [batch] = held_out_batches(trees(), targets(), Shape(1, 8, LENGTH, 64))
    right = totals_of(silent, batch, UNIFORM, loss).right
    assert float(right.total) == PROMPTS / 2 and float(right.count) == PROMPTS
    rated = np.zeros((3, RULES), bool)
    equal = Targets(np.zeros((3, RULES), np.float32), rated, [(0, 1), (2, 0)], same={1: 0})
    [pair] = held_out_batches(make_trees([[1, 2, 3], [1, 2, 5]], [0, 2], LENGTH), equal, ONE_ROW)
    totals = totals_of(params(), pair, UNIFORM, "bradley_terry")
    scores = {int(k): float(s @ UNIFORM) for k, s in zip(pair.trees.key, scores_of(params(), pair.trees), strict=True)}
    assert float(totals.right.count) == 2 and float(totals.right.total) == 0.5 + (scores[2] > scores[0])
    assert float(totals.loss.total) == pytest.approx(np.log(2) + np.log1p(np.exp(scores[0] - scores[2])), rel=1e-5)


def test_the_reported_norm_is_of_the_mean_gradient_before_clipping():
    """Against the gradient of the mean loss over all rows at once, by its own formula."""
    config, limit = settings(rows=4, accumulate=2), 1e-3
    optimizer = optax.chain(optax.clip_by_global_norm(limit), optax.sgd(1.0))
    state, first = make_state(params(), "all", optimizer), next(iter(batches(config)))
    rows = [jax.tree.map(lambda x, a=a: x[a], first) for a in range(2)]

    def mean_loss(trained):
        sums = [totals_of(trained, batch, UNIFORM).loss for batch in rows]
        return sum(s.total for s in sums) / sum(s.count for s in sums)

    gradient = [np.asarray(g, np.float64) for g in jax.tree.leaves(jax.jit(jax.grad(mean_loss))(state.trainable))]
    norm = np.sqrt(sum((g**2).sum() for g in gradient))
    new, metrics = jax.jit(step_function(Backbone(CFG), optimizer, config))(state, first, UNIFORM)
    assert norm > 100 * limit and float(metrics["gradient_norm"]) == pytest.approx(norm, rel=1e-4)
    moved = [np.asarray(b, np.float64) - a for a, b in zip(*map(jax.tree.leaves, (state.trainable, new.trainable)),
                                                           strict=True)]  # fmt: skip
    for step, g in zip(moved, gradient, strict=True):
        np.testing.assert_allclose(step, -g * limit / norm, atol=2e-7)
    assert int(new.step) == 1 and float(metrics["loss"]) == pytest.approx(float(mean_loss(state.trainable)), rel=1e-5)


def test_gradient_of_packed_batch_equals_sum_over_sequences_run_alone():
    gradient_of = jax.jit(jax.grad(lambda p, batch: totals_of(p, batch, UNIFORM).loss.total))
    [batch] = held_out_batches(trees()[:4], targets(), Shape(1, 2, LENGTH, 8))
    alone = []
    for tree in trees()[:4]:
        for branch, key in zip(tree.branches, tree.keys, strict=True):
            [single] = make_trees([np.concatenate([tree.prefix, branch])], [key], 48)
            [one] = held_out_batches([single], targets(), ONE_ROW)
            alone.append(gradient_of(params(), one))
    summed = jax.tree.map(lambda *parts: np.sum(parts, axis=0), *alone)
    assert_close(gradient_of(params(), batch), summed)


GROUPS = st.lists(
    st.tuples(st.integers(0, 8), st.lists(st.integers(1, 6), min_size=1, max_size=3)), min_size=1, max_size=4
)
scores_and_gradient = jax.jit(
    lambda p, batch: (
        batch_scores(Backbone(CFG), p, batch.trees),
        jax.grad(lambda p: totals_of(p, batch, UNIFORM).loss.total)(p),
    )
)


@hypothesis.settings(max_examples=30, deadline=None)
@hypothesis.given(GROUPS, st.randoms(use_true_random=False))
def test_any_trees_in_any_rows_and_order_give_the_scores_and_gradients_of_sequences_alone(groups, random):
    """Prefixes may be empty, trees have one to three branches; rows are shared, empty, or in another order."""
    rng = np.random.default_rng(random.randrange(2**32))
    packed, alone, key = [], [], 0
    for prefix, branches in groups:
        start = tokens(rng, prefix)
        texts = [np.array(start + tokens(rng, size)) for size in branches]
        keys = range(key, key := key + len(texts))
        packed += make_trees(texts, keys, LENGTH)
        alone += [tree for text, own in zip(texts, keys, strict=True) for tree in make_trees([text], [own], LENGTH)]
    known = Targets(rng.random((key, RULES)).astype(np.float32), rng.random((key, RULES)) < 0.8)
    random.shuffle(packed)
    rows, room = [[] for _ in range(4)], [LENGTH] * 4
    for tree in packed:
        row = random.choice([row for row in range(4) if room[row] >= len(tree)])
        rows[row].append(tree)
        room[row] -= len(tree)
    separate = [[tree] for tree in alone] + [[]] * (12 - len(alone))
    found = {}
    for name, laid in (("packed", lay_out(rows, LENGTH, 4, 12)), ("alone", lay_out(separate, LENGTH, 12, 12))):
        scores, gradient = scores_and_gradient(params(), known.batch(laid))
        found[name] = {int(k): s for k, s in zip(laid.key, np.asarray(scores), strict=True) if k >= 0}, gradient
    (scores, gradient), (expected, expected_gradient) = found["packed"], found["alone"]
    assert sorted(scores) == sorted(expected) == list(range(key))
    for own, value in expected.items():
        np.testing.assert_allclose(scores[own], value, rtol=1e-5, atol=1e-5)
    largest = max(float(abs(x).max()) for x in jax.tree.leaves(expected_gradient))
    assert_close(gradient, expected_gradient, atol=1e-5 * largest)


@pytest.mark.parametrize("loss", [pytest.param("regression", marks=pytest.mark.slow), "bradley_terry"])
def test_micro_batches_change_nothing_but_rounding(loss):
    """The same four rows as one micro-batch, and as four of unequal content (and unequal counts)."""
    optimizer = optax.sgd(1.0)
    whole, parts = settings(rows=4, loss=loss), settings(rows=4, accumulate=4, loss=loss)
    results = []
    for config in (whole, parts):
        step = jax.jit(step_function(Backbone(CFG), optimizer, config), donate_argnums=0)
        state = make_state(params(), "all", optimizer)
        first = next(iter(batches(config)))
        state, metrics = step(state, first, UNIFORM)
        results.append((first, state.trainable, metrics))
    (a, state_a, metrics_a), (b, state_b, metrics_b) = results
    keys = [sorted(x.trees.key[x.trees.key >= 0].tolist()) for x in (a, b)]
    assert keys[0] == keys[1] == list(range(2 * PROMPTS))
    assert a.trees.tokens.shape == (1, 4, LENGTH) and b.trees.tokens.shape == (4, 1, LENGTH)
    assert_close(metrics_a, metrics_b)
    assert_close(state_a, state_b)


@pytest.mark.parametrize("trainable", ["heads", "lora", "all"])
def test_only_what_is_trainable_moves(trainable):
    made = program(settings(trainable=trainable, lora_rank=2, warmup=0.0))
    state = start(made)
    before = jax.tree.map(np.asarray, state.params)
    stream = iter(batches(made.settings, epochs=3))
    for _ in range(3):  # the rate is zero at step 0, and LoRA's A moves only once B has
        state, metrics = made.step(state, made.place(next(stream)), UNIFORM)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), before, jax.tree.map(np.asarray, state.params))
    assert all(jax.tree.leaves(moved["heads"]))
    assert any(jax.tree.leaves(moved["backbone"])) == (trainable == "all")
    assert trainable != "lora" or all(jax.tree.leaves(moved["lora"]))
    assert int(state.step) == 3 and float(metrics["count"]) > 0


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match="trainable"):
        make_state(params(), "everything", optax.sgd(0.1))
    with pytest.raises(InputError, match="no lora to train"):
        make_state(params(), "lora", optax.sgd(0.1))
    [batch] = held_out_batches(trees()[:2], targets(), ONE_ROW)
    with pytest.raises(InputError, match="loss"):
        batch_totals(Backbone(CFG), params(), batch, UNIFORM, LossSettings(loss="mse"))


def test_optimizer_warms_up_decays_and_spares_vectors_from_weight_decay():
    optimizer = transformation(OptimizerSettings(lr=0.1, warmup=0.5, weight_decay=1.0, clip=0.0), 10)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    state, sizes = optimizer.init(params), []
    for _ in range(10):
        zero = jax.tree.map(jnp.zeros_like, params)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(zero, state, params)
        assert not updates["bias"].any()
        sizes.append(float(-updates["kernel"][0, 0]))
    assert sizes[0] == 0 and max(sizes) == pytest.approx(sizes[5]) == pytest.approx(0.1)
    assert sizes[1] < sizes[3] and sizes[9] < sizes[7]


def test_updates_are_adamw_on_the_gradient_clipped_by_its_global_norm():
    """Against the textbook, in NumPy."""
    chosen = OptimizerSettings(lr=0.1, warmup=0.25, weight_decay=0.3, clip=1.5, b1=0.8, b2=0.9)
    rng = np.random.default_rng(0)
    params = {"bias": rng.standard_normal(2), "kernel": rng.standard_normal((3, 2))}
    mean, square = (jax.tree.map(np.zeros_like, params) for _ in range(2))
    optimizer, rate = transformation(chosen, 8), schedule(chosen, 8)
    state, clipped = optimizer.init(jax.tree.map(jnp.float32, params)), []
    for t in range(8):
        size = 10.0 ** (t % 3 - 1)  # below the limit, near it, above it
        gradient = jax.tree.map(lambda p, size=size: size * rng.standard_normal(p.shape), params)
        with jax.numpy_dtype_promotion("standard"):
            arguments = (jax.tree.map(jnp.float32, gradient), state, jax.tree.map(jnp.float32, params))
            updates, state = optimizer.update(*arguments)
        norm = np.sqrt(sum((g**2).sum() for g in gradient.values()))
        clipped.append(norm > chosen.clip)
        for name, g in gradient.items():
            g = g * min(1, chosen.clip / norm)
            mean[name] = chosen.b1 * mean[name] + (1 - chosen.b1) * g
            square[name] = chosen.b2 * square[name] + (1 - chosen.b2) * g**2
            step = mean[name] / (1 - chosen.b1 ** (t + 1)) / (np.sqrt(square[name] / (1 - chosen.b2 ** (t + 1))) + 1e-8)
            decay = chosen.weight_decay * params[name] if name == "kernel" else 0
            expected = -float(rate(t)) * (step + decay)
            np.testing.assert_allclose(updates[name], expected, rtol=1e-4, atol=1e-6, err_msg=f"{name}, step {t}")
            params[name] = params[name] + expected
    assert any(clipped) and not all(clipped)


def test_weights_are_masters_in_fp32_under_bfloat16_computation():
    """Steps too small for bfloat16 are not lost: norm scales near 1 move by less than its resolution, 2**-8."""
    config = settings(lr=1e-4, warmup=0.0, weight_decay=0.0)
    made = make_program(CFG, RULES, config, make_mesh(MeshSettings(), jax.devices()[:1]), steps=100, dtype=jnp.bfloat16)
    state = start(made)
    assert {x.dtype for x in jax.tree.leaves((state.params, state.optimizer)) if x.ndim} == {jnp.dtype("float32")}
    for batch in batches(config, epochs=2):
        state, _ = made.step(state, made.place(batch), UNIFORM)
    moved = np.abs(np.asarray(state.params["backbone"]["final_norm"]) - 1)
    assert moved.min() > 0 and moved.max() < 2**-8
    trees = jax.tree.map(lambda x: x[0], batch.trees)
    text = str(jax.make_jaxpr(functools.partial(batch_scores, made.backbone))(state.params, trees))
    assert len(re.findall(r":bf16\[[\d,]+\] = custom_vjp_call", text)) >= 7  # projections q, k, v, o, gate, up, down


@pytest.mark.slow
def test_first_moment_may_be_half_precision_and_training_hardly_notices():
    losses = {}
    for dtype in ("float32", "bfloat16"):
        made = program(settings(first_moment=dtype))
        state = start(made)
        kinds = {str(x.dtype) for x in jax.tree.leaves(state.optimizer) if x.ndim}
        assert kinds == {"float32", dtype}
        for batch in batches(made.settings, epochs=6):
            state, metrics = made.step(state, made.place(batch), UNIFORM)
        losses[dtype] = float(metrics["loss"])
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.05)
