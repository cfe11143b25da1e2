"""Stage baselines: methods that are no weighting of the rules, fitted on the training comparisons.

ArmoRM's gate on the prompt's embedding, one Bradley-Terry head on the features, the backbone's own reward head where
it has one, and an LLM judge's verdicts where there is a file of them.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from absl import logging

from encore_jax.composition import margins
from encore_jax.data import locate
from encore_jax.data.distinct import on_distinct_rows
from encore_jax.evaluation.verdicts import verdict_rewards
from encore_jax.evaluation.view import Baseline
from encore_jax.progress import track
from encore_jax.recipes.baseline_config import BaselineConfig
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.manifest import file_sha256
from encore_jax.recipes.stages import extract, ingest, train
from encore_jax.recipes.stages.extract import Extracted
from encore_jax.recipes.stages.texts import compared_prompts, texts_of
from encore_jax.train.gating import GateSettings, balanced_scale, fit_gate, gate_weights
from encore_jax.train.preference_head import fit_preference_head

GATE, BALANCED = "ArmoRM gate", "ArmoRM gate, balanced"
HEAD, UNTOUCHED, JUDGE = "single Bradley-Terry head", "untouched backbone", "LLM-as-a-judge"


def verdicts_sha256(config: BaselineConfig) -> str:
    """Hash of the judge's verdicts; "" without any."""
    return file_sha256(locate(config.verdicts)) if config.verdicts else ""


def baselines(config: ExperimentConfig, ingested: Path, features: Path | None, trained: Path, folder: Path) -> None:
    """Writes baselines.npz, rewards ``[N, 2]`` of every comparison by every baseline, and counts.json.

    `features` is the folder of the stage that ran the frozen backbone; None where training changes the backbone.
    """
    _, _, comparisons = ingest.load(ingested)
    made: dict[str, Baseline] = {}
    counts: dict[str, object] = {}
    if features is not None:
        made, counts = _on_frozen_features(config, comparisons, ingested, extract.load(features), trained)
    else:
        counts["left_out"] = "baselines on frozen features, because the backbone is trained by gradient"
    if config.baselines.verdicts:
        rewards, counts["judge_verdicts"] = verdict_rewards(locate(config.baselines.verdicts), comparisons)
        made[JUDGE] = Baseline("text", rewards)
    logging.info("baselines: %s; %s", ", ".join(made) or "none", counts)
    np.savez(folder / "baselines.npz", **{f"{one.sees}.{name}": one.rewards for name, one in made.items()})
    (folder / "counts.json").write_text(json.dumps(counts, indent=1))


def load(folder: Path) -> dict[str, Baseline]:
    """What `baselines` wrote."""
    with np.load(folder / "baselines.npz") as stored:
        return {key.partition(".")[2]: Baseline(key.partition(".")[0], stored[key]) for key in stored}


def _on_frozen_features(config: ExperimentConfig, comparisons, ingested: Path, extracted: Extracted, trained: Path):
    texts, chosen = texts_of(config, ingested), config.baselines
    scores = train.load_scores(trained, "human")
    preferred = np.array([c.preferred for c in comparisons])
    compared, features = texts.compared, extracted.texts
    usable = np.isfinite(scores).all(1)[compared].all(1)
    fitted_on = usable & ~texts.test[compared[:, 0]]
    made, counts = {}, {"comparisons_fitted_on": int(fitted_on.sum())}
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
            weights, counts[name] = _gate(name, settings, extracted.prompts, prompt[fitted_on], delta, config.seed)
            made[name] = Baseline("train labels", np.einsum("nrk,nk->nr", scores[compared], weights[prompt]))
    if extracted.reward_head.shape[1] == 1:
        rewards = on_distinct_rows(lambda rows: rows @ extracted.reward_head, features)
        made[UNTOUCHED] = Baseline("nothing", rewards[:, 0][compared])
    return made, counts


def _gates(chosen: BaselineConfig, delta: np.ndarray) -> dict[str, GateSettings]:
    """The gates to fit, by name."""
    if not chosen.balanced_gate:
        return {GATE: chosen.gate}
    return {GATE: chosen.gate, BALANCED: dataclasses.replace(chosen.gate, scale=balanced_scale(delta))}


def _gate(name: str, settings: GateSettings, embedding: np.ndarray, prompt: np.ndarray, delta: np.ndarray, seed: int):
    """Weights ``[P, K]`` of every prompt by a gate fitted on comparisons of some of them, and what is told of it."""
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
