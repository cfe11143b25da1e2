"""The first line of every report and terminal: what to use on these data, how sure that is, what would settle it.

One function for all kinds of runs, so that no page and no terminal begins with anything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from encore_jax.evaluation.decision import MODEL, RATINGS, about, how_for_model
from encore_jax.evaluation.joint_line import joint_line
from encore_jax.formats import bounds, known, percent, points, printable

OLDER = "These results are of an older version: run it again."
MOST_NAMES = 4
"""Names that a sentence holds before the rest is counted."""
ONE_FACTOR = "one common factor"
"""The verdict under which agreement weights are given."""
EQUAL_DO = "Of entropy weights, equal ones do as well."
"""What an ablation says of its own question; which weighting to use at all is decided elsewhere, and follows it."""
MOST_NEEDED = 1_000_000
"""Comparisons beyond which nobody would label: the difference is too small to matter."""


def first_line(results: Mapping, workdir: str = "RUN") -> str:
    """The sentence that a run's report and terminal begin with, on one line.

    Args:
      results: any run's results.json.
      workdir: of the run, where that is known.

    >>> first_line({"advice": {"recommendation": "Use equal weights."}})
    'Use equal weights.'
    """
    if "views" in results and "claims" not in results:
        line = run_line(results["views"], workdir)
    elif "claims" in results:
        line = theory_line(results)
    elif results.get("kind") == "joint":
        line = joint_line(results["accuracy"])
    elif "studies" in results:
        line = judges_line(results["studies"])
    elif "found" in results:
        line = " ".join(filter(None, [ablation_line(results), (results.get("advice") or {}).get("line", "")]))
    elif "held_out" in results:
        line = single_line(results["held_out"]["methods"], "One head, and nothing to weigh")
    elif "agreement" in results:
        line = single_line(results["agreement"]["methods"], "Verdicts on pairs, and no rules to weigh")
    elif results.get("advice"):
        told = results["advice"]
        line = told["recommendation"]
        if "summary" in results:  # of a rating run
            line = rating_line(told, workdir)
    elif "summary" in results:
        line = "Nothing is rated, so nothing says which rules to trust: have the judge rate comparisons."
    else:
        line = OLDER
    return printable(line)


def rating_line(advice: Mapping, workdir: str = "RUN") -> str:
    """What to use on a rating run's ratings, with the command that trains a model so."""
    from encore_jax.evaluation.fit_advice import FEWEST_LABELS, how_for_ratings, rated_by_run

    rated = rated_by_run(workdir, advice.get("labelled_prompts", FEWEST_LABELS))  # an older version counted none
    how = how_for_ratings(advice.get("use", ""), rated)
    return " ".join(filter(None, [about(RATINGS, advice["recommendation"]), how]))


def run_line(views: Sequence[Mapping], workdir: str = "RUN") -> str:
    """What to use for the model that a run has trained, with the command that does it; then for the ratings themselves.

    >>> heads = {"name": "heads", "weighting": "ENCORE", "agreement": {"recommendation": "Use equal weights.",
    ...          "use": "uniform"}}
    >>> run_line([heads], "runs/mine")
    'This model: use equal weights. Its weights are by ENCORE; to change that: encore export --workdir=runs/mine \
--out=FOLDER --folded --weights=uniform.'
    """
    told = {view.get("name", ""): view for view in views if view.get("agreement")}
    if not told:
        return OLDER
    model = told.get("heads") or next(iter(told.values()))
    lines = [model_line(model["agreement"], model.get("weighting", ""), workdir)]
    if "ratings" in told:
        agreement = told["ratings"]["agreement"]
        lines.append(about(RATINGS, agreement["recommendation"]))
    return " ".join(lines)


def model_line(agreement: Mapping, weighting: str, workdir: str = "RUN") -> str:
    """What to use for a trained model, and the command that does it.

    Args:
      agreement: what results.json says of its heads' agreement.
      weighting: what composes it now.
      workdir: of its run.
    """
    how = how_for_model(agreement.get("use", ""), weighting, workdir)
    return " ".join(filter(None, [about(MODEL, agreement["recommendation"]), how]))


