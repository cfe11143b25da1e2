"""Baselines: methods that are no weighting of the rules, fitted on the training comparisons.

ArmoRM's gate on the prompt's embedding, one Bradley-Terry head on the features, the backbone's own reward head where
it has one, and an LLM judge's verdicts where there is a file of them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.composition import margins
from encore_jax.data.distinct import on_distinct_rows
from encore_jax.evaluation.view import Baseline
from encore_jax.progress import track
from encore_jax.recipes.baseline_config import BaselineConfig
from encore_jax.recipes.outside import OneFile
from encore_jax.recipes.stages.extract import Extracted
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.texts import Split, compared_prompts, texts_of
from encore_jax.recipes.stages.train import TrainedHeads
from encore_jax.train.preference_head import fit_preference_head
from encore_jax.train.settings import GateSettings

GATE, BALANCED = "ArmoRM gate", "ArmoRM gate, balanced"
HEAD, UNTOUCHED, JUDGE = "single Bradley-Terry head", "untouched backbone", "LLM-as-a-judge"
FITTED_ON = "comparisons_fitted_on"


class Baselines(NamedTuple):
    """Methods beside those that weigh rules.

    Attributes:
      made: rewards ``[N, 2]`` of every comparison, by method.
      counts: what was fitted, chosen and left out.
    """

    made: dict[str, Baseline]
    counts: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Writes baselines.npz and counts.json."""
        np.savez(folder / "baselines.npz", **{f"{one.sees}.{name}": one.rewards for name, one in self.made.items()})
        (folder / "counts.json").write_text(json.dumps(self.counts, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Baselines:
        """What `save` wrote."""
        with np.load(folder / "baselines.npz") as stored:
            made = {key.partition(".")[2]: Baseline(key.partition(".")[0], stored[key]) for key in stored}
        return cls(made, json.loads((folder / "counts.json").read_text()))


def baselines(
    settings: BaselineConfig,
    verdicts: OneFile,
    data: Ingested,
    split: Split,
    features: Extracted | None,
    trained: TrainedHeads,
) -> Baselines:
    """Rewards of every comparison by every baseline.

    Args:
      settings: which, and how they are fitted.
      verdicts: of an LLM judge, if there are any.
      data: records.
      split: of the prompts.
      features: of the frozen backbone; None where training changes the backbone.
      trained: rule heads.
    """
    made: dict[str, Baseline] = {}
    counts: dict[str, object] = {}
    if features is not None:
        made, counts = _on_frozen_features(settings, data, split, features, trained.scores["human"])
    else:
        counts["left_out"] = "baselines on frozen features, because the backbone is trained by gradient"
    if verdicts.uri:
        from encore_jax.evaluation.verdicts import verdict_rewards

        rewards, counts["judge_verdicts"] = verdict_rewards(verdicts.path, data.comparisons)
        made[JUDGE] = Baseline("text", rewards)
    fitted_on = f", fitted on {counts[FITTED_ON]:,} comparisons" if FITTED_ON in counts else ""
    logging.info("baselines: %s%s", ", ".join(made) or "none", fitted_on)
    return Baselines(made, counts)


def _on_frozen_features(
    chosen: BaselineConfig, data: Ingested, split: Split, extracted: Extracted, scores: np.ndarray
) -> tuple[dict[str, Baseline], dict[str, Any]]:
    texts, comparisons = texts_of(data, split), data.comparisons
    preferred = np.array([c.preferred for c in comparisons])
    compared, features = texts.compared, extracted.texts
    usable = np.isfinite(scores).all(1)[compared].all(1)
    fitted_on = usable & ~texts.test[compared[:, 0]]
    made, counts = {}, {FITTED_ON: int(fitted_on.sum())}
    if chosen.penalties:
        better, worse = (compared[np.arange(len(compared)), side] for side in (preferred, 1 - preferred))
        difference = (features[better] - features[worse])[fitted_on]
        head, counts["head_penalty"] = fit_preference_head(
            difference, texts.fold[compared[fitted_on, 0]], chosen.penalties
        )
        rewards = on_distinct_rows(lambda rows: rows @ head, features)
        made[HEAD] = Baseline("train labels", rewards[compared].astype(np.float32))
    if chosen.gate.steps:
        _, prompt = compared_prompts(comparisons)
        delta = np.asarray(margins(np.nan_to_num(scores[compared]), preferred))[fitted_on]
        for name, settings in _gates(chosen, delta).items():
            weights, counts[name] = _gate(name, settings, extracted.prompts, prompt[fitted_on], delta, split.seed)
            made[name] = Baseline("train labels", np.einsum("nrk,nk->nr", scores[compared], weights[prompt]))
    if extracted.reward_head.shape[1] == 1:
        rewards = on_distinct_rows(lambda rows: rows @ extracted.reward_head, features)
        made[UNTOUCHED] = Baseline("nothing", rewards[:, 0][compared])
    return made, counts


def _gates(chosen: BaselineConfig, delta: np.ndarray) -> dict[str, GateSettings]:
    """The gates to fit, by name."""
    if not chosen.balanced_gate:
        return {GATE: chosen.gate}
    from encore_jax.train.gating import balanced_scale

    return {GATE: chosen.gate, BALANCED: dataclasses.replace(chosen.gate, scale=balanced_scale(delta))}


def _gate(name: str, settings: GateSettings, embedding: np.ndarray, prompt: np.ndarray, delta: np.ndarray, seed: int):
    """Weights ``[P, K]`` of every prompt by a gate fitted on comparisons of some of them, and what is told of it."""
    from encore_jax.train.gating import fit_gate, gate_weights

    seen = np.unique(prompt)
    gate, losses = fit_gate(
        embedding[seen], np.searchsorted(seen, prompt), delta, settings, seed, functools.partial(track, label=name)
    )
    weights = np.asarray(gate_weights(gate, jnp.asarray(embedding), settings.temperature))
    readable = np.isfinite(embedding).all(1)  # not the prompts that are too long, whose comparisons are left out
    share = weights[readable] / weights[readable].sum(1, keepdims=True)
    told = {"prompts left out as too long or refused": int((~readable).sum())} if not readable.all() else {}
    told |= {"scale at first": settings.scale, "scale at last": gate["scale"], "loss at first": losses[0]}
    told |= {"loss at last": losses[-1], "largest share of a rule (mean over prompts)": share.max(1).mean()}
    return weights, {what: round(float(value), 4) for what, value in told.items()}
