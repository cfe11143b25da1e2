"""The gate: its forward pass in NumPy, its gradient by differences, and that it finds rules that matter by prompt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from encore_jax.errors import InputError
from encore_jax.train.gating import GateSettings, balanced_scale, fit_gate, gate_weights, init_gate

SMALL = GateSettings(layers=3, width=16, steps=300, batch=64, lr=1e-2)


def two_kinds(prompts=40, each=5, seed=0):
    """Prompts of two kinds; rule 0 decides on one kind, rule 1 on the other, and each misleads elsewhere."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, prompts)
    embedding = rng.normal(size=(prompts, 6)).astype(np.float32)
    embedding[:, 0] = 4 * kind - 2
    prompt = np.repeat(np.arange(prompts), each)
    margins = rng.normal(size=(prompts * each, 3)).astype(np.float32)
    margins[:, :2] = np.array([[1.0, -1.0], [-1.0, 1.0]])[kind[prompt]]
    return embedding, prompt, margins


def accuracy(params, embedding, prompt, margins, settings=SMALL):
    weights = np.asarray(gate_weights(params, jnp.asarray(embedding), settings.temperature))
    return ((weights[prompt] * margins).sum(1) > 0).mean()


def test_weights_are_those_of_numpy():
    params = init_gate(jax.random.key(0), 6, 4, SMALL)
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    got = gate_weights(params, jnp.asarray(x), 10.0)
    for layer in params["layers"][:-1]:
        x = np.maximum(x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    logits = (x @ np.asarray(params["layers"][-1]["kernel"]) + np.asarray(params["layers"][-1]["bias"])) / 10.0
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert len(params["layers"]) == 4 and params["layers"][1]["kernel"].shape == (16, 16)


def test_scale_and_temperature():
    params = init_gate(jax.random.key(0), 6, 4, SMALL)
    x = jnp.ones((2, 6))
    np.testing.assert_allclose(gate_weights(params, x, 10.0).sum(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(gate_weights(params | {"scale": jnp.float32(3)}, x, 10.0).sum(1), 3.0, rtol=1e-5)
    assert gate_weights(params, x, 0.01).max() > gate_weights(params, x, 10.0).max()


def test_dropout_keeps_the_mean_and_needs_a_key():
    params = init_gate(jax.random.key(0), 6, 4, GateSettings(layers=1, width=4096))
    x = jnp.ones((1, 6))
    plain = gate_weights(params, x, 0.1, 0.2)
    np.testing.assert_array_equal(plain, gate_weights(params, x, 0.1, 0.0))
    dropped = jax.vmap(lambda key: gate_weights(params, x, 0.1, 0.2, key))(jax.random.split(jax.random.key(1), 256))
    assert dropped.std(0).max() > 0
    odds, expected = (jnp.log(w[..., 1:] / w[..., :1]) for w in (dropped, plain))  # linear in the dropped layer
    np.testing.assert_allclose(odds.mean(0), expected, atol=0.3)


@pytest.mark.parametrize("batch", [64, 16])  # more, and fewer than there are prompts
def test_it_finds_which_rule_matters_for_which_prompt(batch):
    embedding, prompt, margins = two_kinds()
    settings = GateSettings(layers=2, width=32, steps=300, batch=batch, lr=1e-2)
    params, losses = fit_gate(embedding, prompt, margins, settings, seed=0)
    assert losses.shape == (300,) and losses[-20:].mean() < losses[:20].mean()
    assert accuracy(params, *two_kinds(seed=1)) > 0.9  # no fixed weighting is right more often than chance


def test_equal_seeds_give_equal_gates_and_others_do_not():
    data, few = two_kinds(), GateSettings(width=8, steps=3)
    first, again, other = (fit_gate(*data, few, seed=seed)[0] for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first["layers"][0]["kernel"], other["layers"][0]["kernel"])


def test_what_is_not_finite_is_refused():
    embedding, prompt, margins = two_kinds()
    embedding[3, 1] = np.nan
    with pytest.raises(InputError, match="embedding .* must be finite"):
        fit_gate(embedding, prompt, margins, SMALL, 0)


def test_parameters_begin_uniformly_within_their_bounds():
    settings = GateSettings(layers=2, width=400, scale=3.5)
    params = init_gate(jax.random.key(0), 25, 200, settings)
    assert float(params["scale"]) == 3.5 and [layer["kernel"].shape for layer in params["layers"]] == [
        (25, 400), (400, 400), (400, 200),
    ]  # fmt: skip
    for layer in params["layers"]:
        bound = layer["kernel"].shape[0] ** -0.5
        for values in layer.values():
            inside = np.sort(np.asarray(values).ravel()) / bound
            assert -1 <= inside[0] < -0.97 and 0.97 < inside[-1] <= 1 and abs(inside.mean()) < 0.1
    kernels = [np.asarray(layer["kernel"])[:25, :200] for layer in params["layers"]]
    assert not np.allclose(kernels[0] * 5, kernels[1] * 20), "layers are drawn independently"


def test_prompts_that_no_comparison_has_change_nothing():
    """With more prompts than a batch has comparisons, weights are computed comparison by comparison."""
    embedding, prompt, margins = two_kinds(prompts=8)
    settings = GateSettings(layers=1, width=8, steps=5, batch=16, dropout=0.0)
    more = np.concatenate([embedding, np.full((30, 6), 7, np.float32)])
    (few, losses), (many, others) = (fit_gate(e, prompt, margins, settings, seed=0) for e in (embedding, more))
    np.testing.assert_allclose(losses, others, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), few, many)


def test_the_first_step_is_adamws():
    """Every parameter moves by the learning rate against its gradient, and shrinks by rate times decay."""
    data, usual = two_kinds(prompts=8), dict(layers=1, width=8, steps=1, batch=16, dropout=0.0, lr=0.01)
    plain, decayed = (fit_gate(*data, GateSettings(**usual, weight_decay=d), seed=3)[0] for d in (0.0, 0.5))
    start = init_gate(jax.random.split(jax.random.key(3))[0], 6, 3, GateSettings(**usual))
    for before, a, b in zip(*map(jax.tree.leaves, (start, plain, decayed)), strict=True):
        np.testing.assert_allclose(b - a, -0.01 * 0.5 * before, atol=1e-7)
        moved = np.abs(a - before)
        assert ((moved < 1e-7) | (np.abs(moved - 0.01) < 1e-3)).all() and moved.max() > 0.009


def test_a_gate_that_diverges_is_refused_and_one_of_no_steps_is_its_beginning():
    data = two_kinds(prompts=8)
    with pytest.raises(InputError, match="not finite within the first 5 steps.*lower the learning rate"):
        fit_gate(*data, GateSettings(layers=1, width=8, steps=5, batch=16, lr=3e38), seed=0)
    params, losses = fit_gate(*data, GateSettings(layers=1, width=8, steps=0), seed=3)
    start = init_gate(jax.random.split(jax.random.key(3))[0], 6, 3, GateSettings(layers=1, width=8))
    jax.tree.map(np.testing.assert_array_equal, params, start)
    assert losses.shape == (0,)


def test_steps_are_shown_chunk_by_chunk():
    seen = []

    def track(chunks, total):
        seen.append(total)
        for chunk in chunks:
            seen.append(chunk)
            yield chunk

    fit_gate(*two_kinds(prompts=8), GateSettings(layers=1, width=2, steps=201, batch=2), 0, track)
    assert seen == [3.0, 0, 100, 200]


def small_margins(comparisons=400, seed=0):
    """Margins as of scores between 0 and 1; rule 0 has the largest mean, but a mixture is right more often."""
    rng = np.random.default_rng(seed)
    return rng.normal((0.1, 0.07, 0.06), 0.1, (comparisons, 3)).astype(np.float32)


def fitted_weights(margins, settings):
    """Of a gate that cannot tell prompts apart, `[K]`."""
    embedding = np.ones((8, 2), np.float32)
    gate, _ = fit_gate(embedding, np.arange(len(margins)) % 8, margins, settings, seed=0)
    return np.asarray(gate_weights(gate, jnp.asarray(embedding[:1]), settings.temperature))[0]


def likelihood(weights, margins):
    return np.logaddexp(0, -(margins @ weights)).mean()


def best_shares(scale, margins):
    """SciPy's weights on the simplex, of a reward on this scale."""
    return scipy.optimize.minimize(
        lambda share: likelihood(scale * share, margins),
        np.full(3, 1 / 3),
        bounds=[(0, 1)] * 3,
        constraints=[{"type": "eq", "fun": lambda share: share.sum() - 1}],
        tol=1e-10,
    ).x


def test_the_published_scale_ends_on_one_rule_where_margins_are_small():
    """On the scale that it can reach the best weights are that corner: nothing is wrong with the optimiser."""
    margins = small_margins()
    weights = fitted_weights(margins, GateSettings(width=32, dropout=0.0))
    assert 1.9 < weights.sum() < 2.0  # 2,000 cosine steps of 1e-3
    np.testing.assert_allclose(weights / weights.sum(), [1, 0, 0], atol=0.01)
    np.testing.assert_allclose(best_shares(weights.sum(), margins), [1, 0, 0], atol=0.01)


def test_a_balanced_gate_finds_the_weights_of_scipy():
    margins = small_margins()
    scale = balanced_scale(margins)
    np.testing.assert_allclose(np.sqrt(((margins.mean(1) * scale) ** 2).mean()), 1, rtol=1e-5)
    np.testing.assert_allclose(balanced_scale(-2 * margins), scale / 2, rtol=1e-6)
    weights = fitted_weights(margins, GateSettings(width=32, dropout=0.0, scale=scale))
    best = best_shares(weights.sum(), margins)
    assert best.max() < 0.6
    np.testing.assert_allclose(weights / weights.sum(), best, atol=0.03)


def test_margins_that_all_tie_have_no_balanced_scale():
    with pytest.raises(InputError, match="every comparison is a tie"):
        balanced_scale(np.array([[0.5, -0.5]], np.float32))
