"""Votes of Chatbot Arena (Zheng et al. 2023, arXiv 2306.05685; data sets lmsys/chatbot_arena_conversations and
lmarena-ai/arena-human-preference-100k and -140k).

Rows: ``conversation_a`` and ``conversation_b`` (messages, in some releases as JSON text), and ``winner``: model_a,
model_b, or one of several words for a tie. A row is a pair if the two conversations differ in their last turn only.
Where ``full_conversation`` holds earlier turns that the two do not, the row is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from encore_jax.data.comparison import Comparison, Message, parse_prompt
from encore_jax.data.context import common_context
from encore_jax.data.fields import converted_rows, fields
from encore_jax.data.messages import Unread
from encore_jax.data.readers.pairs import usable_pair
from encore_jax.data.row_labels import row_id, text_label
from encore_jax.data.rows import require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError
from encore_jax.json_shape import decode_json

FIELDS = fields(
    "conversation_a conversation_b winner question_id id language",
    "model_a model_b judge judge_hash turn anony tstamp timestamp openai_moderation toxic_chat_tag conv_metadata "
    "is_code is_refusal dedup_tag category_tag evaluation_session_id evaluation_order",
)
WINNERS = {
    "model_a": 0, "model_b": 1, "tie": None, "tie (bothbad)": None, "both_bad": None, "bothbad": None, "both bad": None,
}  # fmt: skip


def read_arena(path: str | Path, *, skips: SkipCounter) -> Iterator[Comparison]:
    """Streams comparisons, model A's response first; ties and longer dialogues are counted in ``skips``."""

    def convert(row: dict, where: str) -> Iterator[Comparison]:
        winner = require(row, "winner", str, where)
        if winner not in WINNERS:
            raise InputError(f"{winner[:40]!r} is no winner", where="winner", fix=f"write one of {', '.join(WINNERS)}")
        pair = common_context(
            *(_conversation(row, name, where, skips.not_read) for name in ("conversation_a", "conversation_b"))
        )
        return usable_pair(
            "with no preference" if WINNERS[winner] is None else pair,
            where,
            skips,
            preferred=WINNERS[winner] or 0,
            subset=text_label(row, "language"),
            source="arena",
            id=row_id(row, where, "question_id", "id"),
        )

    return converted_rows(path, FIELDS, skips, convert)


def _conversation(row: Mapping, name: str, where: str, unread: Unread) -> tuple[Message, ...]:
    value = require(row, name, object, where)
    if isinstance(value, str):
        value = decode_json(value, list, where=name, fix="write a list of messages")
    return parse_prompt(value if isinstance(value, list) else require(row, name, list, where), name, unread)
