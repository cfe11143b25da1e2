"""Which of a joint run's models an export holds, and which of that model's heads are its reward.

A joint run trains up to three models for each domain (its arms), each with K rule heads and a preference head. An
export holds the heads that the arm's loss has reached, and no others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encore_jax.cli.joint_choice import RULES, Choice
from encore_jax.composition.settings import ENCORE
from encore_jax.errors import InputError
from encore_jax.evaluation.joint import METHODS, PREFERENCE_HEAD
from encore_jax.model.heads import PREFERENCE
from encore_jax.recipes.joint_config import JointConfig
from encore_jax.recipes.stages.joint import JointModels
from encore_jax.recipes.stages.joint_results import rule_weights
from encore_jax.reward.passport import Passport

HEADS = {PREFERENCE: PREFERENCE_HEAD, RULES: ENCORE}
"""What `--head` may say (`HEAD_NAMES`), and the reward of the run's tables that it is."""


class Part(NamedTuple):
    """Some heads of a model that was trained with more, and what the passport says of them.

    Attributes:
      heads: int ``[K']``, which of the trained heads.
      fields: of the passport.
    """

    heads: np.ndarray
    fields: Mapping[str, Any]

    def of(self, kernel: np.ndarray, bias: np.ndarray, passport: Passport) -> tuple[np.ndarray, np.ndarray, Passport]:
        """Kernel ``[D, K']``, bias ``[K']`` and passport of these heads."""
        return kernel[:, self.heads], bias[self.heads], dataclasses.replace(passport, **self.fields)


class JointPart(NamedTuple):
    """The model that was chosen.

    Attributes:
      name: of the model; its checkpoints have it too.
      step: of the checkpoint that is used.
      passport, kernel, bias: of all its heads.
      part: the heads that are exported.
      results: what the run found of its reward, in words.
      texts: what it was trained on, in words.
    """

    name: str
    step: int
    passport: Passport
    kernel: np.ndarray
    bias: np.ndarray
    part: Part
    results: str
    texts: str


def chosen_part(config: JointConfig, workdir: Path, results: Mapping[str, Any], choice: Choice) -> JointPart:
    """The model of a finished joint run that a choice names.

    Args:
      config, workdir: the run.
      results: its results.json.
      choice: arm, domain and head.

    Raises:
      InputError: the run has no such model, several that fit, or the arm's loss has not reached the head.
    """
    models = JointModels.load(workdir / "train")
    cell = _cell(models.cells, choice, str(workdir))
    head = _head(cell["arm"], choice.head)
    passport = Passport.from_dict(models.passport, str(workdir / "train"))
    kernel, bias = models.heads[cell["name"]]
    summary = models.counts["training"][cell["trained_on"]]
    part = _part(cell, head, models, config, passport)
    method = HEADS[head]
    rows = [
        row for row in results["accuracy"]
        if (row["arm"], row["trained_on"], row["method"]) == (cell["arm"], cell["trained_on"], method)
    ]  # fmt: skip
    return JointPart(
        cell["name"], summary[cell["arm"]]["used_step"], passport, kernel, bias, part, _results(rows, method),
        _texts(cell, summary, config),
    )  # fmt: skip


def _cell(cells: Sequence[Mapping[str, str]], choice: Choice, where: str) -> Mapping[str, str]:
    """The one model of an arm and a domain."""
    arms = list(dict.fromkeys(cell["arm"] for cell in cells))
    domains = list(dict.fromkeys(cell["trained_on"] for cell in cells))
    arm = choice.arm or ("joint" if "joint" in arms else arms[0] if len(arms) == 1 else "")
    domain = choice.trained_on or (domains[0] if len(domains) == 1 else "")
    for flag, value, known in (("--arm", arm, arms), ("--trained-on", domain, domains)):
        if not value:
            raise InputError(f"the run has {len(known)} models that fit", where=where,
                             fix=f"say {flag}=, one of {', '.join(known)}")  # fmt: skip
        if value not in known:
            raise InputError(f"no model of the run is of {flag}={value}", where=where,
                             fix=f"use {flag}= with one of {', '.join(known)}")  # fmt: skip
    [cell] = [cell for cell in cells if (cell["arm"], cell["trained_on"]) == (arm, domain)]
    return cell


def _head(arm: str, head: str) -> str:
    """The head that was asked for, or the usual one of an arm."""
    trained = [name for name, method in HEADS.items() if method in METHODS[arm]]
    if head and head not in trained:
        names = {PREFERENCE: "preference head", RULES: "rule heads"}
        problem = f"the loss of arm {arm!r} trains no {names[head]}"
        raise InputError(problem, where=f"--head={head}", fix=f"say --head={trained[0]}, or --arm=joint")
    return head or trained[0]


def _part(cell: Mapping[str, str], head: str, models: JointModels, config: JointConfig, passport: Passport) -> Part:
    """Which heads are exported, and how they compose: of a rule reward the rule heads, else every head that learnt."""
    count = len(passport.rules)
    if head == RULES:
        rules, domain = passport.rules[:-1], cell["trained_on"]
        entropy, weights = rule_weights(
            models.trained_ratings[domain], models.trained_rated[domain], rules, config.compose
        )
        fields = {"rules": rules, "entropy": _plain(entropy), "weights": _plain(weights[ENCORE]), "weighting": ENCORE}
        return Part(np.arange(count - 1), fields)
    heads = np.arange(count) if cell["arm"] == "joint" else np.array([count - 1])
    rules = tuple(passport.rules[i] for i in heads)
    weights = tuple(float(rule == PREFERENCE) for rule in rules)
    return Part(heads, {"rules": rules, "weights": weights, "weighting": PREFERENCE if len(heads) > 1 else ""})


def _plain(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _results(rows: Sequence[Mapping[str, Any]], method: str) -> str:
    """Accuracy of the exported reward wherever the run judged it."""
    told = []
    for row in rows:
        value, inside = row["accuracy"], row["trained_on"] in (row["tested_on"], "all")
        where = row["tested_on"] if inside else f"{row['tested_on']}, which it was not trained on"
        numbers = f"{value['value']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
        told.append(f"- {numbers} on {row['n']} held-out comparisons of {where}")
    return "\n".join([f"Accuracy of its reward ({method}), 95 % intervals over prompts:", "", *told])


def _texts(cell: Mapping[str, str], summary: Mapping[str, Any], config: JointConfig) -> str:
    weight = f" with λ = {config.train.rating_weight:g}" if cell["arm"] == "joint" else ""
    return (
        f"Arm `{cell['arm']}`{weight}, trained on {cell['trained_on']}: "
        f"{summary['comparisons_with_ratings']} comparisons with ratings, {summary['comparisons_without_ratings']} "
        f"without, {summary['rated_responses_without_preference']} rated responses without a preference."
    )
