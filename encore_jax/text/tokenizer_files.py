"""The files of a tokenizer, looked at before transformers reads them: what is missing, broken or would run code.

transformers answers a missing ``tokenizer.json`` with an empty vocabulary, and most other faults with a traceback.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any, TypedDict

from encore_jax.errors import InputError
from encore_jax.files import open_file
from encore_jax.json_shape import decode_json, read_bytes, read_json
from encore_jax.text.chat_template import LONGEST

CONFIG, VOCABULARY = "tokenizer_config.json", "tokenizer.json"
LARGEST = 256 << 20
"""Bytes of the largest vocabulary."""
AGAIN = "download it again, or save the tokenizer again"
_OTHERS = (("vocab.json", "merges.txt"), ("tekken.json",), ("tokenizer.model",), ("tiktoken.model",))
_NEEDS = {"tokenizer.model": "sentencepiece", "tiktoken.model": "tiktoken"}
_POINTER = b"version https://git-lfs"
_Token = str | dict[str, Any] | None


class _NamedTemplate(TypedDict):
    name: str
    template: str


class _Config(TypedDict, total=False):
    tokenizer_class: str | None
    auto_map: dict[str, Any] | list[str | None] | None
    chat_template: str | list[_NamedTemplate] | dict[str, str] | None
    bos_token: _Token
    eos_token: _Token
    unk_token: _Token
    pad_token: _Token
    added_tokens_decoder: dict[str, dict[str, Any]]
    additional_special_tokens: list[_Token] | None
    extra_special_tokens: list[_Token] | dict[str, Any] | None
    fast_tokenizer_files: list[str]
    model_max_length: float | None
    padding_side: str
    init_inputs: list[Any]


class _Model(TypedDict, total=False):
    type: str
    vocab: dict[str, int] | list[tuple[str, float]]
    merges: list[str | list[str]] | None


class _Whole(TypedDict, total=False):
    model: _Model
    added_tokens: list[dict[str, Any]]
    normalizer: dict[str, Any] | None
    pre_tokenizer: dict[str, Any] | None
    post_processor: dict[str, Any] | None
    decoder: dict[str, Any] | None


_SMALL: dict[str, Any] = {
    CONFIG: _Config,
    "special_tokens_map.json": dict[str, _Token | list[_Token]],
    "added_tokens.json": dict[str, int],
    "config.json": dict[str, Any],
}
_LARGE: dict[str, Any] = {VOCABULARY: _Whole, "vocab.json": dict[str, int], "tekken.json": dict[str, Any]}


def check_files(folder: Path) -> None:
    """Makes sure that transformers can be given a folder's tokenizer.

    Raises:
      InputError: there is no vocabulary; a file is no regular file, a Git LFS pointer, or of another shape; or the
        tokenizer is Python code.
    """
    _check_present(folder)
    for path in folder.iterdir():
        if path.name in (VOCABULARY, *_SMALL, *sum(_OTHERS, ())) or path.suffix == ".jinja":
            _check_stored(path)
    for name, shape in _SMALL.items():
        if (folder / name).is_file():
            _check_code(folder / name, read_json(folder / name, shape, fix=AGAIN))
    for path in template_files(folder):
        _check_text(path)


def diagnose(folder: Path) -> None:
    """Reads the large files, after transformers could not, to say which of them is broken.

    Raises:
      InputError: it is this one.
    """
    for name, shape in _LARGE.items():
        if (folder / name).is_file():
            content = read_bytes(folder / name, fix=AGAIN, max_bytes=LARGEST)
            whole = decode_json(content, shape, where=str(folder / name), fix=AGAIN)
            if name == VOCABULARY and "model" not in whole:
                raise InputError("holds no 'model'", where=str(folder / name), fix=AGAIN)


def template_files(folder: Path) -> list[Path]:
    """Chat templates in files of their own."""
    return [
        path
        for path in (folder / "chat_template.jinja", *sorted(folder.glob("additional_chat_templates/*.jinja")))
        if path.exists()
    ]


def template_place(folder: Path) -> str:
    """Where the chat template stands, for a message."""
    file = folder / "chat_template.jinja"
    return str(file) if file.exists() else f"{folder / CONFIG}, field 'chat_template'"


def embedding_rows(folder: Path) -> int | None:
    """Rows of the embedding of the model in this folder; None where no ``config.json`` says it."""
    path = folder / "config.json"
    config = read_json(path, dict[str, Any]) if path.is_file() else {}
    text = config.get("text_config")  # of a model that reads pictures, too
    rows = (text if isinstance(text, dict) else config).get("vocab_size")
    return rows if isinstance(rows, int) and not isinstance(rows, bool) else None


def _check_present(folder: Path) -> None:
    """Whether there is a vocabulary that can be read here."""
    groups = [group for group in ((VOCABULARY,), *_OTHERS) if all((folder / name).exists() for name in group)]
    missing = [_NEEDS[group[0]] for group in groups if group[0] in _NEEDS]
    if groups and (len(missing) < len(groups) or any(importlib.util.find_spec(name) for name in missing)):
        return
    instead = f", only {groups[0][0]}, and {missing[0]} is not installed" if groups else ""
    raise InputError(
        f"there is no {VOCABULARY} here{instead}",
        where=str(folder),
        fix="save the tokenizer into this folder: transformers.AutoTokenizer.from_pretrained(...).save_pretrained(...)",
    )


def _check_stored(path: Path) -> None:
    with open_file(path, fix=AGAIN) as file:
        begin = file.read(len(_POINTER))
    if begin == _POINTER:
        raise InputError("is a Git LFS pointer, not the file itself", where=str(path), fix="fetch it: git lfs pull")
    if not begin:
        raise InputError("is empty", where=str(path), fix=AGAIN)


def _check_code(path: Path, content: dict[str, Any]) -> None:
    if path.name != CONFIG:
        return
    named = content.get("auto_map") or ()
    named = named.get("AutoTokenizer") if isinstance(named, dict) else named
    if named:
        files = ", ".join(str(name) for name in ([named] if isinstance(named, str) else named) if name)
        raise InputError(
            f"field 'auto_map': the tokenizer is Python code of the model's own ({files}), which is never run here",
            where=str(path),
            fix=f"use a model whose {VOCABULARY} says it all; where this one's does, remove auto_map",
        )


def _check_text(path: Path) -> None:
    content = read_bytes(path, fix=AGAIN, max_bytes=4 * LONGEST)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text (byte {error.start})", where=str(path), fix=AGAIN) from None


def is_byte(token: str) -> bool:
    """Whether a token stands for one byte of a character that the vocabulary does not have.

    >>> is_byte("<0x0A>"), is_byte("<s>")
    (True, False)
    """
    return re.fullmatch("<0x[0-9A-Fa-f]{2}>", token) is not None