def single_line(methods: Sequence[Mapping], what: str) -> str:
    """One reward beside chance and beside the best of what reads no model.

    Args:
      methods: the reward first; with `n`, `accuracy` and, from the second on, `model_ahead_by`, as intervals.
      what: in words.

    >>> half = {"value": 0.7, "low": 0.6, "high": 0.8}
    >>> rival = {"name": "refusal", "accuracy": half, "model_ahead_by": {"value": 0.02, "low": -0.06, "high": 0.1}}
    >>> single_line([{"name": "model", "n": 100, "accuracy": half}, rival], "One head")
    'One head: right on 70.0 % [60.0, 80.0] of 100 comparisons, above chance; +2.0 points [-6.0, +10.0] from refusal, \
the best that reads no model: not settled; about 1,600 comparisons would settle a difference of this size.'
    """
    own, rivals = methods[0], methods[1:]
    accuracy, n = own["accuracy"], own["n"]
    if not known(accuracy["value"]):
        return f"{what}: nothing was compared, so nothing is known of it."
    if accuracy["low"] > 0.5:
        beside = "above chance"
    elif accuracy["high"] < 0.5:
        beside = "below chance: it prefers what people do not"
    else:
        beside = "which chance explains as well"
        needed = comparisons_to_settle(n, _shifted(accuracy, 0.5))
        beside += f" ({needed})" if needed else ""
    line = f"{what}: right on {percent(accuracy['value'])} % {bounds(accuracy)} of {n:,} comparisons, {beside}"
    if not rivals:
        return f"{line}."
    rival = max(rivals, key=lambda method: method["accuracy"]["value"])
    ahead = rival["model_ahead_by"]
    line += (
        f"; {points(ahead['value'])} points {bounds(ahead, points)} from {rival['name']}, the best that reads no model"
    )
    if ahead["low"] > 0:
        return f"{line}: use the model."
    if ahead["high"] < 0:
        return f"{line}: a rule that reads no model does better, so do not use it for such data yet."
    needed = comparisons_to_settle(n, ahead)
    return f"{line}: not settled" + (f"; {needed}." if needed else ".")


def _shifted(interval: Mapping, by: float) -> dict:
    return {name: interval[name] - by for name in ("value", "low", "high")}


def comparisons_to_settle(n: int, difference: Mapping) -> str:
    """How many comparisons would settle a difference of this size, in words; "" if it is settled or no number would.

    The interval shrinks with the root of their number; it must become as narrow as the difference is wide.

    >>> comparisons_to_settle(100, {"value": 0.04, "low": -0.04, "high": 0.12})
    'about 400 comparisons would settle a difference of this size'
    >>> comparisons_to_settle(100, {"value": 0.0, "low": -0.04, "high": 0.04})
    'no number of comparisons that anybody labels would settle so small a difference'
    """
    value, half = abs(difference["value"]), (difference["high"] - difference["low"]) / 2
    if value > half:
        return ""
    needed = n * (half / value) ** 2 if value else math.inf
    if needed > MOST_NEEDED:
        return "no number of comparisons that anybody labels would settle so small a difference"
    return f"about {float(f'{needed:.1e}'):,.0f} comparisons would settle a difference of this size"


def theory_line(results: Mapping) -> str:
    """How many claims held, and what that says about which weighting to use."""
    claims = results["claims"]
    missed = [claim["title"] for claim in claims if claim["verdict"] != "confirmed"]
    line = f"{len(claims) - len(missed)} of {len(claims)} claims held"
    if missed:
        line += f"; contradicted: {_named(missed)}; what they say about weights is not to be relied on"
    cells = results.get("junk", ())
    won = {name: sum(cell["winner"] == name for cell in cells) for name in ("agreement", "ENCORE", "equal weights")}
    refused = sum(cell["accuracy"]["agreement"] is None for cell in cells)
    use = max(won, key=lambda name: won[name]) if cells and max(won.values()) else ""
    if use:
        named = {"agreement": "agreement weights", "ENCORE": "entropy weights (ENCORE)"}.get(use, use)
        line += (
            f". With simulated judges use {named}: they win in {won[use]} of {len(cells)} settings of junk, noise and "
            f"shared nuisance ("
            + ", ".join(f"{name} in {count}" for name, count in won.items() if name != use)
            + f"); in {refused} agreement is refused"
        )
    agrees = [f"{view['view']} ({view['label']}): {view['verdict']}" for view in results.get("views", ())]
    line += f". That trained weights fall with entropy: {'; '.join(agrees)}" if agrees else ""
    return f"{line}. No real judge was measured here: encore_jax.reliability, or labels, settle it for your ratings."


