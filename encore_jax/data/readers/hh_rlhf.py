r"""Anthropic HH-RLHF (Bai et al. 2022, arXiv 2204.05862; data set Anthropic/hh-rlhf).

Native rows are ``{"chosen", "rejected"}``, each a whole dialogue in one text::

    "\n\nHuman: Hi!\n\nAssistant: Hello.\n\nHuman: ...\n\nAssistant: ..."

The prompt is what the two dialogues share, compared turn by turn, and the responses are their last
assistant turns. Rows whose dialogues part earlier are no comparison of two answers to one
prompt: they are counted and skipped, as are blank or identical responses.

Also read: the derived rows ``{"prompt", "chosen", "rejected"}`` with the shared dialogue as prompt; the empty
"Assistant:" that it may end with is where the responses go. The lines of a dialogue may end in any of the usual ways.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from encore_jax.data.comparison import Comparison, Message
from encore_jax.data.context import common_context, with_context
from encore_jax.data.fields import converted_rows, fields
from encore_jax.data.readers.pairs import Pair, usable_pair
from encore_jax.data.row_labels import row_id, text_label
from encore_jax.data.rows import located, require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

FIELDS = fields("chosen rejected prompt system system_prompt system_message history id subset category", "source")

_TURN = re.compile(r"(?:\r\n|\n|\r){2}(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def read_hh_rlhf(path: str | Path, *, skips: SkipCounter) -> Iterator[Comparison]:
    """Streams comparisons, the chosen response first; unusable rows are counted in ``skips``.

    Raises:
      InputError: naming file, line and field, e.g. where a text is no dialogue.
    """

    def convert(row: dict, where: str) -> Iterator[Comparison]:
        labels = {"subset": text_label(row, "subset", "category"), "source": "hh-rlhf", "id": row_id(row, where)}
        return usable_pair(_pair(row, where), where, skips, **labels)

    return converted_rows(path, FIELDS, skips, convert)


def parse_dialogue(text: str) -> tuple[Message, ...]:
    r"""Turns of a "Human: ... Assistant: ..." text, without the spaces around them.

    >>> parse_dialogue("\n\nHuman: Hi!\n\nAssistant: Hello.")[1]
    Message(role='assistant', content='Hello.')
    """
    text = "\n\n" + text.lstrip()
    before, *parts = _TURN.split(text)
    if before.strip() or not parts:
        raise InputError(
            r"not a dialogue of '\n\nHuman: ...' and '\n\nAssistant: ...' turns",
            fix="name the file's real format",
        )
    turns = zip(parts[::2], parts[1::2], strict=True)
    return tuple(Message(_ROLES[name], content.strip()) for name, content in turns)


def _pair(row: Mapping, where: str) -> Pair | str:
    texts = {name: require(row, name, str, where) for name in ("chosen", "rejected")}
    if row.get("prompt") is None:
        pair = common_context(*(_dialogue(text, name) for name, text in texts.items()))
        return pair if isinstance(pair, str) else (with_context(row, pair[0]), *pair[1:])
    prompt = _dialogue(require(row, "prompt", str, where), "prompt")
    if prompt[-1] == Message("assistant", ""):
        prompt = prompt[:-1]
    if all(text.lstrip().startswith("Human:") for text in texts.values()):
        pair = common_context(*map(parse_dialogue, texts.values()))
        whole = not isinstance(pair, str) and pair[0][: len(prompt)] == prompt  # dialogues, beside how they begin
        if whole:
            return with_context(row, pair[0]), *pair[1:]
    return with_context(row, prompt), texts["chosen"].strip(), texts["rejected"].strip()


def _dialogue(text: str, where: str) -> tuple[Message, ...]:
    with located(where):
        return parse_dialogue(text)
