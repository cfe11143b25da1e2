"""What a finished adapter run predicts, read by the runs that come after it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from absl import logging

from encore_jax.composition import top_rules
from encore_jax.data import Comparison, prompt_key
from encore_jax.data.comparison import Message
from encore_jax.data.npz import read_npz
from encore_jax.errors import InputError
from encore_jax.json_shape import check_shape, read_json
from encore_jax.recipes.manifest import file_sha256
from encore_jax.recipes.stages.presented import Presented, pair_text
from encore_jax.rules import Rule, RulePool

PREDICTIONS, SAID = "predictions.npz", "adapter.json"


class _Passport(TypedDict):
    pool_sha256: str


class _Said(TypedDict):
    passport: _Passport


def read_predictions(source: Path, pool: RulePool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the run says of itself, and its arrays: the fields of `Predictions`, and `digests` of its comparisons.

    Args:
      source: the run's work directory, or the folder of its adapter stage.

    Raises:
      InputError: there are no predictions, they are damaged, or of another rule pool.
    """
    at, fix = adapter_folder(source), "name a finished adapter run's folder"
    said = read_json(at / SAID, dict[str, Any], fix=fix)
    known = check_shape(said, _Said, where=str(at / SAID), fix=fix)["passport"]["pool_sha256"]
    if known != pool.digest:
        raise InputError(
            f"the adapter was trained on another rule pool ({known[:12]}..., not {pool.digest[:12]}...)",
            where=str(at / SAID),
            fix="use the adapter's pool, or train an adapter on this one",
        )
    stored = read_npz(at / PREDICTIONS)
    n, k = stored.get("digests", np.zeros(0)).size, len(pool)
    shapes = {"digests": ("U", (n,)), "probability": ("f", (2, n, k)), "trained": ("b", (n,)),
              "critical": ("b", (n, k)), "train_share": ("f", (k,))}  # fmt: skip
    for name, (kind, shape) in shapes.items():
        array = stored.get(name)
        if array is None or (array.dtype.kind, array.shape) != (kind, shape):
            problem = f"has no array {name!r} of shape {list(shape)} and NumPy's kind {kind!r}"
            raise InputError(problem, where=str(at / PREDICTIONS), fix=fix)
    return said, {name: stored[name] for name in shapes}


def adapter_folder(source: Path) -> Path:
    """Where a run keeps what its adapter stage wrote."""
    return source / "adapter" if (source / "adapter").is_dir() else source


def prediction_hashes(source: Path) -> dict[str, str]:
    """Hashes of the files that `read_predictions` reads, of those that are there."""
    at = adapter_folder(source)
    return {name: file_sha256(at / name) for name in (PREDICTIONS, SAID) if (at / name).is_file()}


def predicted_rules(source: Path, comparisons: Sequence[Comparison], pool: RulePool, r: int) -> list[tuple[Rule, ...]]:
    """For every comparison the r rules that the adapter finds most likely to be critical.

    None for a comparison that is too long for the adapter, or that the adapter was trained on: nobody needs to rate it.

    Raises:
      InputError: no predictions, of another pool, not of one of the comparisons, or of fewer than r rules.
    """
    if r > len(pool):
        raise InputError(
            f"{r} of {len(pool)} rules", where="config.judge.most_rules", fix=f"choose at most {len(pool)}"
        )
    _, stored = read_predictions(source, pool)
    number = {digest: i for i, digest in enumerate(stored["digests"].tolist())}
    rows = np.array([_row(comparison, n, number) for n, comparison in enumerate(comparisons)], np.int64)
    probability, trained = stored["probability"].mean(0)[rows], stored["trained"][rows]
    short = np.isfinite(probability).all(1)
    chosen = np.asarray(top_rules(np.where(short[:, None], probability, 0), r))
    wanted = short & ~trained
    logging.info(
        "%d predicted rules for each of %d comparisons; %d are too long, and the adapter was trained on %d others",
        r, wanted.sum(), (~short).sum(), trained.sum(),
    )  # fmt: skip
    return [tuple(pool.rules[k] for k in row) if ok else () for row, ok in zip(chosen.tolist(), wanted, strict=True)]


def _row(comparison: Comparison, number: int, rows: dict[str, int]) -> int:
    where = f"comparison {comparison.id or number}"
    if len(comparison.responses) != 2:
        raise InputError(f"has {len(comparison.responses)} responses", where=where, fix="an adapter reads two")
    a, b = comparison.responses  # either may have been A
    for text in (pair_text(a, b), pair_text(b, a)):
        if (row := rows.get(_digest(comparison.prompt, text))) is not None:
            return row
    raise InputError("the adapter run did not predict for it", where=where, fix="run the adapter with it among its own")


def comparison_digests(shown: Presented) -> np.ndarray:
    """Names the comparisons in this order, A and B included, so that predictions cannot be put to others."""
    return np.array([_digest(prompt, text) for prompt, text in shown.pair_texts[::2]])


def _digest(prompt: Sequence[Message], pair: str) -> str:
    return hashlib.sha256(f"{prompt_key(prompt)}\0{pair}".encode()).hexdigest()[:16]