def ablation_line(results: Mapping) -> str:
    """The best temperature and grid of all rules, what they cannot be told from, and whether the choice matters."""
    full = results.get("full")
    if full is None:
        return OLDER
    best, alike = full["best"], full["alike"]
    accuracy = best["accuracy"]
    line = f"Best on these data with all rules: {_setting(best['values'])}, right on {percent(accuracy['value'])} %"
    line += f" {bounds(accuracy)}" if known(accuracy["low"]) else ""
    line += f" of {full['comparisons']:,} comparisons"
    if full["settings"] == 1:
        return f"{line}; it is the only setting, so nothing says whether the choice matters."
    if not known(accuracy["low"]):
        return f"{line}; {full['prompts']} prompts are too few to tell it from any other setting. {EQUAL_DO}"
    gain = f"{points(full['minus_uniform']['value'])} points {bounds(full['minus_uniform'], points)}"
    spread = f"{points(full['spread']['value']).lstrip('+')} points between best and worst"
    if alike["all"]:
        beside = "" if full["is_uniform"] else f", equal weights among them ({gain})"
        return (
            f"{line}; it cannot be told from any of the other {full['settings'] - 1:,} settings{beside}, so tau and "
            f"grid do not matter here ({spread}). {EQUAL_DO}"
        )
    if full["is_uniform"]:
        line, advice = f"{line}; no setting does better", EQUAL_DO
    elif alike["uniform"]:
        line, advice = f"{line}; it cannot be told from equal weights ({gain})", EQUAL_DO
    else:
        line += f", {gain} from equal weights, more than the choice among {full['settings']:,} settings explains"
        sure = f"confirm it on comparisons that did not choose it{_worth(full['gain'])}"
        advice = f"Of entropy weights use it, and {sure}."
    line += f"; {_untold(alike, full['settings'])}"
    worst = full["worst"]
    lost = f"{_setting(worst['values'])} loses {points(full['spread']['value']).lstrip('+')} points"
    return f"{line}; the choice matters: {lost}. {advice}"


def _setting(values: Mapping[str, str]) -> str:
    """A setting in words: tau and grid first, then what else varies."""
    if values["tau"] == "\N{INFINITY}" and values.get("agreement", "no") == "no":
        return "equal weights (tau \N{INFINITY})"
    more = [f"{name} {value}" for name, value in values.items() if name not in ("tau", "grid")]
    return f"tau {values['tau']} with {values['grid']}" + (f" ({', '.join(more)})" if more else "")


def _untold(alike: Mapping, settings: int) -> str:
    """What the best setting cannot be told from, beside equal weights."""
    if not alike["settings"]:
        return "every other setting does worse"
    line = f"it cannot be told from {alike['settings']:,} of the other {settings - 1:,} settings"
    parts = [
        f"{name} {', '.join(alike[key])}" for name, key in (("tau", "taus"), ("grids", "grids")) if len(alike[key]) > 1
    ]
    return f"{line} ({'; '.join(parts)})" if parts else line


def _worth(gain: float | None) -> str:
    """What choosing is worth on prompts that did not choose."""
    if not known(gain):
        return ""
    return f": chosen on a part of the prompts, a setting gains {points(gain)} points on the others"


def judges_line(studies: Sequence[Mapping]) -> str:
    """On which real judges which weighting differs from equal weights by more than chance."""
    if not studies:
        return OLDER
    better: dict[str, list[str]] = {}
    worse: dict[str, list[str]] = {}
    for found in studies:
        for method in found["methods"]:
            refused = method["name"] == "agreement" and found["verdict"] != ONE_FACTOR
            if method["name"] not in ("agreement", "ENCORE") or refused or not known(method["minus_uniform"]["low"]):
                continue
            gain = method["minus_uniform"]
            side = better if gain["low"] > 0 else worse if gain["high"] < 0 else {}
            side.setdefault(method["name"], []).append(found["name"])
    parts = []
    for name, words in (("agreement", "agreement weights"), ("ENCORE", "entropy weights (ENCORE)")):
        one = [f"beat equal weights on {_named(better[name])}"] if name in better else []
        one += [f"lose on {_named(worse[name])}"] if name in worse else []
        parts.append(f"{words} {' and '.join(one) if one else 'differ nowhere from equal weights by more than chance'}")
    split = [found["name"] for found in studies if found["verdict"] != ONE_FACTOR]
    use = "Use agreement weights where the rules share one factor" if "agreement" in better else "Use equal weights"
    line = f"{use}: on {len(studies)} sets of real judges {', '.join(parts)}"
    line += f"; on {_named(split)} agreement is refused without an anchor or labels" if split else ""
    return f"{line}. Labels of your own judge's comparisons would settle it for your data."


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"
