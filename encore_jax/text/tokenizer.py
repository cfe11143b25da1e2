"""Tokenizers: from a folder or a GGUF file, checked against the model; texts as token ids; the template's digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import logging

from encore_jax.errors import InputError
from encore_jax.terminal_text import cut
from encore_jax.text.chat_template import (
    DEFAULT,
    PLACE,
    TemplateFault,
    TemplateRefusal,
    asks_for_date,
    render_texts,
)
from encore_jax.text.pinned_clock import DATE_STRING, PINNED
from encore_jax.text.tokenizer_files import check_files, diagnose, embedding_rows, is_byte, template_place

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "DATE_STRING", "TemplateRefusal", "check_vocabulary", "load_tokenizer", "template_digest", "token_ids",
]  # fmt: skip


def load_tokenizer(path: str | Path, *, rows: int | None = None) -> PreTrainedTokenizerBase:
    """Loads a tokenizer with its chat template from a Hugging Face folder or a GGUF file.

    No code of the folder is run, and nothing is fetched.

    Args:
      path: the folder or file.
      rows: of the embedding that its tokens will index; by default those that a ``config.json`` beside it names.

    Raises:
      InputError: no tokenizer there; one that is broken, brings Python code or is of a kind not built here; a
        vocabulary that is not the model's, see `check_vocabulary`; or a chat template that cannot be used.
    """
    path = Path(path)
    if path.suffix == ".gguf":
        from encore_jax.checkpoints.gguf_file import GGUFFile
        from encore_jax.text.gguf_tokenizer import tokenizer_from_gguf

        place = f"{path}, key 'tokenizer.chat_template'"
        tokenizer = tokenizer_from_gguf(GGUFFile(path).metadata, where=str(path))
    else:
        check_files(path)
        tokenizer, place = _from_folder(path), template_place(path)
        rows = embedding_rows(path) if rows is None else rows
    check_vocabulary(tokenizer, rows, str(path))
    _check_template(tokenizer, place)
    setattr(tokenizer, PLACE, place)
    return tokenizer


def _from_folder(folder: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except BaseException as error:
        if not is_fault(error):
            raise
        diagnose(folder)
        _check_config(folder)
        raise InputError(
            f"transformers cannot read the tokenizer: {said(error)}",
            where=str(folder),
            fix="download it again, or save the tokenizer again, with tokenizer.json",
        ) from None


def _check_config(folder: Path) -> None:
    """Raises InputError for a configuration that nobody can read: transformers looks into it for the tokenizer too."""
    from encore_jax.checkpoints.huggingface import load_config

    if (folder / "config.json").is_file():
        load_config(folder)


_PROBE = "The answer is 42: nobody knows why, and you (or I) could ask again. Is that so? Yes!\n"


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, rows: int | None, where: str) -> None:
    """Makes sure that a tokenizer knows ordinary text, and that its tokens are those of the model.

    Tokens that were added to the vocabulary may lie behind the embedding, as padding tokens do that somebody added;
    a text that holds one is refused by `token_ids`.

    Args:
      tokenizer: of the model.
      rows: of the model's embedding, if known.
      where: what was loaded.

    Raises:
      InputError: the vocabulary is empty, knows no English, or has another size than the embedding.
    """
    numbers, fix = set(tokenizer.get_vocab().values()), "use the tokenizer that came with the model"
    if rows is not None:
        sizes = f"the vocabulary has {len(numbers):,} tokens, and the model's embedding {rows:,} rows"
        outside = {number for number in numbers if number >= rows}
        if 2 * len(numbers) < rows or outside - tokenizer.added_tokens_decoder.keys():
            raise InputError(f"{sizes}: they do not belong together", where=where, fix=fix)
        tokenizer.tokens_without_embedding = frozenset(outside)
    try:
        [ids] = token_ids(tokenizer, [_PROBE])
    except TemplateRefusal as error:
        raise InputError(f"an English sentence: {error.problem}", where=where, fix=fix) from None
    tokens = tokenizer.convert_ids_to_tokens(ids)
    known = [number for number, token in zip(ids, tokens, strict=True)
             if number != tokenizer.unk_token_id and not is_byte(token)]  # fmt: skip
    if 2 * len(known) <= len(ids):
        problem = (
            f"of {len(ids)} tokens of an English sentence the vocabulary ({len(numbers):,} tokens) knows {len(known)}"
        )
        raise InputError(problem, where=where, fix=fix)


def _check_template(tokenizer: PreTrainedTokenizerBase, place: str) -> None:
    """Makes sure that the chat template can be compiled, and that it ends."""
    several = tokenizer.chat_template
    if not several or (isinstance(several, Mapping) and DEFAULT not in several):
        return  # said when something is rendered
    asked, answered = {"role": "user", "content": _PROBE}, {"role": "assistant", "content": _PROBE}
    try:
        render_texts(tokenizer, [[asked]], generation=True)
    except TemplateFault as error:
        try:
            render_texts(tokenizer, [[asked, answered]], generation=False)
        except TemplateFault:  # then it takes no conversation at all
            raise InputError(error.problem, where=place, fix=error.fix) from None
        except TemplateRefusal:
            pass
    except TemplateRefusal:
        pass  # it may take other conversations
    except InputError as error:
        raise InputError(error.problem, where=place, fix=error.fix) from None
    if isinstance(several, Mapping) and len(several) > 1:
        logging.info("%s: of the chat templates %s, %r is used", place, ", ".join(sorted(several)), DEFAULT)


def token_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of rendered texts; no special token is added.

    Raises:
      TemplateRefusal: a text holds half of a surrogate pair, or a token that the model has no embedding for; or the
        tokenizer fails on it.
    """
    try:
        sequences = [list(ids) for ids in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    except BaseException as error:
        if not is_fault(error):
            raise
        halves = any("\ud800" <= character <= "\udfff" for text in texts for character in text)
        problem = (
            "holds half of a surrogate pair, which is no character"
            if halves
            else f"the tokenizer fails on it: {said(error)}"
        )
        raise TemplateRefusal(problem, where="messages") from None
    outside = getattr(tokenizer, "tokens_without_embedding", None)
    for ids in sequences if outside else ():
        for number in outside.intersection(ids):
            token = tokenizer.convert_ids_to_tokens(number)
            raise TemplateRefusal(f"holds the token {token!r}, for which the model has no embedding", where="messages")
    return sequences


def is_fault(error: BaseException) -> bool:
    """Whether it comes from what was read, not from the user's interruption; a panic in Rust is no `Exception`."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def said(error: BaseException) -> str:
    """What a stranger's exception says, in one short line."""
    return f"{type(error).__name__}: {cut(' '.join(str(error).split()), 300)}"


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
