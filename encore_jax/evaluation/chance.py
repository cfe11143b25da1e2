"""Whether a run's reward model is told from chance, and whether its heads have learnt anything, as warnings."""

from __future__ import annotations

from collections.abc import Mapping

from encore_jax.formats import bounds, known, percent, printable

LARGEST_PENALTY = "heads_at_largest_penalty"
"""The count, in a run's results, of ratings of every rule whose head has the largest penalty."""
MOST_NAMES = 6


def chance_lines(results: Mapping) -> list[str]:
    """What a run that trains rule heads says of a model that may know nothing; empty where it knows something.

    Args:
      results: its results.json.

    >>> half = {"name": "ENCORE", "n": 23, "accuracy": {"value": 0.435, "low": 0.217, "high": 0.652}}
    >>> chance_lines({"views": [{"name": "heads", "weighting": "ENCORE", "methods": [half]}]})
    ['Warning: the model (ENCORE) is right on 43.5 % [21.7, 65.2] of 23 held-out comparisons: not told from chance.']
    """
    view = next((view for view in results.get("views", ()) if view.get("name") == "heads"), None)
    return ([] if view is None else _model(view)) + _heads(results)


def _model(view: Mapping) -> list[str]:
    chosen = view.get("weighting", "ENCORE")
    found = next((method for method in view.get("methods", ()) if method["name"] == chosen), None)
    if found is None or not known(found["accuracy"]["low"]):
        return []
    accuracy = found["accuracy"]
    if accuracy["low"] > 0.5:
        return []
    what = "not told from chance"
    if accuracy["high"] < 0.5:
        what = "less than chance; it prefers what people do not"
    share = f"{percent(accuracy['value'])} % {bounds(accuracy)}"
    return [f"Warning: the model ({chosen}) is right on {share} of {found['n']:,} held-out comparisons: {what}."]


def _heads(results: Mapping) -> list[str]:
    at_largest = results.get("counts", {}).get("train", {}).get(LARGEST_PENALTY) or {}
    if not at_largest:
        return []
    names = [printable(name) for name in at_largest]
    shown = ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")
    rules = len(results.get("passport", {}).get("rules", ())) or len(names)
    return [
        f"Warning: {len(names)} of {rules} heads have learnt next to nothing that holds on other prompts (the largest "
        f"ridge penalty was best): {shown}. Rate more responses, or take a larger backbone."
    ]
