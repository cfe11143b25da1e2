"""Tokenizers and chat templates: from a folder or from a GGUF file's own metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore_jax.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DATE_STRING = "26 Jul 2024"
"""What templates that print today's date (Llama 3) are told instead."""

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


class TemplateRefusal(InputError):
    """A chat template does not take these messages: another conversation may well be rendered."""


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Loads a tokenizer with its chat template from a Hugging Face folder or a GGUF file.

    Raises:
      InputError: no tokenizer there, or one of a kind not built here.
    """
    path = Path(path)
    if path.suffix == ".gguf":
        from encore_jax.interop.gguf_file import GGUFFile

        return tokenizer_from_gguf(GGUFFile(path).metadata, where=str(path))
    if not any((path / n).is_file() for n in ("tokenizer.json", "tokenizer_config.json")):
        raise InputError("there is no tokenizer.json here", where=str(path),
                         fix="save the tokenizer into the same folder")  # fmt: skip
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(path), local_files_only=True)


def tokenizer_from_gguf(metadata: Mapping[str, Any], where: str = "GGUF") -> PreTrainedTokenizerBase:
    """Builds a byte-level BPE tokenizer from the ``tokenizer.*`` keys of a GGUF file.

    Raises:
      InputError: a missing key, another tokenizer model, or an unknown pre-tokenizer.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    def need(key):
        if f"tokenizer.ggml.{key}" not in metadata:
            raise InputError("missing", where=f"{where}, key 'tokenizer.ggml.{key}'")
        return metadata[f"tokenizer.ggml.{key}"]

    model, pre = need("model"), need("pre")  # llama.cpp guesses a missing one, wrongly
    for key, value, known in (("model", model, ("gpt2",)), ("pre", pre, tuple(_SPLITS))):
        if value not in known:
            raise InputError(
                f"{value!r} is not built here", where=f"{where}, key 'tokenizer.ggml.{key}'",
                fix=f"use one of {known}, or the model's Hugging Face folder with tokenizer.json",
            )  # fmt: skip
    tokens, kinds = need("tokens"), need("token_type")
    if len(tokens) != len(kinds):
        raise InputError(
            f"{len(kinds)} entries for {len(tokens)} tokens", where=f"{where}, key 'tokenizer.ggml.token_type'"
        )
    merges = [tuple(merge.split(" ", 1)) for merge in need("merges")]
    vocab = {token: i for i, token in enumerate(tokens)}
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
        if number is not None and not 0 <= number < len(tokens):
            raise InputError(
                f"{number} is no token", where=f"{where}, key 'tokenizer.ggml.{key}_token_id'",
            )  # fmt: skip
        if number is not None:
            special[f"{name}_token"] = tokens[number]
    backend.post_processor = _post_processor(metadata, special, vocab)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        chat_template=metadata.get("tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        **special,
    )


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


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Iterable[Mapping[str, str] | Any],
    response: str | None = None,
) -> list[int]:
    """Token ids of a conversation, by the chat template alone.

    BOS and end markers are exactly the template's; nothing is added afterwards, and a template that
    prints the date is given ``DATE_STRING``.

    Args:
      tokenizer: with a chat template.
      messages: ``{"role", "content"}`` mappings, or objects with these attributes.
      response: the assistant's answer, appended as a last message; None: end with the template's
        generation prompt, so that the result is the prefix of every answer's ids.

    Raises:
      InputError: the tokenizer has no chat template.
      TemplateRefusal: the template refuses the messages.
    """
    turns = _turns(messages)
    if response is not None:
        turns.append({"role": "assistant", "content": response})
    return _apply(tokenizer, [turns], generation=response is None)[0]


def render_prompts(
    tokenizer: PreTrainedTokenizerBase, chats: Iterable[Iterable[Mapping[str, str] | Any]]
) -> list[list[int]]:
    """``render(tokenizer, chat)`` of many chats in one call, several times as fast.

    Raises:
      InputError: as ``render``.
    """
    return _apply(tokenizer, [_turns(chat) for chat in chats], generation=True)


def _turns(messages: Iterable[Mapping[str, str] | Any]) -> list[dict[str, str]]:
    return [dict(m) if isinstance(m, Mapping) else {"role": m.role, "content": m.content} for m in messages]


def _apply(tokenizer: PreTrainedTokenizerBase, chats: list[list[dict[str, str]]], generation: bool) -> list[list[int]]:
    if not tokenizer.chat_template:
        raise InputError("the tokenizer has no chat template", where="tokenizer",
                         fix="use an instruction-tuned model, or set tokenizer.chat_template")  # fmt: skip
    import jinja2

    try:
        rendered = tokenizer.apply_chat_template(
            chats, tokenize=True, add_generation_prompt=generation, return_dict=False, date_string=DATE_STRING
        )
    except jinja2.exceptions.TemplateError as error:
        roles = "; ".join(dict.fromkeys(" ".join(turn["role"] for turn in turns) for turns in chats))
        raise TemplateRefusal(f"the chat template refuses these roles ({roles}): {error}",
                              where="messages") from error  # fmt: skip
    return [list(ids) for ids in rendered]


def template_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over all that decides how messages become text: template, date, special tokens."""
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    content = {
        "template": tokenizer.chat_template, "date_string": DATE_STRING, "special": special
    }  # fmt: skip
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
