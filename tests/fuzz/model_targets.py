"""Models: weights, tokenizers, adapters, saved reward models, published checkpoints."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np

from tests.experiments import tiny_model, tiny_reward_model
from tests.fuzz.mutate_bytes import mutate_gguf, mutate_safetensors
from tests.fuzz.mutate_json import mutate_json, mutate_text
from tests.fuzz.target import Target, each
from tests.goldens import armorm, tiny_gguf
from tests.reward import tiny_reward
from tests.reward.gguf_blocks import FORMATS, random_rows

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "No."}]
TOKENIZER = {"tokenizer.json": mutate_json, "tokenizer_config.json": mutate_json, "chat_template.jinja": mutate_text}


def _backbone(folder: Path) -> None:
    tiny_reward.write_backbone(folder, "llama32")


def _load_config(folder: Path):
    from encore_jax.checkpoints.hf_folder import reads_pictures

    return each(lambda: _load_backbone(folder), lambda: reads_pictures(folder))


def _load_backbone(folder: Path):
    import jax.numpy as jnp

    from encore_jax.checkpoints.huggingface import load_backbone

    return load_backbone(folder, jnp.dtype("float32"))


def _family(name: str, folder: Path) -> None:
    tiny_reward.write_backbone(folder, name)


def _load_family(folder: Path):
    """The weights, their rotary numbers, and the configuration as it is written again."""
    from encore_jax.model.config_json import hf_config
    from encore_jax.model.rope import inverse_frequencies

    cfg, *_ = _load_backbone(folder)
    return each(lambda: hf_config(cfg), lambda: inverse_frequencies(cfg))


def _sharded(folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    _backbone(folder)
    tensors, names = load_file(folder / "model.safetensors"), {}
    (folder / "model.safetensors").unlink()
    for i in range(2):
        part = {name: tensors[name] for name in sorted(tensors)[i::2]}
        file = f"model-0000{i + 1}-of-00002.safetensors"
        save_file(part, folder / file)
        names |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": names}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _gguf(folder: Path) -> None:
    """Weights, and in the same file a tokenizer of bytes."""
    import gguf
    from tokenizers.pre_tokenizers import ByteLevel

    path = tiny_gguf.save(folder / "weights.gguf", "llama32")
    reader, writer = gguf.GGUFReader(path), gguf.GGUFWriter(folder / "model.gguf", "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            writer.add_key_value(field.name, field.contents(), field.types[0])
    letters = sorted(ByteLevel.alphabet())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*letters, "ab", *tiny_model.SPECIAL])
    writer.add_token_types([1] * 257 + [3, 3])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(258)
    writer.add_chat_template(tiny_model.TEMPLATE)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    del reader
    path.unlink()


def _blocks(folder: Path) -> None:
    """A tensor of every format of quantised blocks."""
    import gguf

    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    for kind in FORMATS:
        writer.add_tensor(kind, random_rows(kind, rows=2, blocks=1), raw_dtype=gguf.GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _load_blocks(folder: Path):
    from encore_jax.checkpoints.finite import check_weights
    from encore_jax.checkpoints.gguf_file import GGUFFile

    file = GGUFFile(folder / "model.gguf")
    return each(*(lambda name=name: check_weights(file.read(name), name) for name in file.tensors))


def _load_gguf(folder: Path):
    return each(lambda: _load_backbone(folder / "model.gguf"), lambda: _tokenize(folder / "model.gguf"))


def _tokenizer(folder: Path) -> None:
    tiny_model.tokenizer().save_pretrained(folder)


def _tokenize(path: Path):
    from encore_jax.text.rendered import read_template
    from encore_jax.text.rendering import render
    from encore_jax.text.tokenizer import load_tokenizer, template_digest

    tokenizer = load_tokenizer(path)
    tokens = render(tokenizer, CHAT[:1], "No.")
    return tokens, template_digest(tokenizer), read_template(tokenizer)


def _reward_model(folder: Path, name: str = "."):
    from encore_jax.reward.reward_model import RewardModel

    return RewardModel.from_pretrained(folder / name, allow_mismatch=True)


def _tokens_of(model):
    return model.scorer.tokenize([((_message("Hi"),), "No.")])


def _message(text: str):
    from encore_jax.data.comparison import Message

    return Message("user", text)


def _load_reward_model(folder: Path):
    return _tokens_of(_reward_model(folder))


def _saved(folder: Path) -> None:
    tiny_reward_model.write(folder)


def _exported(folder: Path) -> None:
    from encore_jax.reward.export import export

    export(tiny_reward.reward_model(folder / "backbone"), folder / "out", source="made")


def _load_export(folder: Path):
    """Whether it is the export that a command would make again; then the model."""
    from encore_jax.reward.export import is_exported_from

    return is_exported_from(folder / "out", "made"), _tokens_of(_reward_model(folder, "out"))


def _load_saved(folder: Path):
    return _tokens_of(_reward_model(folder, "model"))


def _classifier(folder: Path) -> None:
    from tests.reward.test_import import classifier

    classifier(folder)


def _adapter(folder: Path) -> None:
    from tests.reward.test_import import adapter

    tiny_reward.write_backbone(folder / "base", "llama32", architectures=["LlamaForCausalLM"])
    adapter(folder / "adapter", folder / "base")


def _load_adapter(folder: Path):
    return _tokens_of(_reward_model(folder, "adapter"))


def _weights(folder: Path) -> None:
    (folder / "weights.json").write_text(json.dumps({"violence": 0.5, "privacy": 0.25, "kindness": 0.25}))


def _load_weights(folder: Path):
    from encore_jax.reward.weighting import named_weights

    return named_weights(str(folder / "weights.json"), tiny_reward_model.RULES)


MODEL_TARGETS = {
    "safetensors": Target(_backbone, {"model.safetensors": mutate_safetensors}, _load_backbone, 2),
    "config.json": Target(_backbone, {"config.json": mutate_json}, _load_config, 2),
    **{
        f"config.json of {name}": Target(
            functools.partial(_family, name), {"config.json": mutate_json, "model.safetensors": mutate_safetensors},
            _load_family,
        )
        for name in ("phi3", "gemma3", "qwen3_moe")
    },
    "index": Target(
        _sharded,
        {"model.safetensors.index.json": mutate_json, "model-00001-of-00002.safetensors": mutate_safetensors},
        _load_backbone,
    ),
    "GGUF": Target(_gguf, {"model.gguf": mutate_gguf}, _load_gguf, 3),
    "GGUF blocks": Target(_blocks, {"model.gguf": mutate_gguf}, _load_blocks),
    "tokenizer": Target(_tokenizer, TOKENIZER, _tokenize, 3),
    "passport": Target(_saved, {"model/passport.json": mutate_json}, _load_saved),
    "backbone.json": Target(_saved, {"model/backbone.json": mutate_json}, _load_saved),
    "heads": Target(_saved, {"model/heads.safetensors": mutate_safetensors}, _load_saved),
    "export": Target(
        _exported, {"out/config.json": mutate_json, "out/passport.json": mutate_json}, _load_export
    ),
    "classifier": Target(
        _classifier, {"config.json": mutate_json, "model.safetensors": mutate_safetensors} | TOKENIZER,
        _load_reward_model,
    ),
    "gated classifier": Target(
        lambda folder: armorm.save(folder), {"config.json": mutate_json, "model.safetensors": mutate_safetensors},
        _load_reward_model,
    ),
    "adapter": Target(
        _adapter,
        {"adapter/adapter_config.json": mutate_json, "adapter/adapter_model.safetensors": mutate_safetensors,
         "base/config.json": mutate_json},
        _load_adapter, 2,
    ),
    "weights": Target(_weights, {"weights.json": mutate_json}, _load_weights),
}  # fmt: skip
