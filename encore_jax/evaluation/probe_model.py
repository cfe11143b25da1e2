"""The over-refusal probe through a reward model that stands in a folder or in memory."""

from __future__ import annotations

import numpy as np

from encore_jax.composition.ties import Margin
from encore_jax.data.comparison import prompt_key
from encore_jax.data.probes import over_refusal_probe
from encore_jax.errors import InputError
from encore_jax.evaluation.over_refusal import over_refusal
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scored import Scored

MODEL, EQUAL = "the model", "all rules, equal weights"
"""Names of the reward: the model's own, or one where nobody has said how its heads compose."""


def over_refusal_of(model: RewardModel, seed: int = 0) -> dict:
    """Accuracy on both halves of the probe: of the model's reward, and of every rule; see `over_refusal`.

    A model whose heads nobody has weighed is composed with equal weights, and the result says so. What is too long for
    the model, or refused by its template, is left out and counted.
    """
    probe, scorer = over_refusal_probe(), model.scorer
    texts = [(c.prompt, c.responses[i]) for c in probe for i in (c.preferred, 1 - c.preferred)]
    sequences = scorer.tokenize(texts, {})
    values = scorer.run_sequences(sequences, [prompt_key(prompt) for prompt, _ in texts], "over-refusal probe")
    try:
        name, scored = MODEL, scorer.scored(values)
    except InputError:
        scores = scorer.scores(values)
        name, scored = EQUAL, Scored(scores, np.full_like(scores, 1 / len(model.rules)))
    rewards, slack = (np.nan_to_num(part).reshape(-1, 2) for part in (scored.rewards, scored.tolerances))
    margin = Margin(rewards[:, 0] - rewards[:, 1], slack.sum(1))
    rules = model.rules if len(model.rules) > 1 else ()
    return over_refusal(probe, scored.scores.reshape(len(probe), 2, -1), rules, {name: margin}, name, seed)
