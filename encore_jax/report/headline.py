"""The few methods that a summary shows: ENCORE, equal weights, and the best of every other kind."""

from __future__ import annotations

from encore_jax.evaluation.method_names import REFERENCE, SINGLE
from encore_jax.formats import known


def headline(view: dict) -> list[dict]:
    """ENCORE, uniform, what the model itself weighs by, and the best other method of each kind, with its `role`.

    The best is found by test accuracy, after the fact, so it is a hard opponent; rules used alone and heuristics stand
    for themselves in the full table.
    """
    methods = {method["name"]: method for method in view["methods"]}
    chosen = [methods["ENCORE"] | {"role": "entropy weights"}, methods[REFERENCE] | {"role": "equal weights"}]
    own = methods.get(view.get("weighting", ""))
    if own and own["name"] not in ("ENCORE", REFERENCE):
        chosen.append(own | {"role": "this model's weights"})
    others = [m for m in view["methods"] if m["name"] not in ("ENCORE", REFERENCE) and not m["name"].startswith(SINGLE)]
    kinds = (
        ("best other without labels", ("ratings", "scores", "nothing")),
        ("best of those that saw training labels", ("train labels",)),
        ("best rule-free heuristic", ("text",)),
        ("best oracle", ("test labels",)),
    )
    for role, sees in kinds:
        of_kind = [m for m in others if m["sees"] in sees and known(m["accuracy"]["value"])]
        best = max(of_kind, key=lambda m: m["accuracy"]["value"], default=own)
        if best and best["name"] not in {m["name"] for m in chosen}:
            chosen.append(best | {"role": role})
    return chosen
