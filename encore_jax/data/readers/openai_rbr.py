"""OpenAI's rule-based-rewards gold set (Mu et al. 2024, arXiv 2411.01111).

Rows: ``category``, ``response_type``, ``prompt`` and ``completion`` (lists of messages) and
``propositions``: 23 human true/false judgements of the completion by name. From the repository
openai/safety-rbr-code-and-data, ``data/rbr_gold_data``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from encore_jax.data.comparison import RatedResponse, parse_prompt
from encore_jax.data.fields import converted_rows, fields
from encore_jax.data.orientation import orient_named
from encore_jax.data.row_labels import row_id, truth
from encore_jax.data.rows import require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

if TYPE_CHECKING:
    from encore_jax.rules.rule import RulePool

FIELDS = fields("prompt completion propositions category response_type id")


def read_openai_rbr(path: str | Path, *, pool: RulePool, skips: SkipCounter) -> Iterator[RatedResponse]:
    """Streams rated responses: true is 1, false is 0, turned by each rule's direction.

    The response is the last message of the completion, the prompt all messages before it. The
    pool must know every proposition. Blank completions are counted in ``skips``. The subset is the
    response type; ``extra`` holds the category.
    """

    def convert(row: dict, where: str) -> Iterator[RatedResponse]:
        propositions = require(row, "propositions", dict, where)
        given = {name: float(truth(value, name)) for name, value in propositions.items()}
        *prompt, last = (
            *parse_prompt(require(row, "prompt", list, where), "prompt", skips.not_read),
            *parse_prompt(require(row, "completion", list, where), "completion", skips.not_read),
        ) or (None,)
        if last is None or last.role != "assistant":
            raise InputError("the last message is not the assistant's", where="completion", fix="check the row")
        if not last.content.strip():
            skips.skip("with a blank response", where)
            return
        ratings, mask = orient_named(given, pool, (0.0, 1.0))
        record = RatedResponse(
            prompt=tuple(prompt),
            response=last.content,
            rules=tuple(pool.names),
            ratings=ratings,
            mask=mask,
            subset=require(row, "response_type", str, where),
            source="openai-rbr",
            id=row_id(row, where),
            extra={"category": row.get("category")},
        )
        skips.kept += 1
        yield record

    return converted_rows(path, FIELDS, skips, convert)
