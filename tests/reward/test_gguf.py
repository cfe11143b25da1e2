"""GGUF files: layout, every listed block format, and errors that name the tensor."""

import dataclasses
import struct
from pathlib import Path

import gguf
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.checkpoints.finite import check_weights
from encore_jax.checkpoints.gguf import load_gguf
from encore_jax.checkpoints.gguf_file import SUPPORTED, GGUFFile
from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.rope import inverse_frequencies
from tests.goldens import tiny, tiny_gguf
from tests.reward.gguf_blocks import FORMATS, random_rows


@pytest.mark.parametrize("family", ["llama2", "llama32", "qwen2", "qwen3", "qwen3_moe", "olmoe"])
def test_the_same_model_from_gguf_and_from_a_folder(family, tmp_path):
    cfg, params, extras = load_backbone(tiny_gguf.save(tmp_path / "m.gguf", family))
    _, expected, from_folder = load_backbone(tiny.save(tmp_path / "hf", family))
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)
    assert cfg.tie_embeddings == (extras.lm_head is None)
    if extras.lm_head is not None:
        np.testing.assert_array_equal(extras.lm_head, from_folder.lm_head)
    assert extras.config["general.architecture"] == cfg.family.replace("_", "")


def test_gemma_3_from_gguf(tmp_path):
    """Its norms are stored whole there, which costs a rounding; what the files need not say is as llama.cpp has it."""
    changes = {"query_pre_attn_scalar": 24}  # that of every size but the largest
    cfg, params, _ = load_backbone(tiny_gguf.save(tmp_path / "m.gguf", "gemma3"))
    expected_cfg, expected, _ = load_backbone(tiny.save(tmp_path / "hf", "gemma3", **changes))
    assert cfg == dataclasses.replace(expected_cfg, norm_eps=cfg.norm_eps)  # stored in fp32
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1.2e-7)


GEMMA3 = {
    "general.architecture": "gemma3", "gemma3.block_count": 12, "gemma3.context_length": 64,
    "gemma3.embedding_length": 32, "gemma3.feed_forward_length": 48, "gemma3.vocab_size": 100,
    "gemma3.attention.head_count": 4, "gemma3.attention.head_count_kv": 2, "gemma3.attention.key_length": 8,
    "gemma3.attention.layer_norm_rms_epsilon": 1e-6, "gemma3.attention.sliding_window": 16,
}  # fmt: skip


def test_gemma_3s_windows_and_bases_in_gguf():
    def read(**changes):
        return DecoderConfig.from_gguf(GEMMA3 | {f"gemma3.{k}": v for k, v in changes.items()}, tie_embeddings=True)

    cfg = read()
    assert cfg.windows == ((16,) * 5 + (0,)) * 2 and (cfg.rope_theta, cfg.local_rope_theta) == (1e6, 1e4)
    assert cfg.query_scale == 8 and read(block_count=62).query_scale == 32 / 4
    by_layer = np.array([True] * 11 + [False])
    assert read(**{"attention.sliding_window_pattern": by_layer}).windows == (16,) * 11 + (0,)
    for bad in (0, -1, "6", 2.5, by_layer[:5], None, True):
        with pytest.raises(InputError, match=r"sliding_window_pattern"):
            read(**{"attention.sliding_window_pattern": bad})
    with pytest.raises(InputError, match=r"sliding_window"):
        read(**{"attention.sliding_window": 0})


def test_llama3_rope_comes_as_divisors(tmp_path):
    full = DecoderConfig.from_hf(tiny.config("llama31"))
    plain = full.rope_theta ** (-np.arange(0, 16, 2) / 16)
    factors = plain / inverse_frequencies(full)
    path = tiny_gguf.save(tmp_path / "m.gguf", "llama31", rope_factors=factors)
    cfg, _, _ = load_backbone(path)
    np.testing.assert_allclose(inverse_frequencies(cfg), inverse_frequencies(full), rtol=1e-6)


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"])
def test_quantised_tensors_come_back_within_half_a_step(kind, tmp_path):
    path = tiny_gguf.save(tmp_path / "m.gguf", "llama2", ffn_up=kind)
    _, params, _ = load_backbone(path)
    exact = tiny.weights("llama2")["model.layers.1.mlp.up_proj.weight"]
    got = np.asarray(params["layers"]["up"][1]).T
    blocks, error = exact.reshape(-1, 32), np.abs(got - exact).reshape(-1, 32)
    span = np.ptp(blocks, axis=1)
    biggest = np.abs(blocks).max(axis=1)
    step = {
        "F16": biggest * 2**-10, "BF16": biggest * 2**-7, "Q8_0": biggest / 127,
        "Q4_0": 2 * biggest / 8, "Q4_1": span / 15,  # Q4_0 clips the end without a code, and Q5_0
        "Q5_0": 2 * biggest / 16, "Q5_1": span / 31,
    }[kind]  # fmt: skip
    assert (error.max(axis=1) <= 0.51 * step + 2e-3 * biggest).all() and error.max() > 0


