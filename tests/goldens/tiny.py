"""Tiny models of every family: configurations, and weights that NumPy draws the same everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
FAMILIES = tuple(sorted(p.stem for p in (FOLDER / "configs").glob("*.json")))
SEEDS = (
    "llama2",
    "llama31",
    "llama32",
    "llama_linear",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3_yarn",
    "gemma2",
    "gemma3",
    "qwen3_moe",
    "olmoe",
    "granite",
    "phi3",
)
"""The order in which families came to be: a family's place seeds its weights."""
CLASSIFIED = ("llama31", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "qwen3_moe", "phi3")
"""One of every architecture, for the goldens of classification scores."""
EXPERTS = ("qwen3_moe", "olmoe")
"""Mixtures of experts, for the goldens of the load-balancing loss."""
LENGTH, ROWS, LABELS = 24, 2, 3
PADDING = 7
"""Tokens at the end of the second row that are padding there."""
POOL_ROWS = [[5, 6, 2, 7, 8, 2], [5, 6, 2, 7, 8], [9, 2, 2], [2, 2], [4]]


def config(family: str) -> dict:
    """The ``config.json`` of one tiny model."""
    return json.loads((FOLDER / "configs" / f"{family}.json").read_text())


def tokens(family: str) -> np.ndarray:
    """Two rows of token ids."""
    vocab = config(family)["vocab_size"]
    return np.random.RandomState(1).randint(3, vocab, (ROWS, LENGTH)).astype(np.int32)


def weights(family: str, labels: int = 0) -> dict[str, np.ndarray]:
    """Every tensor under its Hugging Face name; RandomState's streams are frozen by NumPy."""
    rng = np.random.RandomState(SEEDS.index(family))
    drawn, fields = {}, config(family)
    for name, shape in shapes(fields, labels):
        array = rng.standard_normal(shape)
        if name.endswith("norm.weight"):
            array = 0.2 * array + ("gemma" not in fields["model_type"])  # Gemma's code adds the 1
        elif name.endswith(".bias"):
            array = 0.3 * array
        elif "embed" not in name:
            array = array / np.sqrt(shape[-1])
        drawn[name] = array.astype(np.float32)
    return drawn


def shapes(c: dict, labels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes as Hugging Face stores them, written out apart from ``declare``."""
    d, f, heads = c["hidden_size"], c["intermediate_size"], c["num_attention_heads"]
    kv, h = c.get("num_key_value_heads", heads), c.get("head_dim", d // heads)
    yield "model.embed_tokens.weight", (c["vocab_size"], d)
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", (d,)
        phi = c["model_type"] == "phi3"
        if phi:
            yield layer + "self_attn.qkv_proj.weight", ((heads + 2 * kv) * h, d)
        for name, count in () if phi else (("q", heads), ("k", kv), ("v", kv)):
            yield f"{layer}self_attn.{name}_proj.weight", (count * h, d)
            if c["model_type"] == "qwen2":
                yield f"{layer}self_attn.{name}_proj.bias", (count * h,)
            if c["model_type"] in ("qwen3", "gemma3_text", "qwen3_moe") and name != "v":
                yield f"{layer}self_attn.{name}_norm.weight", (h,)
            if c["model_type"] == "olmoe" and name != "v":
                yield f"{layer}self_attn.{name}_norm.weight", (count * h,)
        yield layer + "self_attn.o_proj.weight", (d, heads * h)
        yield layer + "post_attention_layernorm.weight", (d,)
        if "gemma" in c["model_type"]:
            yield layer + "pre_feedforward_layernorm.weight", (d,)
            yield layer + "post_feedforward_layernorm.weight", (d,)
        mlps = [layer + "mlp."]
        if "num_experts" in c:
            yield layer + "mlp.gate.weight", (c["num_experts"], d)
            f = c.get("moe_intermediate_size", f)
            mlps = [f"{layer}mlp.experts.{e}." for e in range(c["num_experts"])]
        for mlp in mlps:
            if phi:
                yield mlp + "gate_up_proj.weight", (2 * f, d)
            else:
                yield mlp + "gate_proj.weight", (f, d)
                yield mlp + "up_proj.weight", (f, d)
            yield mlp + "down_proj.weight", (d, f)
    yield "model.norm.weight", (d,)
    if labels:
        yield "score.weight", (labels, d)
    elif not c["tie_word_embeddings"]:
        yield "lm_head.weight", (c["vocab_size"], d)


def save(folder: Path, family: str, labels: int = 0, shards: int = 1, **changes) -> Path:
    """Writes a Hugging Face folder; ``changes`` override fields of its ``config.json``."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**config(family), **changes}))
    drawn = weights(family, labels)
    if shards == 1:
        save_file(drawn, folder / "model.safetensors")
        return folder
    names, placed = sorted(drawn), {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file({n: drawn[n] for n in names[i::shards]}, folder / file)
        placed |= dict.fromkeys(names[i::shards], file)
    index = {"metadata": {}, "weight_map": placed}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
