"""Tokenizers from the metadata of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from encore_jax.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Patterns that cut text into words before merging, one after the other, by the name llama.cpp's
# converter gives them. What a pattern leaves between its matches stays a piece of its own.
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SPLITS = {
    "gpt-2": (_GPT2,),
    "smollm": (r"\p{N}", _GPT2),
    "llama-bpe": (_CONTRACTION + _WORD + r"|\p{N}{1,3}" + _REST,),
    "qwen2": (_CONTRACTION + _WORD + r"|\p{N}" + _REST,),
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
}
_CONTROL, _USER_DEFINED = 3, 4
_AGAIN = "convert the model with a current llama.cpp, or use its Hugging Face folder"


def tokenizer_from_gguf(metadata: Mapping[str, Any], where: str = "GGUF") -> PreTrainedTokenizerBase:
    """Builds a byte-level BPE tokenizer from the ``tokenizer.*`` keys of a GGUF file.

    Raises:
      InputError: a missing key, another tokenizer model, or an unknown pre-tokenizer.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    model, pre = _need(metadata, "model", where), _need(metadata, "pre", where)  # llama.cpp guesses a missing one
    for key, value, known in (("model", model, ("gpt2",)), ("pre", pre, tuple(_SPLITS))):
        if not isinstance(value, str) or value not in known:
            raise InputError(
                f"{value!r} is not built here", where=_place(where, key),
                fix=f"use one of {known}, or the model's Hugging Face folder with tokenizer.json",
            )  # fmt: skip
    tokens, kinds = _texts(metadata, "tokens", where), _need(metadata, "token_type", where)
    if not isinstance(kinds, list | np.ndarray) or len(tokens) != len(kinds):
        count = len(kinds) if isinstance(kinds, list | np.ndarray) else "no"
        raise InputError(f"{count} entries for {len(tokens)} tokens", where=_place(where, "token_type"), fix=_AGAIN)
    vocab = {token: i for i, token in enumerate(tokens)}
    if len(vocab) < len(tokens):
        twice = next(token for i, token in enumerate(tokens) if vocab[token] != i)
        raise InputError(f"{twice!r} is there twice", where=_place(where, "tokens"), fix=_AGAIN)
    merges = [tuple(merge.split(" ", 1)) for merge in _texts(metadata, "merges", where)]
    for merge in merges:
        if len(merge) != 2 or not {*merge, "".join(merge)} <= vocab.keys():
            raise InputError(f"{' '.join(merge)!r} joins no two tokens to a third", where=_place(where, "merges"),
                             fix=_AGAIN)  # fmt: skip
    backend = Tokenizer(models.BPE(vocab, merges, ignore_merges=pre == "llama-bpe"))
    backend.normalizer = _normalizer(pre)
    backend.pre_tokenizer = _pre_tokenizer(pre)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([
        AddedToken(token, special=kind == _CONTROL, normalized=False)
        for token, kind in zip(tokens, kinds, strict=True)
        if kind in (_CONTROL, _USER_DEFINED)
    ])  # fmt: skip

    special = {}
    for name, key in {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}.items():
        number = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if number is None:
            continue
        if type(number) is not int or not 0 <= number < len(tokens):
            raise InputError(f"{number!r} is no token", where=_place(where, f"{key}_token_id"), fix=_AGAIN)
        special[f"{name}_token"] = tokens[number]
    backend.post_processor = _post_processor(metadata, special, vocab)
    template = metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise InputError("is no text", where=f"{where}, key 'tokenizer.chat_template'", fix=_AGAIN)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=template, clean_up_tokenization_spaces=False, **special
    )


def _place(where: str, key: str) -> str:
    return f"{where}, key 'tokenizer.ggml.{key}'"


def _need(metadata: Mapping[str, Any], key: str, where: str) -> Any:
    if f"tokenizer.ggml.{key}" not in metadata:
        raise InputError("missing", where=_place(where, key), fix=_AGAIN)
    return metadata[f"tokenizer.ggml.{key}"]


def _texts(metadata: Mapping[str, Any], key: str, where: str) -> list[str]:
    values = _need(metadata, key, where)
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise InputError("is no list of texts", where=_place(where, key), fix=_AGAIN)
    return values


def _normalizer(pre: str):
    from tokenizers import normalizers

    return normalizers.NFC() if pre == "qwen2" else None


def _pre_tokenizer(pre: str):
    from tokenizers import Regex, pre_tokenizers

    splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in _SPLITS[pre]]
    return pre_tokenizers.Sequence([*splits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _post_processor(metadata, special, vocab):
    """Adds BOS or EOS where the file says the model expects it on plain text."""
    from tokenizers import processors

    parts, used = ["$A"], []
    if metadata.get("tokenizer.ggml.add_bos_token") and "bos_token" in special:
        parts, used = [special["bos_token"], *parts], [special["bos_token"]]
    if metadata.get("tokenizer.ggml.add_eos_token") and "eos_token" in special:
        parts, used = [*parts, special["eos_token"]], [*used, special["eos_token"]]
    if not used:
        return processors.ByteLevel(trim_offsets=False)
    return processors.TemplateProcessing(
        single=" ".join(parts), special_tokens=[(t, vocab[t]) for t in dict.fromkeys(used)]
    )
