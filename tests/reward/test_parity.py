"""Live parity with transformers (needs torch)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.model.decoder import Backbone
from encore_jax.model.heads import rule_scores
from encore_jax.model.pooling import hf_pool_index
from encore_jax.model.rope import inverse_frequencies
from tests.goldens import tiny

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch")


def forward(cfg, params, tokens, tree=None):
    tokens = jnp.asarray(tokens, jnp.int32)
    tree = jnp.ones_like(tokens) if tree is None else jnp.asarray(tree, jnp.int32)
    position = jnp.cumsum(tree, axis=1, dtype=jnp.int32) - 1
    apply = jax.jit(Backbone(cfg).apply)
    return apply({"params": params}, tokens, tree, jnp.zeros_like(tokens), position)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_hidden_states_equal_transformers(family, tmp_path):
    from tests.goldens import torch_models

    cfg, params, _ = load_backbone(tiny.save(tmp_path, family))
    rng = np.random.RandomState(7)
    ids = rng.randint(3, cfg.vocab_size, (2, 150))  # more than one block of queries
    model = torch_models.model(family).model
    with torch.inference_mode():
        expected = model(torch.from_numpy(ids)).last_hidden_state.numpy()
    np.testing.assert_allclose(forward(cfg, params, ids), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_rotary_frequencies_equal_transformers(family, tmp_path):
    from tests.goldens import torch_models

    cfg, _, _ = load_backbone(tiny.save(tmp_path, family))
    rotary = torch_models.model(family).model.rotary_emb
    prefix = "full_attention_" if cfg.local_rope_theta else ""
    frequencies = getattr(rotary, f"{prefix}inv_freq").numpy()
    np.testing.assert_allclose(inverse_frequencies(cfg), frequencies, rtol=2e-6)
    assert getattr(rotary, f"{prefix}attention_scaling") == pytest.approx(cfg.rope.attention_factor)
    if cfg.local_rope_theta:
        local = rotary.sliding_attention_inv_freq.numpy()
        np.testing.assert_allclose(inverse_frequencies(cfg, local=True), local, rtol=2e-6)


def test_a_folder_saved_by_transformers_loads(tmp_path):
    from tests.goldens import torch_models

    for family in ("llama31", "qwen2"):
        model = torch_models.model(family, tiny.LABELS)
        model.save_pretrained(tmp_path / family)
        _, params, extras = load_backbone(tmp_path / family)
        expected = tiny.weights(family, tiny.LABELS)
        np.testing.assert_array_equal(params["embed"], expected["model.embed_tokens.weight"])
        np.testing.assert_array_equal(extras.score, expected["score.weight"].T)
        model.model.save_pretrained(tmp_path / f"{family}-base", max_shard_size="20KB")
        assert len(list((tmp_path / f"{family}-base").glob("*.safetensors"))) > 1
        _, base, _ = load_backbone(tmp_path / f"{family}-base")
        np.testing.assert_array_equal(base["embed"], params["embed"])


@pytest.mark.parametrize("pad_id", [None, 0, 2])
@pytest.mark.parametrize("side", ["right", "left"])
def test_hf_pooling_equals_transformers_whatever_the_padding(pad_id, side, tmp_path):
    from tests.goldens import torch_models

    cfg, params, extras = load_backbone(tiny.save(tmp_path, "llama2", labels=tiny.LABELS))
    model = torch_models.model("llama2", tiny.LABELS, pad_token_id=pad_id)
    for row in tiny.POOL_ROWS:
        padding = [] if pad_id is None else [pad_id] * 3
        order = (row, padding) if side == "right" else (padding, row)
        mask = [[1] * len(row), [0] * len(padding)]
        mask = mask if side == "right" else mask[::-1]
        with torch.inference_mode():
            expected = model(
                input_ids=torch.tensor([sum(order, [])]),
                attention_mask=torch.tensor([sum(mask, [])]),
            ).logits[0]
        if side == "left" and set(row) == {pad_id}:
            continue  # nothing but padding: transformers pools the first pad of the padded row
        hidden = forward(cfg, params, [row])[0, hf_pool_index(row, pad_id)]
        np.testing.assert_allclose(rule_scores(hidden, extras.score), expected, atol=1e-4)
