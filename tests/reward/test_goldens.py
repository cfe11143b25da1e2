"""Hidden states of a tiny model of every family against files written from transformers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.model.decoder import LOADS, ROUTING, Backbone, lm_logits
from encore_jax.model.experts import balance
from encore_jax.model.heads import rule_scores
from encore_jax.model.pooling import hf_pool_index
from tests.goldens import tiny


def forward(cfg, params, tokens, **kwargs):
    one = jnp.ones(tokens.shape, jnp.int32)
    position = jnp.broadcast_to(jnp.arange(tokens.shape[1], dtype=jnp.int32)[None], tokens.shape)
    apply = jax.jit(Backbone(cfg, **kwargs).apply)
    return apply({"params": params}, jnp.asarray(tokens), one, one - 1, position)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_hidden_states_and_logits_equal_the_golden(family, tmp_path):
    golden = np.load(tiny.FOLDER / f"{family}.npz")
    cfg, params, extras = load_backbone(tiny.save(tmp_path, family))
    hidden = forward(cfg, params, golden["tokens"])
    np.testing.assert_allclose(hidden, golden["hidden"], atol=1e-4, rtol=0)
    assert (extras.lm_head is None) == cfg.tie_embeddings
    logits = lm_logits(cfg, params, hidden[:, -1], extras.lm_head)
    np.testing.assert_allclose(logits, golden["logits"], atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", ["llama31", "qwen2", "qwen3"])
def test_bf16_stays_close_to_the_golden(family, tmp_path):
    golden = np.load(tiny.FOLDER / f"{family}.npz")
    cfg, params, _ = load_backbone(tiny.save(tmp_path, family))
    hidden = forward(cfg, params, golden["tokens"], dtype=jnp.bfloat16).astype(jnp.float32)
    error = np.linalg.norm(hidden - golden["hidden"]) / np.linalg.norm(golden["hidden"])
    assert error < 0.02  # a few roundings of 2^-9 through three layers


@pytest.mark.parametrize("family", tiny.EXPERTS)
def test_the_load_balancing_loss_equals_the_golden(family, tmp_path):
    """With and without padding, which counts nowhere."""
    cfg, params, _ = load_backbone(tiny.save(tmp_path, family))
    tokens, tree = jnp.asarray(tiny.tokens(family)), np.ones((2, tiny.ROWS, tiny.LENGTH), np.int32)
    tree[1, 1, -tiny.PADDING :] = 0
    position = jnp.broadcast_to(jnp.arange(tiny.LENGTH, dtype=jnp.int32)[None], tokens.shape)

    @jax.jit
    def found(tree):
        apply = functools.partial(Backbone(cfg).apply, mutable=[ROUTING])
        return balance(apply({"params": params}, tokens, tree, 0 * tree, position)[1][ROUTING][LOADS])

    golden = np.load(tiny.FOLDER / "balance.npz")[family]
    np.testing.assert_allclose([found(jnp.asarray(one)) for one in tree], golden, atol=0, rtol=1e-6)


@pytest.mark.parametrize("pad_id", [0, 2])
def test_hf_pooling_equals_the_classification_golden(pad_id, tmp_path):
    golden = np.load(tiny.FOLDER / "pooling.npz")[f"pad_{pad_id}"]
    cfg, params, extras = load_backbone(tiny.save(tmp_path, "llama2", labels=tiny.LABELS))
    for row, expected in zip(tiny.POOL_ROWS, golden, strict=True):
        hidden = forward(cfg, params, np.asarray([row], np.int32))
        pooled = hidden[0, hf_pool_index(row, pad_id)]
        np.testing.assert_allclose(rule_scores(pooled, extras.score), expected, atol=1e-4)
