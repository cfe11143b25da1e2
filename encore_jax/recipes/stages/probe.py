"""The over-refusal probe through a run's model: scored where the model is, kept beside what it was trained to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import logging

from encore_jax.composition import Margin
from encore_jax.data.probes import over_refusal_probe, probe_digest
from encore_jax.evaluation.over_refusal import over_refusal
from encore_jax.reward.sequences import Text, token_sequences

FILE = "probe.npz"
"""Beside a model's other scores."""
MARGINS = "probe-margins.npz"
"""Beside those of several models without rules."""


def probe_texts() -> list[Text]:
    """The probe's texts, pair by pair, the preferred response first."""
    return [(c.prompt, c.responses[i]) for c in over_refusal_probe() for i in (c.preferred, 1 - c.preferred)]


def probe_sequences(tokenizer, pooling: str) -> list[np.ndarray | None]:
    """Their token ids; None where the chat template refuses one."""
    return token_sequences(tokenizer, probe_texts(), pooling, tokenizer.pad_token_id, {}, {})


def save_probe(folder: Path, scores: np.ndarray) -> None:
    """Keeps scores ``[2 P, K]`` of the probe's texts, NaN where a text could not be scored."""
    left_out = int((~np.isfinite(scores).all(1)).sum())
    logging.info("over-refusal probe: %d texts scored, %d too long or refused", len(scores) - left_out, left_out)
    np.savez(folder / FILE, scores=scores.astype(np.float32), digest=np.array(probe_digest(over_refusal_probe())))


def load_probe(folder: Path) -> np.ndarray | None:
    """Scores ``[2 P, K]`` that `save_probe` kept; None where this wording of the probe was not scored."""
    if not (folder / FILE).is_file():
        return None
    with np.load(folder / FILE) as stored:
        return stored["scores"] if str(stored["digest"]) == probe_digest(over_refusal_probe()) else None


def save_margins(folder: Path, margins: Mapping[str, np.ndarray]) -> None:
    """Keeps margins ``[P]`` of several models, preferred minus other, NaN where a pair could not be scored."""
    np.savez(folder / MARGINS, digest=np.array(probe_digest(over_refusal_probe())), **margins)


def load_margins(folder: Path) -> dict[str, np.ndarray] | None:
    """What `save_margins` kept; None where this wording of the probe was not scored."""
    if not (folder / MARGINS).is_file():
        return None
    with np.load(folder / MARGINS) as stored:
        kept = dict(stored)
    return kept if str(kept.pop("digest")) == probe_digest(over_refusal_probe()) else None


NOT_SCORED = {"not_scored": "this run's training stage is of an older version: --rerun=train scores the probe"}


def probe_results(
    scores: np.ndarray | None,
    rules: Sequence[str],
    margins_of: Callable[[np.ndarray], dict[str, Margin]],
    composed: str,
    seed: int,
) -> dict:
    """What a report says of the probe.

    Args:
      scores: ``[2 P, K]`` of its texts, pair by pair, the preferred response first; None where it was not scored.
      rules: names of the K scores.
      margins_of: from scores ``[P, 2, K]``, 0 where there is none, the margins ``[P]`` of every method.
      composed: the method that composes the reward.
      seed: of random weightings.
    """
    if scores is None:
        return NOT_SCORED
    pairs = scores.reshape(-1, 2, scores.shape[1])
    return over_refusal(over_refusal_probe(), pairs, rules, margins_of(np.nan_to_num(pairs)), composed, seed)
