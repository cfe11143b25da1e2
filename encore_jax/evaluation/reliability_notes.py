"""What is odd about a pool's ratings, in sentences: rules that never vary, are hardly rated, or move little."""

from __future__ import annotations

import numpy as np

from encore_jax.evaluation.reliability import Reliability
from encore_jax.evaluation.rule_reliability import ENOUGH_LABELS
from encore_jax.formats import percent, printable

MOST_NAMES = 6
"""Rules that a sentence names before the rest is counted."""
SINGLE = (
    "These are ratings of single responses. How often a rule prefers the better of two responses to one prompt, they "
    "do not say; and if some prompts are harder than others, rules agree about that, too, and the loadings are too "
    "high. Rate two responses of each prompt to know. Ties: how often two of the responses are rated alike."
)
"""What cannot be said without pairs."""


def notes(found: Reliability) -> list[str]:
    """What is odd about these ratings, and what can still be done, a sentence or two each."""
    lines = [SINGLE] if found.single else []
    constant = [line.rule for line in found.rules if line.levels == 1]
    if constant:
        lines.append(
            f"Never varies, prefers nothing, and gets most of ENCORE's weight because its entropy is 0: "
            f"{named(constant)}. Drop such rules."
        )
    unrated = [line.rule for line in found.rules if line.n == 0]
    if unrated:
        lines.append(f"Never rates both responses: {named(unrated)}. Rate more, or drop such rules.")
    thin = [line.rule for line in found.rules if line.levels > 1 and line.n > 0 and not np.isfinite(line.loading)]
    if thin:
        lines.append(
            f"Too rarely rated beside others for a loading: {named(thin)}. They get no agreement weight; rate more, or "
            "weigh equally."
        )
    if idle := hardly_moving(found):
        k = idle[0]
        weight, share = (percent(float(part[k])) for part in (found.weights["agreement"], found.shares("agreement")))
        lines.append(
            f"Much weight that moves little: {named([found.rules[k].rule for k in idle])} ({weight} % of the agreement "
            f"weights, {share} % of the reward). Weights are for scores as they are, and these hardly vary: of a "
            "trained head, a sign that it has learnt nothing. Drop such rules, or train them on more ratings."
        )
    if found.prompts < len(found.rules):
        lines.append(
            f"{found.prompts} prompts for {len(found.rules)} rules: intervals over so few prompts are rough. Rate more "
            "prompts before trusting small differences between loadings."
        )
    if any(line.labels and abs(line.accuracy - line.half) > 1e-9 for line in found.rules):
        lines.append(
            f"With fewer than {ENOUGH_LABELS} labels the accuracy also rests on the loading: it is not the share of "
            "labels that a rule gets right."
        )
    levels = {line.levels for line in found.rules if line.levels > 1}
    if len(levels) > 1 and max(levels) > 2 * min(levels):
        lines.append(
            f"The rules use {min(levels)} to {max(levels)} levels; fewer levels mean lower entropy and more ties, "
            "whatever a rule is worth."
        )
    return lines


def hardly_moving(found: Reliability) -> list[int]:
    """Rules with twice an equal share of the agreement weights or more, of which less than a third is in the reward."""
    if "agreement" not in found.weights:
        return []
    weights, shares = found.weights["agreement"], found.shares("agreement")
    return [k for k in np.argsort(-weights).tolist() if weights[k] > max(2 / len(weights), 3 * shares[k])]


def named(names: list[str]) -> str:
    """Some names, and how many more.

    >>> named(["a", "b"])
    'a, b'
    """
    shown = ", ".join(printable(name) for name in names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"
