"""Reliability as text: the recommendation first, then what a reader must know, then the rules."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from encore_jax.evaluation.decision import about
from encore_jax.evaluation.recommendation import recommendation
from encore_jax.evaluation.reliability import Reliability
from encore_jax.evaluation.reliability_notes import notes
from encore_jax.formats import fixed, percent, printable
from encore_jax.report.label_next import label_lines, of_reliability
from encore_jax.report.text_tables import markdown

RULES_HEAD = ("rule", "n", "levels", "ties, %", "entropy", "loading")
WEIGHTS_HEAD = ("agreement: weight", "of the reward", "entropy: weight", "of the reward")
HEAD = RULES_HEAD + WEIGHTS_HEAD
LABELLED_HEAD = ("labels", "accuracy, %", "ties half", "ties wrong", "decided")
NARROW_HEAD = ("rule", "n", "ties, %", "entropy", "loading", "agreement, %", "entropy, %")
NARROW_LABELLED = ("accuracy, %",)
OF_PAIRS = "n: pairs of which the rule rates both responses. "
OF_SINGLE = "n: responses that the rule rates. "
LEGEND = (
    "Entropy: of its ratings as they are, in nats (a run's own page "
    "takes them on a grid). "
    "Loading: how far it follows what the rules have in common [95 %]. Agreement, % and entropy, %: its weight by each."
)
LABELLED_LEGEND = " Accuracy: right by the labels, a tie counts half [95 %]."
PROBABILITY = (
    "Probability of being right more often than equal weights: by a sign test, of the labelled pairs on which the two "
    "differ; 50 % says that they do equally well, or that too few labels tell."
)
FORETELLS = {
    "entropy": "r(entropy, accuracy), ties half",
    "entropy, decided": "r(entropy, accuracy), decided only",
    "entropy and tie rate": "r(entropy, tie rate)",
    "loading": "r(loading, accuracy)",
}


def what_n_counts(found: Reliability) -> str:
    """Of what the column n is the number."""
    return OF_SINGLE if found.single else OF_PAIRS


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
                percent(line.half), percent(line.wrong), percent(line.decided),
            ]  # fmt: skip
        yield row


def narrow(found: Reliability) -> tuple[tuple[str, ...], list[list[str]], str]:
    """Head, rows and legend of the table that a terminal shows; the page's has every column."""
    labelled, wide = has_labels(found), head(found)
    columns = [wide.index(name) for name in ("rule", "n", "ties, %", "entropy", "loading", *WEIGHTS_HEAD[::2])]
    columns += [wide.index("accuracy, %")] if labelled else []
    rows = [[row[k] for k in columns] for row in cells(found)]
    return (
        NARROW_HEAD + (NARROW_LABELLED if labelled else ()),
        rows,
        what_n_counts(found) + LEGEND + (LABELLED_LEGEND if labelled else ""),
    )


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


def what_to_use(found: Reliability, subject: str = "", how: str = "") -> str:
    """The recommendation; with what it is about, and the command that follows it, where these are known."""
    said = recommendation(found)
    return " ".join(filter(None, [about(subject, said) if subject else said, how]))


def reliability_text(found: Reliability, first: str = "") -> str:
    """All of it as plain text (a Markdown table); what is doubtful of a table's columns comes first.

    Args:
      found: what is known.
      first: the line on what to use, `what_to_use`; the recommendation alone if left out.
    """
    top, rows, legend = narrow(found)
    columns = map(printable, found.columns)
    lines = [*columns, printable(first or what_to_use(found)), *notes(found), "", markdown(top, rows), legend]
    if found.better_than_uniform:
        lines.append(PROBABILITY)
    foretold = foretelling(found)
    if foretold:
        lines += ["", *(f"{words}: {value}" for words, value in foretold)]
    if len(found.label_next):
        lines += ["", *label_lines(*of_reliability(found))]
    return "\n".join(lines)
