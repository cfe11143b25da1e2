"""What the report says in words: chosen by the numbers, never written down for one outcome."""

from __future__ import annotations

import math
from collections.abc import Mapping

from encore_jax.formats import fixed, known, points, typeset

NO_REAL_JUDGE = "Nothing in this part measures a real judge: the judges, and so their ratings, are made up."
NOISE_MODELS = {
    "guess": ("ψ = u with probability λ, else ψ = q;  u uniform on the L levels", "an inattentive judge"),
    "gaussian": ("ψ = clip(q + λ·ε, 0, 1);  ε ~ N(0, 1)", "a shaky judge"),
    "shrink": ("ψ = ½ with probability λ, else ψ = q", "a judge who shuns a verdict"),
    "flip": ("ψ = 1 − q with probability λ, else ψ = q", "a judge who misreads the rule"),
}
"""Formula and character of every simulated judge; q is the human rating, λ the judge's noise level."""
NOISE_SYMBOLS = (
    "q: mean human rating of the response, 1 is best; λ: the judge's noise level; ψ: the judge's rating, "
    "rounded to the nearest of L = {levels} evenly spaced levels of [0, 1]; judges and responses err independently."
)


def verdict_words(premise: Mapping) -> str:
    """The verdict in one plain sentence, with what decided it."""
    verdict, gain = premise["verdict"], premise["gain"]
    if verdict == "holds":
        return (
            "Rules whose ratings have a higher entropy agree less often with human preference here, and both intervals "
            "of the correlation lie below zero."
        )
    if verdict == "does not hold":
        lows = [premise[kind][0] for kind in ("fisher", "bootstrap")]
        causes = []
        if any(known(low) and low > 0 for low in lows):
            causes.append(
                "rules whose ratings have a higher entropy agree more often, not less, with human preference here"
            )
        if known(gain["high"]) and gain["high"] < 0:
            causes.append("entropy weights do worse than equal weights")
        return _sentence(" and ".join(causes) or "the reasons follow")
    if verdict == "cannot tell at this size":
        return (
            "These data are too few to tell whether the premise holds: the intervals of the correlation between "
            "entropy and accuracy leave both answers open."
        )
    return "The reasons follow."


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def gain_words(gain: Mapping) -> str:
    """ENCORE against equal weights in one plain sentence."""
    if not all(known(gain[key]) for key in ("value", "low", "high")):
        return "The difference between ENCORE and equal weights could not be computed."
    by = f"{points(abs(gain['value'])).lstrip('+')} points"
    interval = typeset(f"95 % interval {points(gain['low'])} to {points(gain['high'])}")
    if gain["low"] > 0:
        return f"ENCORE's weights are right more often than equal weights, by {by} ({interval})."
    if gain["high"] < 0:
        return f"ENCORE's weights are right less often than equal weights, by {by} ({interval})."
    if gain["low"] == gain["high"]:
        return "ENCORE's weights are right exactly as often as equal weights, in every bootstrap draw of prompts."
    return (
        f"ENCORE's weights cannot be told apart from equal weights: {typeset(points(gain['value']))} points "
        f"({interval}, which includes zero)."
    )


def _tendency(mean: float | None, sd: float | None, draws: int) -> str:
    """How sure a sign is over juries: in nearly all of them (two sd), on average only (two standard errors), or not."""
    if not known(mean) or not known(sd) or abs(mean) <= 2 * sd / math.sqrt(draws):
        return "unclear"
    sign = "positive" if mean > 0 else "negative"
    return sign if abs(mean) > 2 * sd else f"{sign} on average"


def noise_words(study: Mapping) -> list[str]:
    """What the noise study says of every noise model at its loudest."""
    draws, taus, last = study["draws"], study["tau"], study["worst"].index(max(study["worst"]))
    sharpest = taus.index(min(taus))
    sentences = []
    for name, outcome in study["noise"].items():
        r, r_sd = (outcome["correlation"][key][last] for key in ("mean", "sd"))
        gains = [(tau, g["mean"][last], g["sd"][last]) for tau, g in zip(taus, outcome["gain"], strict=True)]
        changes = ", ".join(f"{points(mean)} ± {fixed(_times(100, sd), 1)} at τ = {tau:g}" for tau, mean, sd in gains)
        sentences.append(
            f"{name}, worst judge at λ = {study['worst'][last]:g}: r is {typeset(fixed(r, sign=True))} ± "
            f"{fixed(r_sd)}, {_R_WORDS[_tendency(r, r_sd, draws)]}. ENCORE minus uniform in points is "
            f"{typeset(changes)}; {_GAIN_WORDS[_tendency(*gains[sharpest][1:], draws)]} at τ = {taus[sharpest]:g}."
            + _agreement_words(outcome.get("agreement"), last)
        )
    return sentences


def _agreement_words(gain: Mapping | None, last: int) -> str:
    if gain is None:  # two judges, or results of an older version
        return ""
    mean, sd = gain["mean"][last], gain["sd"][last]
    return f" Agreement minus uniform: {typeset(points(mean))} ± {fixed(_times(100, sd), 1)}."


