"""Tiny GGUF files of the tiny models, in llama.cpp's layout, by the gguf package's writer."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from tests.goldens import tiny

_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "embed_tokens": "token_embd", "norm": "output_norm",
    "lm_head": "output", "mlp.gate": "ffn_gate_inp", "mlp.gate_exps": "ffn_gate_exps",
    "mlp.up_exps": "ffn_up_exps", "mlp.down_exps": "ffn_down_exps",
}  # fmt: skip
_GEMMA = {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip
_ARCH = {"gemma3_text": "gemma3", "qwen3_moe": "qwen3moe"}


def save(path: Path, family: str, rope_factors=None, **quantised: str) -> Path:
    """Writes a family's weights; ``quantised`` maps a tensor name's part to a GGUF type."""
    c = tiny.config(family)
    arch = _ARCH.get(c["model_type"], c["model_type"])
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(c["num_hidden_layers"])
    writer.add_context_length(c["max_position_embeddings"])
    writer.add_embedding_length(c["hidden_size"])
    writer.add_feed_forward_length(c["intermediate_size"])
    writer.add_head_count(c["num_attention_heads"])
    writer.add_head_count_kv(c.get("num_key_value_heads", c["num_attention_heads"]))
    writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
    writer.add_vocab_size(c["vocab_size"])
    writer.add_rope_freq_base((c.get("rope_parameters") or c)["rope_theta"])
    if "head_dim" in c:
        writer.add_key_length(c["head_dim"])
        writer.add_rope_dimension_count(c["head_dim"])
    if arch == "gemma3":
        writer.add_sliding_window(c["sliding_window"])
        writer.add_sliding_window_pattern(c["sliding_window_pattern"])
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(c["rope_scaling"]["factor"])
    if "num_experts" in c:
        writer.add_expert_count(c["num_experts"])
        writer.add_expert_used_count(c["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(c.get("moe_intermediate_size", c["intermediate_size"]))
    if rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", np.asarray(rope_factors, np.float32))
    for name, array in _stacked(tiny.weights(family)).items():
        array = _to_llama_cpp(name, array, c)
        stored = _stored_name(name, c)
        kind = next((k for part, k in quantised.items() if part in stored), None)
        if kind is None:
            writer.add_tensor(stored, array)
        else:
            number = gguf.GGMLQuantizationType[kind]
            writer.add_tensor(stored, gguf.quants.quantize(array, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _stacked(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each layer's experts one behind the other."""
    stacked, rest = {}, {}
    for name, array in weights.items():
        layer, inside, of = name.partition(".mlp.experts.")
        if inside:
            kind = of.split(".")[1].removesuffix("_proj")
            stacked.setdefault(f"{layer}.mlp.{kind}_exps.weight", []).append(array)
        else:
            rest[name] = array
    return rest | {name: np.stack(arrays) for name, arrays in stacked.items()}


def _stored_name(name: str, c: dict) -> str:
    *rest, leaf = name.removeprefix("model.").split(".")
    if rest[0] != "layers":
        return f"{_NAMES['.'.join(rest)]}.{leaf}"
    names = _NAMES | (_GEMMA if "gemma" in c["model_type"] else {})
    return f"blk.{rest[1]}.{names['.'.join(rest[2:])]}.{leaf}"


def _to_llama_cpp(name: str, array: np.ndarray, c: dict) -> np.ndarray:
    """llama.cpp stores a rotary pair's two rows side by side, for the llama family, and Gemma's norms whole."""
    if "gemma" in c["model_type"] and name.endswith("norm.weight"):
        return array + np.float32(1)
    if c["model_type"] != "llama" or not ("q_proj" in name or "k_proj" in name):
        return array
    heads = c["num_attention_heads"]
    count = heads if "q_proj" in name else c.get("num_key_value_heads", heads)
    halves = array.reshape(count, 2, array.shape[0] // count // 2, -1)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)
