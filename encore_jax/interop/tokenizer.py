"""Tokenizers: from a folder or a GGUF file, and from conversations to token ids by the model's chat template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encore_jax.errors import InputError
from encore_jax.interop.chat_template import TemplateRefusal, Turn, asks_for_date, render_texts
from encore_jax.interop.gguf_tokenizer import tokenizer_from_gguf
from encore_jax.interop.pinned_clock import DATE_STRING, PINNED

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "DATE_STRING", "TemplateRefusal", "load_tokenizer", "render", "render_prompts", "template_digest",
    "tokenizer_from_gguf",
]  # fmt: skip


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

    return AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Iterable[Mapping[str, Any] | Any],
    response: str | None = None,
) -> list[int]:
    """Token ids of a conversation, by the chat template alone.

    BOS and end markers are exactly the template's; nothing is added afterwards. See `render_texts`.

    Args:
      tokenizer: with a chat template.
      messages: ``{"role", "content"}`` mappings, or objects with these attributes.
      response: the assistant's answer, appended as a last message; None: end with the template's
        generation prompt, so that the result is the prefix of every answer's ids.

    Raises:
      InputError: the tokenizer has no chat template, or one that cannot be used.
      TemplateRefusal: the template refuses the messages.
    """
    turns = turns_of(messages)
    if response is not None:
        turns.append({"role": "assistant", "content": response})
    return token_ids(tokenizer, render_texts(tokenizer, [turns], generation=response is None))[0]


def render_prompts(
    tokenizer: PreTrainedTokenizerBase, chats: Iterable[Iterable[Mapping[str, Any] | Any]]
) -> list[list[int]]:
    """``render(tokenizer, chat)`` of many chats in one call, several times as fast.

    Raises:
      InputError: as ``render``.
    """
    return token_ids(tokenizer, render_texts(tokenizer, [turns_of(chat) for chat in chats], generation=True))


def turns_of(messages: Iterable[Mapping[str, Any] | Any]) -> list[Turn]:
    """Messages as the chat template takes them."""
    return [dict(m) if isinstance(m, Mapping) else {"role": m.role, "content": m.content} for m in messages]


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of rendered texts; no special token is added.

    Raises:
      TemplateRefusal: a text holds what no tokenizer takes: half of a surrogate pair.
    """
    try:
        return [list(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    except UnicodeEncodeError:
        raise TemplateRefusal("holds half of a surrogate pair, which is no character", where="messages") from None


def template_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 over all that decides how messages become text: template, date, special tokens.

    The time that ``strftime_now`` tells is in it where a template may ask for it: the digest of such a template is
    another one than when its scores changed from day to day. All others have the digest that they always had.
    """
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    content = {"template": tokenizer.chat_template, "date_string": DATE_STRING, "special": special}
    if asks_for_date(tokenizer):
        content["strftime_now"] = PINNED.isoformat()
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