def _times(factor: float, value: float | None) -> float | None:
    return factor * value if known(value) else None


def noise_summary(study: Mapping) -> str:
    """One paragraph: over all settings, how often ENCORE gained where the premise held, and where it was reversed."""
    counts = {kind: [0, 0, 0] for kind in ("negative", "positive", "unclear")}
    for outcome in study["noise"].values():
        for w, (r, r_sd) in enumerate(zip(*(outcome["correlation"][key] for key in ("mean", "sd")), strict=True)):
            kind = _tendency(r, r_sd, study["draws"]).split()[0]
            for gains in outcome["gain"]:
                change = _tendency(gains["mean"][w], gains["sd"][w], study["draws"]).split()[0]
                counts[kind][("positive", "negative", "unclear").index(change)] += 1
    sentences = [
        f"Every setting was drawn {study['draws']} times with {study['judges']} judges; a sign counts as clear if the "
        "mean over juries is more than two standard errors from zero."
    ]
    words = {
        "negative": "r is clearly below zero, as ENCORE assumes",
        "positive": "r is clearly above zero, against its assumption",
        "unclear": "r has no clear sign",
    }
    for kind, (gained, lost, neither) in counts.items():
        if any(counts[kind]):
            sentences.append(
                f"In {gained + lost + neither} settings of noise model, noise level and temperature {words[kind]}: "
                f"there entropy weights beat equal weights on average in {gained}, lose to them in {lost}, and differ "
                f"in no clear direction in {neither}."
            )
    return " ".join(sentences)


_R_WORDS = {
    "positive": "positive in nearly every jury: the premise is reversed",
    "negative": "negative in nearly every jury: the premise holds",
    "positive on average": "positive on average, though not in every jury",
    "negative on average": "negative on average, though not in every jury",
    "unclear": "of no clear sign",
}
_GAIN_WORDS = {
    "positive": "a gain in nearly every jury",
    "negative": "a loss in nearly every jury",
    "positive on average": "a gain on average, though not in every jury",
    "negative on average": "a loss on average, though not in every jury",
    "unclear": "no clear difference",
}


def limits(results: Mapping) -> list[str]:
    """What the numbers are and are not, for this run."""
    views, counts = results["views"], results["counts"]
    main, passport = views[0], results["passport"]
    sizes = [subset["n"] for subset in main["methods"][0]["subsets"].values()]
    sentences = [
        f"The {main['comparisons']['test']} held-out comparisons come from only {main['prompts']['test']} prompts; "
        "comparisons of one prompt are alike. Intervals therefore resample prompts, and are as wide as that makes "
        "them; they say nothing of prompts of another kind.",
        f"The largest of {len(sizes)} subsets holds {max(sizes)} of the comparisons, the smallest {min(sizes)}; the "
        "mean over subsets gives each the same say.",
        f"Features come from one backbone, {passport['model']}; another or a larger one may rank the methods "
        "otherwise.",
        "The numbers are of this run's data, split and model. They do not reproduce, confirm or refute any number that "
        "was published for ENCORE on other data, models or judges.",
        "Many methods, views and settings are shown side by side. Intervals are not adjusted for that; the p-values by "
        "prompts are, for the methods or pairs of one view. The sensitivity table shows test accuracy and is no way to "
        "choose a setting.",
    ]
    dropped, total = counts["train"].get("comparisons_dropped_too_long", 0), counts["ingest"].get("comparisons", 0)
    if dropped and total:
        sentences.append(
            f"{dropped} of {total} comparisons ({100 * dropped / total:.1f} %) were left out, because a response with "
            f"its prompt is longer than {passport['max_length']} tokens. What is left is shorter than the data as a "
            "whole, and may differ in other ways too."
        )
    labels = {view["label"] for view in views}
    if "human-rated" in labels:
        sentences.append(
            "Human-rated: human severities decide which response of a comparison is preferred, and the same kind of "
            "human rating trains the heads and gives the entropies. Accuracy is agreement with severity, not with "
            "everything a person may prefer."
        )
    if "model-rated" in labels:
        sentences.append(
            "Model-rated: heads rate the compared responses, trained on the rated responses to other prompts; what the "
            "data say of a compared response itself is not used by them. Entropies are those of the given ratings, so "
            "entropy and accuracy are measured on different texts."
        )
    if "as-rated" in labels:
        sentences.append(
            "As-rated: the ratings of the data are composed as they are, by whoever gave them. If whoever rated also "
            "decided which response is preferred, or saw it, the accuracy says less than it seems."
        )
    if "semi-synthetic" in labels:
        sentences.append(
            "Semi-synthetic: simulated judges see the human severities that also decide the preferred response, so a "
            "judge without noise would be right almost by construction. These parts show how ENCORE responds to a "
            "declared kind of noise, not how noisy judges are."
        )
    return sentences
