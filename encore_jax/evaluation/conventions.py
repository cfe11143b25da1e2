"""How other software would have scored the same model: tokens, truncation, pooling, precision; and what that changes.

A score depends on more than weights. Each peer's way is written down here as a `Convention`, and `why_different` says,
item by item, which part of it made a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from encore_jax.data import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.model.pooling import pool_index
from encore_jax.text.chat_template import TemplateRefusal, render_texts
from encore_jax.text.rendering import render_noting, whole

Cut = Literal["drop", "left", "right"]


class Convention(NamedTuple):
    """One way from a conversation to a reward.

    Attributes:
      pooling: "last"; "hf" (rightmost token that is not padding, by id); "first_pad" (the token before the first
        padding token, by id, as transformers had it before 2024 and ArmoRM's own model code has it still).
      twice: the template's text goes through the tokenizer again, which may add a second BOS.
      cut: what happens to a sequence that is too long.
      longest: in tokens; 0 means as long as the model's rows.
      dtype: of the computation, and of the reward; "" means the model's, with a float32 head.
    """

    pooling: str
    twice: bool = False
    cut: Cut = "drop"
    longest: int = 0
    dtype: str = ""


PEERS: Mapping[str, Convention] = {
    "rewardbench": Convention("hf", twice=True, cut="left", longest=2048, dtype="bfloat16"),
    "hf": Convention("hf", dtype=""),
    "armorm": Convention("first_pad", cut="right", longest=4096, dtype="bfloat16"),
}
"""RewardBench's own scripts (a text-classification pipeline on the rendered template), transformers'
...ForSequenceClassification on the template's ids, and ArmoRM's."""


TOO_LONG = "dropped as too long"
"""Begins the note about a conversation with too many tokens; other notes of a dropped one begin "dropped:"."""
HIDDEN = "hidden"
"""Begins the note about a conversation of which the chat template does not print every message."""


class Laid(NamedTuple):
    """Tokens up to the one that is pooled, and in what way they are not just the template's up to the last.

    `tokens` is None where the convention drops the conversation.
    """

    tokens: np.ndarray | None
    notes: tuple[str, ...]


def lay(
    tokenizer, convention: Convention, prompt: Sequence[Message], response: str, longest: int, pad_id: int | None
) -> Laid:
    """One conversation by a convention.

    Args:
      tokenizer: with a chat template.
      convention: the way.
      prompt, response: the conversation.
      longest: tokens that fit the model's rows.
      pad_id: the padding token, if any.
    """
    try:
        [(tokens, missing)] = render_noting(tokenizer, [whole(prompt, response)], generation=False)
    except TemplateRefusal as error:
        return Laid(None, (f"dropped: {error.problem}",))
    plain, notes = tokens, [f"{HIDDEN}: {missing}"] if missing else []
    if convention.twice:
        [text] = render_texts(tokenizer, [whole(prompt, response)], generation=False)
        tokens = tokenizer(text)["input_ids"]
        if tokens != plain:
            bos = tokenizer.bos_token_id
            doubled = bos is not None and list(tokens[:2]) == [bos, bos]
            notes.append("BOS stands twice" if doubled else "the template's text is tokenised otherwise than its ids")
    limit = min(convention.longest or longest, longest)
    if len(tokens) > limit:
        if convention.cut == "drop":
            return Laid(None, (f"{TOO_LONG}: {len(tokens)} tokens, more than {limit}",))
        notes.append(f"cut from {len(tokens)} to {limit} tokens on the {convention.cut}")
        tokens = tokens[-limit:] if convention.cut == "left" else tokens[:limit]
    end = _pooled(tokens, convention.pooling, pad_id)
    if end != len(tokens) - 1:
        notes.append(f"pooled at token {end + 1} of {len(tokens)}: the padding token occurs in the text")
    return Laid(np.asarray(tokens[: end + 1], np.int32), tuple(notes))


def _pooled(tokens: Sequence[int], pooling: str, pad_id: int | None) -> int:
    if pooling != "first_pad":
        return pool_index(tokens, pooling, pad_id)
    padding = np.flatnonzero(np.asarray(tokens) == pad_id) if pad_id is not None else ()
    return int(padding[0]) - 1 if len(padding) and padding[0] else len(tokens) - 1


class Difference(NamedTuple):
    """One comparison on which two ways of scoring differ.

    Attributes:
      id, subset: of the comparison.
      ours, theirs: rewards of its responses; None where it was dropped.
      credit: ours and theirs; None where it was dropped.
      because: reasons.
    """

    id: str
    subset: str
    ours: list[float] | None
    theirs: list[float] | None
    credit: tuple[float | None, float | None]
    because: list[str]


def why_different(
    comparisons: Sequence[Comparison],
    rewards: tuple[Sequence[np.ndarray | None], Sequence[np.ndarray | None]],
    credit: tuple[np.ndarray, np.ndarray],
    notes: tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]],
    dtypes: tuple[str, str],
) -> list[Difference]:
    """The comparisons that get another credit, or that one of the two drops, with the reasons.

    Args:
      comparisons: N of them.
      rewards: ours and theirs, N arrays ``[n]`` each, None where dropped.
      credit: ours and theirs ``[N]``, NaN where dropped.
      notes: ours and theirs: of every comparison what `lay` noted, each prefixed by which response it is.
      dtypes: ours and theirs.
    """
    if len({len(part) for pair in (rewards, credit, notes) for part in pair} | {len(comparisons)}) != 1:
        raise InputError("lists of different lengths", where="why_different", fix="score the same comparisons twice")
    found = []
    for i, comparison in enumerate(comparisons):
        mine, theirs = rewards[0][i], rewards[1][i]
        before, after = credit[0][i], credit[1][i]
        if before == after or (np.isnan(before) and np.isnan(after)):
            continue
        because = [f"theirs: {note}" for note in notes[1][i]] + [f"ours: {note}" for note in notes[0][i]]
        if theirs is not None and len(np.unique(theirs)) < len(theirs) and mine is not None:
            if len(np.unique(mine)) > len(np.unique(theirs)):
                because.append(f"equal rewards in {dtypes[1]}, which ours tells apart; a tie is not right")
        if not because:
            because.append(f"rounding: {dtypes[0]} and {dtypes[1]} order responses of almost equal reward differently")
        found.append(
            Difference(
                comparison.id,
                comparison.subset,
                None if mine is None else np.asarray(mine, float).tolist(),
                None if theirs is None else np.asarray(theirs, float).tolist(),
                tuple(None if np.isnan(value) else float(value) for value in (before, after)),
                because,
            )
        )
    return found
