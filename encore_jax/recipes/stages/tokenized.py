"""Token sequences of a run's texts; what the chat template refuses or hides is counted, and the first one named."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from absl import logging

from encore_jax.data import Comparison, RatedResponse
from encore_jax.errors import InputError
from encore_jax.reward.sequences import Text, token_sequences


def tokenized(
    tokenizer, texts: Sequence[Text], pooling: str, name_of: Callable[[int], str]
) -> tuple[list[np.ndarray | None], dict[str, object]]:
    """Token ids of each text, None where the chat template refuses it, and counts that say so.

    Args:
      tokenizer: with a chat template.
      texts: the conversations.
      pooling: decides which token is the last.
      name_of: what a text, given its number, is called in messages.

    Returns:
      The sequences; and how many texts were refused, of how many the template does not print every message, and the
      first of each, or nothing if there is none.

    Raises:
      InputError: the template refuses every single text.
    """
    refused: dict[int, str] = {}
    hidden: dict[int, str] = {}
    sequences = token_sequences(tokenizer, texts, pooling, tokenizer.pad_token_id, refused, hidden)
    counts: dict[str, object] = {}
    if hidden:
        number, missing = next(iter(hidden.items()))
        first = f"{name_of(number)}: {missing}"
        logging.warning("parts of %d of %d texts are hidden; the first, %s", len(hidden), len(texts), first)
        counts |= {"texts_hidden_by_template": len(hidden), "first_hidden_by_template": first}
    if not refused:
        return sequences, counts
    number, problem = next(iter(refused.items()))
    first = f"{name_of(number)}: {problem}"
    if len(refused) == len(texts):
        raise InputError(
            f"not one of {len(texts)} texts can be rendered; the first, {first}",
            where="chat template",
            fix="use a model whose template takes such conversations, or change the rows (system messages, roles)",
        )
    logging.warning("%d of %d texts left out; the first, %s", len(refused), len(texts), first)
    return sequences, counts | {"texts_refused_by_template": len(refused), "first_refused_by_template": first}


def record_name(text: Text, rated: Sequence[RatedResponse], comparisons: Sequence[Comparison]) -> str:
    """The first record that holds a text: its id, which is file and line where a row has none of its own."""
    for comparison in comparisons:
        if comparison.prompt == text[0] and text[1] in comparison.responses:
            return f"comparison {comparison.id}"
    for record in rated:
        if (record.prompt, record.response) == text:
            return f"rated response {record.id}"
    return "a text of no record"
