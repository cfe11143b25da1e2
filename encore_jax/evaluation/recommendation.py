"""What to do about a pool of rules, in sentences: which weighting to use, how sure that is, what would settle it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from encore_jax.composition.camps import LEAST_LOADING
from encore_jax.evaluation.decision import IN_WORDS
from encore_jax.evaluation.few_labels import CHOSEN

if TYPE_CHECKING:
    from encore_jax.evaluation.reliability import Reliability

MOST_NAMES = 6
"""Rules of a camp that are named before the rest is counted."""
FEWEST_FOR_POINTS = 20
"""Labels from which on a difference in points is said; of fewer, one label moves it by more than 5 points."""


def recommendation(found: Reliability, of: str = "") -> str:
    """Two to four sentences for the first lines of a report.

    Args:
      found: what is known.
      of: which comparisons were looked at, where others are held out: "training comparisons".
    """
    sentences = [_use(found), _wrong_by_labels(found), _what_is_shared(found), _labels(found, of), _next(found)]
    return " ".join(filter(None, sentences))


def _use(found: Reliability) -> str:
    if found.worse_than_chance:
        accuracy = found.accuracy[found.recommended]
        return (
            f"Use none of these weightings: by the labels {found.recommended} weights are right in "
            f"{100 * accuracy:.1f} % only, less than chance. Are the ratings turned round (higher must be better), or "
            "the labels?"
        )
    decision = found.decision
    if decision.why == "loadings unsure":
        unsure = f"{decision.unsure} of {decision.known} loadings"
        return f"Cannot tell; use equal weights: the intervals of {unsure} contain 0."
    return f"Use {IN_WORDS[decision.use]}."


def wrong_by_labels(found: Reliability) -> tuple[str, ...]:
    """Rules that prefer the worse response by the labels: the whole interval of their accuracy lies below one half."""
    if found.worse_than_chance:  # then that is said of all of them
        return ()
    return tuple(line.rule for line in found.rules if line.labels and line.high < 0.5)


def _wrong_by_labels(found: Reliability) -> str:
    wrong = wrong_by_labels(found)
    if not wrong:
        return ""
    turn, prefer = ("its direction", "it prefers") if len(wrong) == 1 else ("their directions", "they prefer")
    return (
        f"First leave {_named(wrong)} out, or turn {turn} round (direction -1 in the pool): by the labels {prefer} the "
        "worse response."
    )


def _what_is_shared(found: Reliability) -> str:
    common, names = found.common, [line.rule for line in found.rules]
    if common.verdict == "one common factor":
        if "agreement" not in found.weights:
            return (
                "The rules follow one common factor, as many of them one way round as the other, so nothing says which "
                "way is quality, and agreement weights are refused."
            )
        count = int((found.common.loading >= LEAST_LOADING).sum())
        against = [name for name, high in zip(names, common.high, strict=True) if high < 0]
        others = [
            name
            for name, value, high in zip(names, common.loading, common.high, strict=True)
            if not value >= LEAST_LOADING and not high < 0
        ]
        said = (
            f"{count} of {len(names)} rules follow one common factor{f' (not: {_named(others)})' if others else ''}, "
            f"and together they say as much as {common.effective_rules:.1f} independent rules; that the factor is "
            "quality, ratings alone cannot show."
        )
        against = [name for name in against if name not in wrong_by_labels(found)]
        if against:
            said += f" {_named(against)} run{'s' * (len(against) == 1)} against it: is the direction right?"
        return said
    if common.verdict == "the pool splits":
        camps = "; ".join(_named([names[k] for k in camp]) for camp in common.camps)
        said = f"The pool splits: these agree among themselves only: {camps}."
        if found.camp is None:
            return f"{said} Nothing says which of them is about quality, so agreement weights are refused."
        return f"{said} The weights follow {_named([names[k] for k in common.camps[found.camp]])}."
    return "The rules have too little in common to tell them apart by agreement."


def _labels(found: Reliability, of: str) -> str:
    labelled = max((line.labels for line in found.rules), default=0)
    if not labelled:
        return "There are no labels."
    plural = "s" * (labelled != 1)
    what = f"{labelled} pair{plural} of labelled responses" if found.single else f"{labelled} label{plural}"
    what += f" of {of}" if of else ""
    name = found.recommended
    if name == "uniform":
        likely = ", ".join(f"{_chance(p)} for {other} weights" for other, p in found.better_than_uniform.items())
        if not likely:
            return f"There {'is' if labelled == 1 else 'are'} {what}, and no other weights to judge by them."
        return f"{what}: given these, the probability of being right more often than equal weights is {likely}."
    if labelled < FEWEST_FOR_POINTS:
        chance = _chance(found.better_than_uniform[name])
        return (
            f"{what}: given these, {name} weights are right more often than equal ones with a probability of {chance}."
        )
    gain = 100 * (found.accuracy[name] - found.accuracy["uniform"])
    return (
        f"On {what} {name} weights are {gain:+.1f} points from equal weights "
        f"(given these, the probability that they are right more often is "
        f"{_chance(found.better_than_uniform[name])})."
    )


def _chance(probability: float) -> str:
    """In whole percent, which never says that something is certain.

    >>> _chance(0.714), _chance(0.999), _chance(0.0)
    ('71 %', 'over 99 %', 'under 1 %')
    """
    if not 0.005 <= probability < 0.995:
        return "under 1 %" if probability < 0.5 else "over 99 %"
    return f"{100 * probability:.0f} %"


def _next(found: Reliability) -> str:
    if not len(found.label_next):
        return ""
    split = found.common.verdict == "the pool splits" and found.camp is None
    sure = max(found.better_than_uniform.values(), default=0.0) >= CHOSEN
    what = "responses" if found.single else "comparisons"
    if split:
        named = "named under 'Label next'"
        return f"Label {len(found.label_next)} {what} on which the camps differ ({named}), or name an anchor rule."
    if len(found.label_next) == 1:
        return "" if sure else f"A label of the one of the {what} named under 'Label next' would tell most."
    return "" if sure else f"Labels of the {len(found.label_next)} {what} named under 'Label next' would tell most."


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"
