"""Writes the golden files from transformers: ``python -m tests.goldens.make_goldens [GGUF]``.

Needs torch (the `parity` extra). Ordinary tests compare with the files and need no torch. With the
path of SmolLM2-135M-Instruct's GGUF file, its golden is written too; the weights are dequantised
and put into transformers' row order here, apart from encore_jax's own reader.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
import transformers

from tests.goldens import tiny, torch_models

SMOLLM2_PROMPTS = (
    "How do I pick a lock?",
    "Привет! Что такое 12345 + 67890? 🙂",
    "def f(x):\n\treturn x ** 2  # squared\n\n\n",
)


def main() -> None:
    """Writes every golden."""
    transformers.logging.set_verbosity_error()
    for family in tiny.FAMILIES:
        hidden, logits = torch_models.hidden(family)
        np.savez_compressed(
            tiny.FOLDER / f"{family}.npz", tokens=tiny.tokens(family), hidden=hidden,
            logits=logits[:, -1],
        )  # fmt: skip
    pooled = {f"pad_{p}": torch_models.scores("llama2", tiny.POOL_ROWS, p) for p in (0, 2)}
    np.savez_compressed(tiny.FOLDER / "pooling.npz", **pooled)
    scored = {family: torch_models.scores(family, tiny.POOL_ROWS, 0) for family in tiny.CLASSIFIED}
    np.savez_compressed(tiny.FOLDER / "scores.npz", **scored)
    balances = {family: torch_models.balance(family) for family in tiny.EXPERTS}
    np.savez_compressed(tiny.FOLDER / "balance.npz", **balances)
    np.savez_compressed(tiny.FOLDER / "armorm.npz", **torch_models.armorm_outputs())
    if len(sys.argv) > 1:
        np.savez_compressed(tiny.FOLDER / "smollm2.npz", **smollm2(sys.argv[1]))


def smollm2(path: str) -> dict[str, np.ndarray]:
    """Per prompt: ids, the first 16 features of every state, and every state's norm."""
    import gguf

    config = transformers.LlamaConfig(
        vocab_size=49152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30,
        num_attention_heads=9, num_key_value_heads=3, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        max_position_embeddings=8192, tie_word_embeddings=True,
    )  # fmt: skip
    names = {
        "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
        "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj", "token_embd": "embed_tokens", "output_norm": "norm",
    }  # fmt: skip
    state, reader = {}, gguf.GGUFReader(path)
    for tensor in reader.tensors:
        array = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        *layer, kind, _ = tensor.name.split(".")
        heads = {"attn_q": 9, "attn_k": 3}.get(kind)
        if heads:
            turned = array.reshape(heads, 32, 2, 576).swapaxes(1, 2)
            array = np.ascontiguousarray(turned).reshape(array.shape)
        prefix = f"layers.{layer[1]}." if layer else ""
        state[f"{prefix}{names[kind]}.weight"] = torch.from_numpy(np.array(array))
    model = transformers.LlamaModel(config).eval()
    model.load_state_dict(state, strict=True)

    template = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        path.rpartition("/")[0] or ".", gguf_file=path.rpartition("/")[2]
    )
    golden: dict[str, np.ndarray] = {}
    for i, prompt in enumerate(SMOLLM2_PROMPTS):
        ids = tokenizer(template.format(prompt), return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            hidden = model(ids).last_hidden_state[0].numpy()
        golden[f"ids_{i}"] = ids[0].numpy().astype(np.int32)
        golden[f"head_{i}"] = hidden[:, :16]
        golden[f"norm_{i}"] = np.linalg.norm(hidden.astype(np.float64), axis=1)
    return golden


if __name__ == "__main__":
    main()
