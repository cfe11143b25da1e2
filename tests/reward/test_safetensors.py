"""Loading Hugging Face folders: exact arrays, and errors that name the tensor or file."""

import json
import tracemalloc

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.checkpoints.safetensors import SafetensorsFile
from encore_jax.errors import InputError
from encore_jax.model import params as declared
from tests.goldens import tiny


def test_every_array_lands_where_it_belongs(tmp_path):
    cfg, params, extras = load_backbone(tiny.save(tmp_path, "qwen2"))
    stored = tiny.weights("qwen2")
    q = stored["model.layers.2.self_attn.q_proj.weight"]
    np.testing.assert_array_equal(params["layers"]["q"][2].reshape(cfg.width, -1), q.T)
    o = stored["model.layers.1.self_attn.o_proj.weight"]
    np.testing.assert_array_equal(params["layers"]["o"][1].reshape(-1, cfg.width), o.T)
    bias = stored["model.layers.0.self_attn.k_proj.bias"]
    np.testing.assert_array_equal(params["layers"]["k_bias"][0].reshape(-1), bias)
    np.testing.assert_array_equal(params["embed"], stored["model.embed_tokens.weight"])
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, declared.abstract(cfg))
    assert extras.score is None and extras.lm_head is None and extras.config["model_type"] == "qwen2"


def test_shards_and_dtypes_give_the_same_arrays(tmp_path):
    _, whole, _ = load_backbone(tiny.save(tmp_path / "whole", "llama31"))
    _, parts, extras = load_backbone(tiny.save(tmp_path / "parts", "llama31", shards=3), jnp.bfloat16)
    assert extras.lm_head.dtype == jnp.bfloat16
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_array_equal(a.astype(jnp.bfloat16), b)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_stored_types(dtype, tmp_path):
    folder = tiny.save(tmp_path, "llama32")
    stored = {name: array.astype(dtype) for name, array in tiny.weights("llama32").items()}
    save_file(stored, folder / "model.safetensors")
    _, params, _ = load_backbone(folder)
    expected = stored["model.embed_tokens.weight"].astype(np.float32)
    assert params["embed"].dtype == jnp.float32
    np.testing.assert_array_equal(params["embed"], expected)


def test_a_classification_head_comes_back_as_rule_kernel(tmp_path):
    _, _, extras = load_backbone(tiny.save(tmp_path, "llama2", labels=3))
    np.testing.assert_array_equal(extras.score, tiny.weights("llama2", 3)["score.weight"].T)
    assert extras.score.dtype == jnp.float32 and extras.lm_head is None


def test_sharded_loading_gives_each_device_its_part(tmp_path):
    folder = tiny.save(tmp_path, "llama31")
    cfg, expected, _ = load_backbone(folder)
    mesh = jax.make_mesh((4, 2), ("fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    rules = (("embed", "fsdp"), ("heads", "tensor"), ("kv_heads", "tensor"), ("mlp", "tensor"))
    shardings = nn.logical_to_mesh_sharding(declared.logical_axes(cfg), mesh, rules)
    _, params, _ = load_backbone(folder, shardings=shardings)
    for a, b, s in zip(*map(jax.tree.leaves, (params, expected, shardings)), strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.sharding == s
    assert params["layers"]["gate"].addressable_shards[0].data.shape == (3, 16, 48)


def test_loading_holds_no_second_copy(tmp_path):
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "vocab_size": 4096}
    folder = tiny.save(tmp_path, "llama32", **sizes)
    rng = np.random.RandomState(0)
    cfg = {**tiny.config("llama32"), **sizes}
    stored = {n: rng.standard_normal(s).astype(np.float32) for n, s in tiny.shapes(cfg, 0)}
    save_file(stored, folder / "model.safetensors")
    total, largest = sum(x.nbytes for x in stored.values()), 4 * 1024 * 256 * 4
    load_backbone(folder)  # imports and compilations happen here
    tracemalloc.start()
    load_backbone(folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < total + largest + 2**20


def break_weights(folder, change):
    stored = tiny.weights("llama31")
    change(stored)
    save_file(stored, folder / "model.safetensors")


def test_tensors_that_do_not_fit_are_all_named_at_once(tmp_path):
    folder = tiny.save(tmp_path, "llama31")

    def change(stored):
        del stored["model.layers.1.mlp.up_proj.weight"]
        stored["model.layers.0.self_attn.q_proj.bias"] = np.zeros(64, np.float32)
        stored["model.norm.weight"] = np.zeros(63, np.float32)

    break_weights(folder, change)
    with pytest.raises(InputError) as caught:
        load_backbone(folder)
    text = str(caught.value)
    assert "1 missing: model.layers.1.mlp.up_proj.weight (96, 64)" in text
    assert "1 unexpected: model.layers.0.self_attn.q_proj.bias" in text
    assert "model.norm.weight is (63,), expected (64,)" in text


def test_old_rotary_buffers_are_ignored_and_an_untied_copy_of_a_tied_head_is_refused(tmp_path):
    folder = tiny.save(tmp_path, "llama32")
    stored = tiny.weights("llama32")
    stored["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(12, np.float32)
    stored["lm_head.weight"] = stored["model.embed_tokens.weight"].copy()
    save_file(stored, folder / "model.safetensors")
    assert load_backbone(folder)[2].lm_head is None
    stored["lm_head.weight"][3, 3] += 1
    save_file(stored, folder / "model.safetensors")
    with pytest.raises(InputError, match="tie_word_embeddings"):
        load_backbone(folder)


def test_a_truncated_file_names_the_tensor(tmp_path):
    path = tiny.save(tmp_path, "llama2") / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    with pytest.raises(InputError, match=r"model\.safetensors, tensor '.*': the file is truncated"):
        load_backbone(tmp_path)
    path.write_bytes(data[:100])
    with pytest.raises(InputError, match="header is missing or truncated"):
        load_backbone(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="header is missing or truncated"):
        load_backbone(tmp_path)


def test_other_types_are_refused_when_read(tmp_path):
    save_file({"a": np.arange(3, dtype=np.int64)}, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="tensor 'a': type I64"):
        SafetensorsFile(tmp_path / "a.safetensors").read("a")


def test_missing_files(tmp_path):
    with pytest.raises(InputError, match="no such folder or file"):
        load_backbone(tmp_path / "nowhere")
    (tmp_path / "x.onnx").write_bytes(b"")
    with pytest.raises(InputError, match="not a folder and not a .gguf"):
        load_backbone(tmp_path / "x.onnx")
    with pytest.raises(InputError, match=r"config\.json: is missing"):
        load_backbone(tmp_path)
    folder = tiny.save(tmp_path / "a", "llama2", shards=2)
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(InputError, match="1 of 2 shards missing: model-00002-of-00002"):
        load_backbone(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        load_backbone(folder)


def test_a_shard_without_its_tensor_is_named(tmp_path):
    folder = tiny.save(tmp_path, "llama2", shards=2)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["extra.weight"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(InputError, match="the index places 'extra.weight' here"):
        load_backbone(folder)


def test_pickles_are_refused(tmp_path):
    folder = tiny.save(tmp_path, "llama2")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin.*safe_serialization"):
        load_backbone(folder)
