"""What a joint training says in one sentence: is the preference head better for being trained beside rule heads?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from encore_jax.formats import bounds, points


def joint_line(rows: Sequence[Mapping]) -> str:
    """Joint training beside preferences alone, on every domain.

    Args:
      rows: of `encore_jax.evaluation.joint.accuracy_rows`.

    >>> ahead = {"value": 0.05, "low": 0.01, "high": 0.09}
    >>> row = {"arm": "joint", "method": "preference head", "trained_on": "a", "tested_on": "b"}
    >>> joint_line([row | {"minus_preferences": ahead}])
    'Use joint training: beside preferences alone its preference head is better from a to b (+5.0 points [+1.0, +9.0]).'
    """
    own = [r for r in rows if (r["arm"], r["method"]) == ("joint", "preference head") and r["minus_preferences"]]
    if not own:
        return "Joint training and preferences alone were not both trained, so nothing compares them."
    better = [_told(row) for row in own if row["minus_preferences"]["low"] > 0]
    worse = [_told(row) for row in own if row["minus_preferences"]["high"] < 0]
    if not better and not worse:
        told = ", ".join(map(_told, own))
        return f"Nothing here tells joint training from preferences alone: its preference head differs {told}."
    use = "It depends on the data" if better and worse else "Use joint training" if better else "Use preferences alone"
    parts = [f"better {', '.join(better)}"] if better else []
    parts += [f"worse {', '.join(worse)}"] if worse else []
    equal = len(own) - len(better) - len(worse)
    rest = (
        f"; the other {equal} domains do not tell" if equal > 1 else "; the other domain does not tell" if equal else ""
    )
    return f"{use}: beside preferences alone its preference head is {' and '.join(parts)}{rest}."


def _told(row: Mapping) -> str:
    where = f"from {row['trained_on']} to {row['tested_on']}"
    where = f"on {row['tested_on']}" if row["trained_on"] in (row["tested_on"], "all") else where
    gain = row["minus_preferences"]
    return f"{where} ({points(gain['value'])} points {bounds(gain, points)})"
