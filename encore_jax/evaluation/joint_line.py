"""What a joint training says in one sentence: is the preference head better for being trained beside rule heads?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from encore_jax.formats import bounds, points


def joint_line(rows: Sequence[Mapping]) -> str:
    """Joint training beside preferences alone, on every domain.

    Args:
      rows: of `encore_jax.evaluation.joint.accuracy_rows`.

    >>> ahead = {"value": 0.05, "low": 0.01, "high": 0.09}
    >>> row = {"arm": "joint", "method": "preference head", "trained_on": "a", "minus_preferences": ahead}
    >>> joint_line([row | {"tested_on": "b", "together": ahead}])
    'Use joint training: beside preferences alone its preference head is better from a to b (+5.0 points [+1.0, +9.0]).'
    >>> joint_line([row | {"tested_on": tested, "together": ahead | {"low": -0.01}} for tested in "bc"])[:95]
    'Nothing here tells joint training from preferences alone, all 2 differences counted together: i'
    """
    own = [r for r in rows if (r["arm"], r["method"]) == ("joint", "preference head") and r["minus_preferences"]]
    if not own:
        return "Joint training and preferences alone were not both trained, so nothing compares them."
    together = [row.get("together") or row["minus_preferences"] for row in own]  # an older version had none
    better = [_told(row) for row, all_of in zip(own, together, strict=True) if all_of["low"] > 0]
    worse = [_told(row) for row, all_of in zip(own, together, strict=True) if all_of["high"] < 0]
    if not better and not worse:
        told = ", ".join(map(_told, own))
        alone = any(row["minus_preferences"]["low"] > 0 or row["minus_preferences"]["high"] < 0 for row in own)
        many = f", all {len(own)} differences counted together" if alone else ""
        each = "; each interval is 95 % by itself" if alone else ""
        return (
            f"Nothing here tells joint training from preferences alone{many}: its preference head differs {told}{each}."
        )
    use = "It depends on the data" if better and worse else "Use joint training" if better else "Use preferences alone"
    parts = [f"better {', '.join(better)}"] if better else []
    parts += [f"worse {', '.join(worse)}"] if worse else []
    equal = len(own) - len(better) - len(worse)
    rest = f"; the other {equal} do not tell" if equal > 1 else "; the other one does not tell" if equal else ""
    many = f", which holds for all {len(own)} differences together" if len(own) > 1 else ""
    return f"{use}: beside preferences alone its preference head is {' and '.join(parts)}{many}{rest}."


def _told(row: Mapping) -> str:
    where = f"from {row['trained_on']} to {row['tested_on']}"
    where = f"on {row['tested_on']}" if row["trained_on"] in (row["tested_on"], "all") else where
    gain = row["minus_preferences"]
    return f"{where} ({points(gain['value'])} points {bounds(gain, points)})"
