"""A tiny random Llama in Hugging Face format, with a byte-level tokenizer and a chat template."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.model import params as declared
from encore_jax.model.config import DecoderConfig

SPECIAL = ("<|im_start|>", "<|im_end|>")
VOCAB = 256 + len(SPECIAL)
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
}


SMOLLM2 = CONFIG | {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "rope_theta": 100000.0,
    "max_position_embeddings": 8192,
}
"""SmolLM2-135M's layers, two of its thirty."""


def decoder_config(config: dict = CONFIG) -> DecoderConfig:
    """The same configuration as this project describes it."""
    return DecoderConfig.from_hf(config)


def draw(seed: int = 0, config: dict = CONFIG):
    """Random parameters, large enough for features to differ clearly."""
    rng = np.random.default_rng(seed)
    size = 0.3 * (CONFIG["hidden_size"] / config["hidden_size"]) ** 0.5

    def one(param):
        noise = size * rng.standard_normal(param.shape).astype(np.float32)
        return jnp.asarray(1 + noise if "norm" in param.axes else noise)

    return jax.tree.map(one, declared.declare(decoder_config(config)), is_leaf=_is_param)


def answering(drawn, first: int):
    """The same parameters, but a text goes on with a token from `first` on: a judge has something to read."""
    embed = drawn["embed"].at[first:].multiply(6.0)
    embed = embed.at[:, 0].set(6.0).at[first:, 0].set(40.0)  # what all tokens bring along, and these look for
    return drawn | {"embed": embed, "final_norm": jnp.abs(drawn["final_norm"])}


def _is_param(leaf) -> bool:
    return isinstance(leaf, declared.Param)


def tokenizer(answers: tuple[str, ...] = ()):
    """One token per byte, two special tokens, ChatML; and one for each of a judge's answers."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    backend.add_tokens([AddedToken(answer, single_word=True) for answer in answers])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=TEMPLATE, eos_token=SPECIAL[1], pad_token=SPECIAL[1]
    )


def write(folder: Path, seed: int = 0, config: dict = CONFIG, answers: tuple[str, ...] = ()) -> Path:
    """Writes config.json, model.safetensors and the tokenizer's files; with answers, the model gives one of them."""
    config = config | {"vocab_size": config["vocab_size"] + len(answers)}
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    cfg, drawn = decoder_config(config), draw(seed, config)
    drawn = answering(drawn, VOCAB) if answers else drawn
    tensors: dict[str, np.ndarray] = {}
    leaves = jax.tree.leaves(declared.declare(cfg), is_leaf=_is_param)
    for param, array in zip(leaves, jax.tree.leaves(drawn), strict=True):
        layers = np.asarray(array) if param.stacked else np.asarray(array)[None]
        for i, layer in enumerate(layers):
            tensors[param.hf.format(i)] = np.ascontiguousarray(param.to_file(layer))
    save_file(tensors, folder / "model.safetensors")
    tokenizer(answers).save_pretrained(folder)
    return folder
