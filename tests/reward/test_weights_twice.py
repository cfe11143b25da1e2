"""Weights that a folder holds twice are refused, and both places are named: which one counts is not guessed."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from encore_jax.checkpoints.adapters import AdaptedFolder
from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.errors import InputError
from tests.goldens import tiny
from tests.reward import tiny_reward
from tests.reward.test_import import adapter

ATTENTION, MLP = "model.layers.1.self_attn.", "model.layers.0.mlp."
SECOND = "model-00002-of-00002.safetensors"


def also(file, **tensors):
    """Stores more tensors in a file."""
    save_file(load_file(file) | {name: np.ascontiguousarray(array) for name, array in tensors.items()}, file)


@pytest.mark.parametrize(
    ("fused", "part", "rows"),
    [
        (f"{ATTENTION}qkv_proj.weight", f"{ATTENTION}q_proj.weight", slice(0, 64)),
        (f"{ATTENTION}qkv_proj.weight", f"{ATTENTION}v_proj.weight", slice(96, 128)),
        (f"{MLP}gate_up_proj.weight", f"{MLP}up_proj.weight", slice(-96, None)),
    ],
)
@pytest.mark.parametrize("equal", [True, False])
def test_fused_and_separate_matrices_in_one_checkpoint(fused, part, rows, equal, tmp_path):
    file = tiny.save(tmp_path, "phi3") / "model.safetensors"
    whole = load_file(file)[fused]
    also(file, **{part: whole[rows] * (1 if equal else 2)})
    with pytest.raises(InputError, match="twice") as refused:
        load_backbone(tmp_path)
    assert fused in str(refused.value) and part in str(refused.value)


def fused_experts(tensors):
    return {"model.layers.0.mlp.experts.gate_up_proj": np.zeros((4, 2 * 48, 64), np.float32)}


def without_prefix(tensors):
    name = "model.layers.0.self_attn.q_proj.weight"
    return {name.removeprefix("model."): tensors[name]}


def fused_queries(tensors):
    queries = [tensors[f"model.layers.0.self_attn.{name}_proj.weight"] for name in "qkv"]
    return {"model.layers.0.self_attn.qkv_proj.weight": np.concatenate(queries)}


@pytest.mark.parametrize(
    ("family", "more"), [("qwen3_moe", fused_experts), ("llama31", without_prefix), ("llama31", fused_queries)]
)
def test_another_spelling_beside_the_family_own(family, more, tmp_path):
    file = tiny.save(tmp_path, family) / "model.safetensors"
    found = more(load_file(file))
    also(file, **found)
    with pytest.raises(InputError, match=f"1 unexpected: {next(iter(found))}"):
        load_backbone(tmp_path)


def test_an_untied_head_that_differs_from_tied_embeddings(tmp_path):
    file = tiny.save(tmp_path, "llama32") / "model.safetensors"
    embed = load_file(file)["model.embed_tokens.weight"]
    also(file, **{"lm_head.weight": embed})
    load_backbone(tmp_path)  # said twice, and the same
    also(file, **{"lm_head.weight": embed * 1.001})
    with pytest.raises(InputError, match=r"'lm_head.weight' differs from 'model.embed_tokens.weight'"):
        load_backbone(tmp_path)


def test_a_tensor_in_two_shards(tmp_path):
    folder = tiny.save(tmp_path, "llama31", shards=2)
    name, array = next(iter(load_file(folder / "model-00001-of-00002.safetensors").items()))
    also(folder / SECOND, **{name: array + 1})
    with pytest.raises(InputError, match=r"00002-of-00002.safetensors: the index places .*00001-of-00002") as refused:
        load_backbone(folder)
    assert name in str(refused.value)


def test_one_file_and_shards(tmp_path):
    folder = tiny.save(tmp_path, "llama31", shards=2)
    tiny.save(tmp_path, "llama31")
    with pytest.raises(InputError, match=r"holds weights twice: model\.safetensors, and .*00001.*index\.json"):
        load_backbone(folder)
    for shard in folder.glob("model-*"):
        shard.unlink()
    load_backbone(folder)  # an index alone is no second model


def test_one_file_that_its_own_index_names(tmp_path):
    folder = tiny.save(tmp_path, "llama31")
    names = dict.fromkeys(load_file(folder / "model.safetensors"), "model.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    load_backbone(folder)


def test_updates_of_one_matrix_under_two_names(tmp_path):
    def twice(tensors):
        for part in "AB":
            name = f"base_model.model.model.layers.0.self_attn.q_proj.lora_{part}.weight"
            tensors[name.replace("model.model.layers", "model.layers")] = 2 * tensors[name]

    base = tiny_reward.write_backbone(tmp_path / "base", "llama32")
    folder = adapter(tmp_path / "adapter", base, twice)
    bare = {name.removeprefix("model."): array for name, array in load_file(base / "model.safetensors").items()}
    save_file(bare, base / "model.safetensors")
    with pytest.raises(
        InputError, match="for one tensor under two names: .*q_proj.lora_A.weight and those of .*q_proj"
    ):
        AdaptedFolder(folder, base)
