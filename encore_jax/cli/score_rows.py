"""What the batch scorer reads: prompts with n responses each, from any format this project knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from encore_jax.data import read_comparisons
from encore_jax.data.comparison import Message, parse_prompt
from encore_jax.data.context import with_context
from encore_jax.data.fields import Unshown, check_row, fields
from encore_jax.data.messages import Unread
from encore_jax.data.readers import recognise
from encore_jax.data.row_labels import row_id, whole
from encore_jax.data.rows import located, read_rows, require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

PLAIN = "responses"
"""Format of rows ``{"prompt", "responses"}`` or ``{"prompt", "response"}``: n may be 1, and blank responses count."""
_SHARED = "prompt preferred id system system_prompt system_message history"
SEVERAL, ONE = (fields(f"{_SHARED} {name}", "ratings subset source extra model") for name in ("responses", "response"))
"""Fields of rows with several responses, and with one."""


class Item(NamedTuple):
    """A prompt and n responses.

    Attributes:
      id: of the row, or where it is.
      prompt: chat messages.
      responses: n texts; none if there is a problem.
      preferred: index of the preferred one, if the file says so.
      problem: why the row cannot be scored: it holds what no model here is shown.
    """

    id: str
    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    preferred: int | None
    problem: str = ""


def read_items(path: Path, format: str, skips: SkipCounter) -> Iterator[Item]:
    """Streams the items of a file, in its order.

    Args:
      path: a ``.jsonl``, ``.jsonl.gz``, ``.json`` or ``.parquet`` file.
      format: "auto", `PLAIN`, or one of `encore_jax.data.FORMATS`.
      skips: counts rows that make no item, and fields that are not read.

    Raises:
      InputError: a row that breaks the format.
    """
    if format == "auto":
        format = _recognised(path)
    if format == PLAIN:
        for where, row in read_rows(path):
            skips.kept += 1
            yield _plain(row, where, skips.not_read)
    else:
        for comparison in read_comparisons(path, format, skips=skips):
            yield Item(comparison.id, comparison.prompt, comparison.responses, comparison.preferred)


def _recognised(path: Path) -> str:
    _, row = next(read_rows(path), ("", None))
    if (
        row
        and "prompt" in row
        and ("responses" in row or "response" in row)
        and not {"chosen", "rejected"} <= row.keys()
    ):
        return PLAIN
    return recognise(path)


def _plain(row: dict, where: str, unread: Unread) -> Item:
    with located(where):
        name, one = row_id(row, where), "responses" not in row
        try:
            check_row(row, ONE if one else SEVERAL, unread)
            prompt = with_context(row, parse_prompt(require(row, "prompt", object, where), "prompt", unread), unread)
        except Unshown as error:
            return Item(name, (), (), None, str(error.at("")))
        responses = [require(row, "response", str, where)] if one else require(row, "responses", list, where)
        if not prompt or prompt[-1].role != "user":
            fix = "put what follows into the response"
            raise InputError("does not end with the user's turn", where="prompt", fix=fix)
        if not responses:
            raise InputError("is empty", where="responses", fix="leave the row out")
        texts = tuple(Message("assistant", text).content for text in responses)
        preferred = whole(row.get("preferred"), "preferred")
        if preferred is not None and not 0 <= preferred < len(texts):
            raise InputError(f"{preferred} is no index of {len(texts)} responses", where="preferred", fix="correct it")
    return Item(name, prompt, texts, preferred)
