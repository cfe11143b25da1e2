"""Reliability as text: the recommendation first, then what a reader must know, then the rules."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from encore_jax.evaluation.recommendation import recommendation
from encore_jax.evaluation.reliability import Reliability
from encore_jax.formats import fixed, percent, printable
from encore_jax.report.text_tables import markdown

RULES_HEAD = ("rule", "n", "levels", "ties, %", "entropy", "loading")
WEIGHTS_HEAD = ("agreement: weight", "of the reward", "entropy: weight", "of the reward")
HEAD = RULES_HEAD + WEIGHTS_HEAD
LABELLED_HEAD = ("labels", "accuracy, %", "ties wrong", "decided")
MOST_NAMES = 6
SINGLE = (
    "These are ratings of single responses. How often a rule prefers the better of two responses to one prompt, they "
    "do not say; and if some prompts are harder than others, rules agree about that, too, and the loadings are too "
    "high. Rate two responses of each prompt to know. Ties: how often two of the responses are rated alike."
)
"""What cannot be said without pairs."""
FORETELLS = {
    "entropy": "r(entropy, accuracy), ties half",
    "entropy, decided": "r(entropy, accuracy), decided only",
    "entropy and tie rate": "r(entropy, tie rate)",
    "loading": "r(loading, accuracy)",
}


def has_labels(found: Reliability) -> bool:
    """Whether anybody chose anywhere."""
    return any(line.labels for line in found.rules)


def head(found: Reliability) -> tuple[str, ...]:
    """Of the table of rules."""
    return HEAD + (LABELLED_HEAD if has_labels(found) else ())


def cells(found: Reliability) -> Iterator[list[str]]:
    """A row for every rule."""
    shares = {name: found.shares(name) for name in found.weights}
    for k, line in enumerate(found.rules):
        loading = f"{fixed(line.loading, sign=True)} [{_pair(line.loading_low, line.loading_high)}]"
        weights = []
        for name in ("agreement", "entropy"):
            told = (found.weights[name][k], shares[name][k]) if name in found.weights else ()
            weights += [percent(float(value)) for value in told] or ["refused", ""]
        row = [printable(line.rule), str(line.n), str(line.levels), percent(line.tie_rate), fixed(line.entropy),
               loading if np.isfinite(line.loading) else "unknown", *weights]  # fmt: skip
        if has_labels(found):
            row += [
                str(line.labels), f"{percent(line.accuracy)} [{percent(line.low)}, {percent(line.high)}]",
                percent(line.wrong), percent(line.decided),
            ]  # fmt: skip
        yield row


def _pair(low: float, high: float) -> str:
    return f"{fixed(low, sign=True)}, {fixed(high, sign=True)}"


def foretelling(found: Reliability) -> list[list[str]]:
    """What goes with the rules' accuracy, where there are labels enough; "no ties" where ratings never tie."""
    tied = any(line.tie_rate > 0 for line in found.rules)
    return [
        [words, fixed(found.foretells[name], sign=True) if tied or name != "entropy and tie rate" else "no ties"]
        for name, words in FORETELLS.items()
        if name in found.foretells
    ]


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


def reliability_text(found: Reliability) -> str:
    """All of it as plain text (a Markdown table)."""
    lines = [printable(recommendation(found)), *notes(found), "", markdown(head(found), cells(found))]
    foretold = foretelling(found)
    if foretold:
        lines += ["", *(f"{words}: {value}" for words, value in foretold)]
    if len(found.label_next):
        what = "responses" if found.single else "comparisons"
        lines += ["", f"Label next: {what} {printable(', '.join(found.label_ids))}."]
    return "\n".join(lines)
