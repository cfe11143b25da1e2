"""A reward model's scores of comparisons, by its own convention or by another software's.

Shape letters: T responses, one comparison's after the other's; K rules; D width.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.composition.ties import settled
from encore_jax.data import Comparison
from encore_jax.data.distinct import on_distinct_rows
from encore_jax.data.npz import read_npz
from encore_jax.errors import InputError
from encore_jax.evaluation.conventions import Convention, Laid, lay
from encore_jax.model.gating import gate_weights
from encore_jax.progress import track
from encore_jax.reward.gate_position import gate_position, generation_prompt
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scored import Scored, compiled_graph
from encore_jax.train.features import extract_features


class ConventionScores(NamedTuple):
    """Every response scored by one convention.

    Attributes:
      scores: ``[T, K]``; NaN where the convention drops the conversation.
      rewards: ``[T]``, composed.
      tolerances: ``[T]``, by how much rounding may have moved each reward.
      notes: on each response's tokens, see `encore_jax.evaluation.conventions.Laid`.
      dtype: the compute type.
    """

    scores: np.ndarray
    rewards: np.ndarray
    tolerances: np.ndarray
    notes: Sequence[Sequence[str]]
    dtype: str

    def save(self, path: Path) -> None:
        """Writes a .npz file."""
        notes = np.array([json.dumps(list(of)) for of in self.notes], dtype=str)
        np.savez(path, **self._replace(notes=notes, dtype=np.array(self.dtype))._asdict())

    @classmethod
    def load(cls, path: Path) -> ConventionScores:
        """What `save` wrote."""
        arrays = read_npz(path)
        notes = [json.loads(str(of)) for of in arrays["notes"]]
        return cls(**arrays | {"notes": notes, "dtype": str(arrays["dtype"])})

    def by_comparison(self, comparisons: Sequence[Comparison]) -> tuple[list[np.ndarray | None], list[list[str]]]:
        """Rewards of each comparison's responses, None if one was dropped; and what is to be noted on them."""
        rewards, notes, start = [], [], 0
        for comparison in comparisons:
            rows = range(start, start + len(comparison.responses))
            values, slack = (array[rows.start : rows.stop] for array in (self.rewards, self.tolerances))
            rewards.append(None if np.isnan(values).any() else settled(values, slack))
            notes.append([f"response {n}: {note}" for n, i in enumerate(rows, 1) for note in self.notes[i]])
            start = rows.stop
        return rewards, notes

    def scored_whole(self, comparisons: Sequence[Comparison]) -> list[tuple[Comparison, dict[str, np.ndarray]]]:
        """The comparisons whose responses were all scored, with their scores, rewards and tolerances."""
        at = np.cumsum([len(c.responses) for c in comparisons])[:-1]
        names = ("scores", "rewards", "tolerances")
        parts = [np.split(getattr(self, name), at) for name in names]
        rows = [dict(zip(names, values, strict=True)) for values in zip(*parts, strict=True)]
        return [(c, row) for c, row in zip(comparisons, rows, strict=True) if np.isfinite(row["scores"]).all()]


def score_by_convention(
    model: RewardModel,
    way: Convention,
    comparisons: Sequence[Comparison],
    *,
    label: str = "scores",
    buckets: Sequence[int] = (),
    tokens_per_batch: int = 4096,
    cache: Path | None = None,
) -> ConventionScores:
    """Scores all responses.

    Args:
      model: rule heads on a backbone.
      way: how conversations become tokens, and in which type they are computed.
      comparisons: of any number of responses.
      label: what the progress is called.
      buckets: row lengths in tokens; the model's own by default.
      tokens_per_batch: tokens that go through the model at once.
      cache: a folder; batches that a killed run finished are kept in folders called LABEL in it. None keeps nothing.
    """
    buckets, dtype = tuple(buckets) or model.buckets, way.dtype or model.passport.dtype
    texts = [(c.prompt, response) for c in comparisons for response in c.responses]
    pad_id = model.tokenizer.pad_token_id
    laid = [lay(model.tokenizer, way, prompt, text, max(buckets), pad_id) for prompt, text in texts]
    pattern = () if model.gate is None else generation_prompt(model.tokenizer)
    if pattern:
        laid = [_with_answer(one, pattern) for one in laid]
    kept = [i for i, one in enumerate(laid) if one.tokens is not None]

    def features(sequences, name: str) -> np.ndarray:
        return extract_features(
            model.cfg, model.params, [texts[i] for i in kept], sequences, dtype=jnp.dtype(dtype), buckets=buckets,
            tokens_per_batch=tokens_per_batch, cache=None if cache is None else cache / f"batches-{name}",
            track=functools.partial(track, label=name, size=lambda batch: batch.tokens.size), mesh=model.mesh,
        )[0]  # fmt: skip

    scores = np.full((len(texts), len(model.rules)), np.nan, np.float32)
    found = features([laid[i].tokens for i in kept], label)
    scores[kept] = on_distinct_rows(lambda rows: rows @ model.kernel + model.bias, found)
    if pattern:
        asked = [laid[i].tokens[: gate_position(laid[i].tokens, pattern) + 1] for i in kept]
        weights, asked = np.zeros_like(scores), features(asked, f"{label}-gate")
        weights[kept] = on_distinct_rows(lambda rows: np.asarray(gate_weights(jnp.asarray(rows), model.gate)), asked)
    else:
        weights = np.broadcast_to(model.weights, scores.shape)
    scored = Scored(scores, weights, compiled_graph(model.passport))
    rewards, tolerances = scored.rewards, scored.tolerances
    if way.dtype:  # the peer's head and reward are of its compute type; its rounding is what ties
        rewards = np.asarray(jnp.asarray(rewards).astype(way.dtype).astype(jnp.float32))
        tolerances = np.zeros_like(rewards)
    logging.info("%s: %d of %d responses scored", label, len(kept), len(texts))
    return ConventionScores(scores, rewards, tolerances, [one.notes for one in laid], str(dtype))


def _with_answer(one: Laid, pattern: Sequence[int]) -> Laid:
    """The same, but dropped if the gate would find no answer in what a convention has left of it."""
    if one.tokens is not None:
        try:
            gate_position(one.tokens, pattern)
        except InputError as error:
            return Laid(None, (*one.notes, f"dropped: {error.problem}"))
    return one
