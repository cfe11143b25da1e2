"""The rows of a scored file: what a model says of every response of every item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from encore_jax.cli.score_repeats import Repeats
from encore_jax.cli.score_rows import Item
from encore_jax.composition.rule_graph import NOBODY
from encore_jax.composition.ties import first_place
from encore_jax.reward.scorer import Scorer


def score_items(
    scorer: Scorer,
    items: Sequence[Item],
    sequences: Sequence[np.ndarray | None],
    refused: Mapping[int, str] = {},
    hidden: Mapping[int, str] = {},
    repeats: Repeats | None = None,
    label: str = "",
) -> pa.Table:
    """One row per item; `encore_jax.cli.score` says what is in it.

    Args:
      scorer: the model.
      items: with n responses each.
      sequences: token ids of all responses, one item after the other.
      refused: why a response has none, by its place among `sequences`.
      hidden: what the chat template does not print of a conversation, by the response's place.
      repeats: texts that other chunks hold too.
      label: of progress, which is shown if there is one.
    """
    repeats = Repeats() if repeats is None else repeats
    values = values_of(scorer, items, sequences, repeats.known(items), label)
    repeats.keep(items, values)
    return table_of(scorer, items, values, lengths_of(sequences), refused, hidden)


def table_of(
    scorer: Scorer,
    items: Sequence[Item],
    values: np.ndarray,
    lengths: np.ndarray,
    refused: Mapping[int, str],
    hidden: Mapping[int, str],
) -> pa.Table:
    """The rows of items whose N responses have these values ``[N, C]`` and lengths ``[N]`` in tokens."""
    counts = [len(item.responses) for item in items]
    scored = scorer.scored(values)
    why, lost = (np.array([of.get(i, "") for i in range(len(lengths))], object) for of in (refused, hidden))
    rules = scorer.model.rules
    found = scorer.intervals
    schema = schema_of(rules, scorer.model.gate is not None, scorer.graph is not None, found is not None)
    columns: dict[str, list] = {name: [] for name in schema.names}
    splits = np.cumsum(counts)[:-1]
    vetoed = np.full(len(lengths), NOBODY) if scorer.graph is None else scored.decision.decided_by
    each = scored.rewards, scored.tolerances, scored.scores, scored.weights, lengths, why, lost, vetoed
    parts = (np.split(values, splits) for values in each)
    if found is not None:
        ends = zip(
            ("lower", "upper"), found.of_rewards(scored.rewards)[1:], found.of_scores(scored.scores)[1:], strict=True
        )
        for end, of_rewards, of_scores in ends:
            columns[end] = [_nullable(part) for part in np.split(of_rewards, splits)]
            for k, rule in enumerate(rules):
                columns[f"{end}:{rule}"] = [_nullable(part) for part in np.split(of_scores[:, k], splits)]
    for item, reward, slack, score, weight, length, problem, missing, by in zip(items, *parts, strict=True):
        long, no_ids = np.flatnonzero(length > scorer.longest), np.flatnonzero(length < 0)
        columns["id"].append(item.id)
        columns["rewards"].append(_nullable(reward))
        unscored = long.size or no_ids.size or item.problem
        places = None if unscored else first_place(reward, slack).tolist()
        columns["best"].append(places and places[0])
        columns["first_place"].append(places)
        columns["preferred"].append(item.preferred)
        for k, rule in enumerate(rules):
            columns[f"score:{rule}"].append(_nullable(score[:, k]))
            if scorer.model.gate is not None:
                columns[f"weight:{rule}"].append(_nullable(weight[:, k]))
        if scorer.graph is not None:
            columns["vetoed_by"].append([None if k == NOBODY else rules[k] for k in by.tolist()])
        columns["tokens"].append([None if n < 0 else n for n in length.tolist()])
        refusals = (f"response {i}: {problem[i]}" for i in no_ids[:5])
        reasons = item.problem, _too_long(long, length, scorer.longest), *refusals
        columns["reason"].append("; ".join(filter(None, reasons)) or None)
        said = [f"response {i}: {text}" for i, text in enumerate(missing) if text]
        columns["hidden"].append("; ".join(said[:5]) or None)
    return pa.table(columns, schema)


def lengths_of(sequences: Sequence[np.ndarray | None]) -> np.ndarray:
    """Tokens of every sequence, -1 where there is none."""
    return np.array([-1 if sequence is None else len(sequence) for sequence in sequences], int)


def values_of(
    scorer: Scorer,
    items: Sequence[Item],
    sequences: Sequence[np.ndarray | None],
    known: Mapping[int, np.ndarray] = {},
    label: str = "",
) -> np.ndarray:
    """Values ``[N, C]`` of the items' N responses; those that are `known`, by their number, stay so."""
    owner = np.repeat(np.arange(len(items)), [len(item.responses) for item in items])
    values = np.full((len(sequences), scorer.columns), np.nan, np.float32)
    for i, row in known.items():
        values[i] = row
    new = [i for i in range(len(sequences)) if i not in known]
    values[new] = scorer.run_sequences([sequences[i] for i in new], [str(owner[i]) for i in new], label)
    return values


def schema_of(rules: Sequence[str], gated: bool, graph: bool = False, intervals: bool = False) -> pa.Schema:
    """Columns of a scored file: of every rule its scores, and of a gated model its weights as well.

    Under a rule graph also which rule's veto set each reward. With intervals the ends of the rewards' and of every
    rule's.
    """
    ends = [f"{end}{of}" for of in ("", *(f":{rule}" for rule in rules)) for end in ("lower", "upper")]
    numbers = pa.list_(pa.float32())
    return pa.schema([
        ("id", pa.string()), ("rewards", numbers), ("best", pa.int32()),
        ("first_place", pa.list_(pa.int32())), ("preferred", pa.int32()),
        *((f"{kind}:{rule}", numbers) for kind in kinds_of(gated) for rule in rules),
        *((name, numbers) for name in (ends if intervals else ())),
        *((("vetoed_by", pa.list_(pa.string())),) if graph else ()),
        ("tokens", pa.list_(pa.int32())), ("reason", pa.string()), ("hidden", pa.string()),
    ])  # fmt: skip


def kinds_of(gated: bool) -> tuple[str, ...]:
    """What a scored file says of every rule: columns "KIND:RULE"."""
    return ("score", "weight") if gated else ("score",)


def _nullable(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _too_long(long: np.ndarray, length: np.ndarray, longest: int) -> str:
    if not long.size:
        return ""
    each = ", ".join(f"response {i}: {length[i]}" for i in long[:5])
    return f"{long.size} of {len(length)} responses have more than {longest} tokens ({each})"
