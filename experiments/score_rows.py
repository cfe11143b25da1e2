"""What the batch scorer reads: prompts with n responses each, from any format this project knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from encore_jax.data import read_comparisons
from encore_jax.data.comparison import Message, parse_prompt
from encore_jax.data.readers import recognise
from encore_jax.data.rows import located, read_rows, require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

PLAIN = "responses"
"""Format of rows ``{"prompt", "responses"}`` or ``{"prompt", "response"}``: n may be 1, and blank responses count."""


class Item(NamedTuple):
    """A prompt and n responses.

    Attributes:
      id: of the row, or where it is.
      prompt: chat messages.
      responses: n texts.
      preferred: index of the preferred one, if the file says so.
    """

    id: str
    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    preferred: int | None


def read_items(path: Path, format: str, skips: SkipCounter) -> Iterator[Item]:
    """Streams the items of a file, in its order.

    Args:
      path: a ``.jsonl``, ``.jsonl.gz``, ``.json`` or ``.parquet`` file.
      format: "auto", `PLAIN`, or one of `encore_jax.data.FORMATS`.
      skips: counts rows that make no item.

    Raises:
      InputError: a row that breaks the format.
    """
    if format == "auto":
        format = _recognised(path)
    if format == PLAIN:
        for where, row in read_rows(path):
            skips.kept += 1
            yield _plain(row, where)
    else:
        for comparison in read_comparisons(path, format, skips=skips):
            yield Item(comparison.id, comparison.prompt, comparison.responses, comparison.preferred)


def _recognised(path: Path) -> str:
    _, row = next(read_rows(path), ("", None))
    if row and "prompt" in row and ("responses" in row or "response" in row):
        return PLAIN
    return recognise(path)


def _plain(row: dict, where: str) -> Item:
    prompt = require(row, "prompt", object, where)
    one = "responses" not in row
    responses = [require(row, "response", str, where)] if one else require(row, "responses", list, where)
    with located(where):
        prompt = parse_prompt(prompt)
        if not prompt or prompt[-1].role != "user":
            fix = "put what follows into the response"
            raise InputError("does not end with the user's turn", where="prompt", fix=fix)
        if not responses:
            raise InputError("is empty", where="responses", fix="leave the row out")
        texts = tuple(Message("assistant", text).content for text in responses)
        preferred = row.get("preferred")
        if preferred is not None and (type(preferred) is not int or not 0 <= preferred < len(texts)):
            raise InputError(
                f"{preferred!r} is no index of {len(texts)} responses", where="preferred", fix="correct it"
            )
    return Item(Path(where).name if row.get("id") is None else str(row["id"]), prompt, texts, preferred)