def saved_rows(path, rows: dict[str, np.ndarray]):
    """A file with one tensor of raw blocks for each format, of the format's name."""
    writer = gguf.GGUFWriter(path, "llama")
    for kind, raw in rows.items():
        writer.add_tensor(kind, raw, raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_every_bit_equals_a_scalar_reading_and_the_gguf_packages(kind, tmp_path):
    _, _, scalar = FORMATS[kind]
    raw = random_rows(kind, rows=3, blocks=2)
    got = GGUFFile(saved_rows(tmp_path / "k.gguf", {kind: raw})).read(kind)
    number = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[number]
    assert got.shape == (3, 2 * block) and got.dtype == np.float32
    np.testing.assert_array_equal(got.reshape(-1, block), [scalar(bytes(one)) for one in raw.reshape(-1, size)])
    np.testing.assert_array_equal(got, gguf.quants.dequantize(raw, number))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_scale_that_is_no_number_is_refused_by_its_tensor(kind, tmp_path):
    size, halves, _ = FORMATS[kind]
    for bits in (0x7C00, 0x7E00):  # infinite, NaN
        raw = random_rows(kind, rows=3, blocks=2)
        raw[1, size + halves[0] : size + halves[0] + 2] = np.frombuffer(struct.pack("<H", bits), np.uint8)
        file = GGUFFile(saved_rows(tmp_path / "k.gguf", {kind: raw}))
        with pytest.raises(InputError, match="values are NaN or infinite"):
            check_weights(file.read(kind), kind)


def test_a_format_is_listed_where_it_is_read():
    plain = {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"}
    assert set(SUPPORTED) == plain | set(FORMATS)
    for page in (Path("docs/export.md").read_text(encoding="utf-8"), load_gguf.__doc__):
        assert all(kind in page for kind in SUPPORTED)


def test_metadata_equal_the_gguf_packages_reader(tmp_path):
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("a", "tête-à-tête 🙂")
    for kind, value in {"uint8": 255, "int8": -3, "uint16": 65535, "int16": -9, "uint32": 2**31,
                        "int32": -4, "uint64": 2**40, "int64": -(2**40), "float32": 0.5,
                        "float64": 0.1, "bool": True}.items():  # fmt: skip
        getattr(writer, f"add_{kind}")(f"x.{kind}", value)
    for name, array in {"s": ["x", "y é"], "i": [1, -2], "f": [0.25, 2.0], "b": [True, False]}.items():
        writer.add_array(f"y.{name}", array)
    writer.add_tensor("t", np.ones((2, 3), np.float32))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file()
    writer.close()
    ours, reader = GGUFFile(path), gguf.GGUFReader(path)
    fields = {k: f for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    assert ours.metadata.keys() == fields.keys()
    for key, field in fields.items():
        assert list(np.atleast_1d(ours.metadata[key])) == list(np.atleast_1d(field.contents())), key
    assert ours.shapes() == {"t": (2, 3)}
    np.testing.assert_array_equal(ours.read("t"), np.ones((2, 3)))


def test_truncation_anywhere_is_an_input_error(tmp_path):
    path = tiny_gguf.save(tmp_path / "m.gguf", "llama2")
    data = path.read_bytes()
    first_tensor = next(iter(GGUFFile(path).tensors.values())).start
    cut = tmp_path / "cut.gguf"
    for size in (*range(0, 400, 7), first_tensor - 900):
        cut.write_bytes(data[:size])
        with pytest.raises(InputError, match=r"cut\.gguf"):
            GGUFFile(cut)
    cut.write_bytes(data[:-40])
    with pytest.raises(InputError, match=r"cut\.gguf, tensor 'output.weight': the file is truncated"):
        load_backbone(cut)


def test_a_flipped_header_byte_gives_an_input_error_or_a_file(tmp_path):
    path = tiny_gguf.save(tmp_path / "m.gguf", "llama2")
    data = path.read_bytes()
    start = next(iter(GGUFFile(path).tensors.values())).start
    rng = np.random.RandomState(0)
    refused = 0
    for at in rng.randint(0, start, 300):
        flipped = bytearray(data)
        flipped[at] ^= 1 << rng.randint(8)
        path.write_bytes(flipped)
        try:
            GGUFFile(path)
        except InputError:
            refused += 1
    assert refused > 100


def test_missing_and_unexpected_tensors_are_named(tmp_path, monkeypatch):
    whole = tiny.weights("llama2")
    whole["model.layers.3.input_layernorm.weight"] = whole.pop("model.layers.2.input_layernorm.weight")
    monkeypatch.setattr(tiny, "weights", lambda family: whole)
    path = tiny_gguf.save(tmp_path / "m.gguf", "llama2")
    with pytest.raises(InputError, match=r"missing: blk\.2\.attn_norm.*unexpected: blk\.3\.attn_norm"):
        load_backbone(path)


def test_other_files_and_types_are_refused(tmp_path):
    other = tmp_path / "x.gguf"
    other.write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(InputError, match="not a GGUF file"):
        GGUFFile(other)
    other.write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
    with pytest.raises(InputError, match="version 1"):
        GGUFFile(other)
    with pytest.raises(InputError, match="none.gguf: is missing"):
        GGUFFile(tmp_path / "none.gguf")
    assert "MXFP4" not in SUPPORTED
    path = tiny_gguf.save(tmp_path / "m.gguf", "llama2", ffn_up="MXFP4")
    with pytest.raises(InputError, match=r"blk\.0\.ffn_up\.weight'.*MXFP4 is not read here"):
        load_backbone(path)


def test_dtype_is_that_asked_for(tmp_path):
    _, params, extras = load_backbone(tiny_gguf.save(tmp_path / "m.gguf", "llama2"), jnp.bfloat16)
    assert {x.dtype for x in [*jax.tree.leaves(params), extras.lm_head]} == {jnp.dtype(jnp.bfloat16)}
