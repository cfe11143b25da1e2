"""Plain preference pairs: the schema most published preference sets have.

Each row is ``{chosen, rejected}`` with an optional ``prompt``. Chosen and rejected are either answers as text (then
``prompt`` is text or a list of messages) or whole conversations as lists of ``{"role", "content"}`` (then the prompt is
what they share; ``prompt`` is not needed, and where it is given it is what comes before, or what they begin with). An
optional ``system`` prompt and ``history`` (earlier turns) come first. ``category`` or ``subset`` becomes the
comparison's subset.

So are, among others, UltraFeedback as binarized by HuggingFaceH4 and by argilla, Skywork's reward preferences, and what
TRL calls a preference data set, with an explicit or an implicit prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from encore_jax.data.comparison import Comparison, Message, parse_prompt
from encore_jax.data.context import common_context, joined, with_context
from encore_jax.data.fields import converted_rows, fields
from encore_jax.data.messages import Unread
from encore_jax.data.row_labels import row_id, text_label
from encore_jax.data.rows import require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

FIELDS = fields(
    "prompt chosen rejected system system_prompt system_message history id subset category",
    "source dataset prompt_id score_chosen score_rejected chosen_score rejected_score chosen-rating rejected-rating "
    "chosen-model rejected-model chosen_model rejected_model chosen_rating rejected_rating margin language subcategory",
)

Pair = tuple[Sequence[Message], str, str]
"""A prompt and two responses."""


def read_pairs(path: str | Path, *, skips: SkipCounter) -> Iterator[Comparison]:
    """Streams comparisons, the chosen response first; unusable rows are counted in ``skips``.

    Raises:
      InputError: naming file, line and field.
    """

    def convert(row: dict, where: str) -> Iterator[Comparison]:
        labels = {"subset": text_label(row, "subset", "category"), "source": "pairs", "id": row_id(row, where)}
        return usable_pair(_pair(row, where, skips.not_read), where, skips, **labels)

    return converted_rows(path, FIELDS, skips, convert)


def usable_pair(
    pair: Pair | str, where: str, skips: SkipCounter, *, preferred: int = 0, **labels
) -> Iterator[Comparison]:
    """The comparison of (prompt, response, response), or nothing and a counted reason.

    ``pair`` may itself be the reason, as text, why the row makes no pair.
    """
    reason = pair if isinstance(pair, str) else _reason(pair)
    if reason:
        skips.skip(reason, where)
        return
    prompt, *responses = pair
    comparison = Comparison(tuple(prompt), tuple(responses), preferred, **labels)
    skips.kept += 1
    yield comparison


def _pair(row: Mapping, where: str, unread: Unread) -> Pair | str:
    if isinstance(row.get("chosen"), list | Mapping):
        chosen, rejected = (_conversation(row, name, where, unread) for name in ("chosen", "rejected"))
        pair = common_context(chosen, rejected)
        if isinstance(pair, str):
            return pair
        given = row.get("prompt")
        own = () if given in (None, "", []) or given != given else parse_prompt(given, "prompt", unread)
        prompt = joined(own, pair[0])
        return prompt if isinstance(prompt, str) else (with_context(row, prompt, unread), *pair[1:])
    chosen, rejected = (require(row, name, str, where) for name in ("chosen", "rejected"))
    if "prompt" not in row:
        raise InputError(
            "texts without a prompt",
            where="prompt",
            fix="add a prompt; for 'Human: ... Assistant: ...' dialogues name the format hh_rlhf",
        )
    return with_context(row, parse_prompt(row["prompt"], "prompt", unread), unread), chosen, rejected


def _conversation(row: Mapping, name: str, where: str, unread: Unread) -> tuple[Message, ...]:
    value = row.get(name)
    return parse_prompt([value] if isinstance(value, Mapping) else require(row, name, list, where), name, unread)


def _reason(pair: Pair) -> str:
    prompt, first, second = pair
    if not prompt or prompt[-1].role != "user":
        return "with a prompt that does not end with the user's turn"
    if not first.strip() or not second.strip():
        return "with a blank response"
    if first == second:
        return "with identical responses"
    return ""
