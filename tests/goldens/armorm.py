"""A tiny ArmoRM: configuration, tensors under their published names, and conversations as token ids."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.experiments import tiny_model
from tests.goldens import tiny

RULES, UNITS, HIDDEN, TEMPERATURE = 19, 12, 3, 10
CONFIG = {
    **tiny.config("llama31"),
    "architectures": ["LlamaForRewardModelWithGating"],
    "vocab_size": tiny_model.VOCAB,
    "num_objectives": RULES,
    "gating_hidden_dim": UNITS,
    "gating_n_hidden": HIDDEN,
    "gating_temperature": TEMPERATURE,
    "id2label": {"0": "LABEL_0"},
    "pad_token_id": 0,
    "torch_dtype": "float32",
}
PROMPTS = ["Is it safe?", "2 + 2 = ?"]
RESPONSES = [["Yes, if you are careful.", "No."], ["4"]]


def weights() -> dict[str, np.ndarray]:
    """Every tensor of the checkpoint."""
    rng = np.random.RandomState(11)
    shapes = {name: shape for name, shape in tiny.shapes(CONFIG, 1) if name != "score.weight"}
    d = CONFIG["hidden_size"]
    shapes |= {"regression_layer.weight": (RULES, d), "reward_transform_matrix": (RULES, RULES)}
    for i, (inside, outside) in enumerate(zip([d, *[UNITS] * HIDDEN], [*[UNITS] * HIDDEN, RULES], strict=True)):
        shapes |= {f"gating.layers.{i}.weight": (outside, inside), f"gating.layers.{i}.bias": (outside,)}
    drawn = {}
    for name, shape in shapes.items():
        noise = rng.standard_normal(shape)
        if name.endswith("norm.weight"):
            noise = 1 + 0.2 * noise
        elif "gating" in name:
            noise = 5 * noise / np.sqrt(shape[-1])  # so that the gate is far from uniform
        elif "embed" not in name:
            noise = noise / np.sqrt(shape[-1])
        drawn[name] = noise.astype(np.float32)
    drawn["reward_transform_matrix"] += np.eye(RULES, dtype=np.float32)
    drawn["gating.logit_scale"] = np.array([1.7], np.float32)
    return drawn


def save(folder: Path, drawn: dict[str, np.ndarray] | None = None) -> Path:
    """Writes the checkpoint with a tokenizer."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    save_file(drawn or weights(), folder / "model.safetensors")
    tiny_model.tokenizer().save_pretrained(folder)
    return folder


def conversations() -> list[list[int]]:
    """Token ids of every prompt with every response, by the chat template."""
    tokenizer = tiny_model.tokenizer()
    chats = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        for prompt, group in zip(PROMPTS, RESPONSES, strict=True)
        for response in group
    ]
    return [list(tokenizer.apply_chat_template(chat, tokenize=True, return_dict=False)) for chat in chats]


def pattern() -> list[int]:
    """The tokens with which an answer begins."""
    return list(tiny_model.tokenizer()("<|im_start|>assistant\n", add_special_tokens=False)["input_ids"])
