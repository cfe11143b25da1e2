"""Weights that somebody gives by name, for heads that nobody has weighed yet."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from encore_jax.errors import InputError

EQUAL = "equal"
HELP = f"{EQUAL}, RULE=WEIGHT,... or a .json file of them: how the heads compose, instead of the model's own weights"


def named_weights(weights: str | Mapping[str, float], rules: Sequence[str]) -> tuple[float, ...]:
    """Weights in the rules' order; a rule that is not named has weight 0.

    Args:
      weights: by rule; or as text "equal" (1/K each), "RULE=WEIGHT,...", or the path of a JSON file with an object.
      rules: all K names.

    Raises:
      InputError: a rule is unknown, a weight is no finite number, or all are 0.

    >>> named_weights("safe=0.75,kind=0.25", ("kind", "safe", "brief"))
    (0.25, 0.75, 0.0)
    >>> named_weights("equal", ("kind", "safe"))
    (0.5, 0.5)
    """
    if weights == EQUAL:
        return (1.0 / len(rules),) * len(rules)
    given = dict(weights) if isinstance(weights, Mapping) else _parsed(weights)
    for rule, value in given.items():
        if rule not in rules:
            raise InputError(f"the rule {rule!r} is unknown", where="weights", fix=f"use {', '.join(rules)}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{value!r} is no finite number", where=f"weights, rule {rule!r}", fix="give a number")
    if not any(given.values()):
        raise InputError("all weights are 0", where="weights", fix=f"give some rule a weight, or say {EQUAL}")
    return tuple(float(given.get(rule, 0.0)) for rule in rules)


def _parsed(text: str) -> dict[str, float]:
    if text.endswith(".json"):
        try:
            given = json.loads(Path(text).read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"cannot be read: {error}", where=text, fix="name a JSON file") from None
        if not isinstance(given, dict):
            raise InputError("is no JSON object", where=text, fix='write {"RULE": WEIGHT, ...}')
        return given
    given = {}
    for part in text.split(","):
        rule, equals, value = part.rpartition("=")
        try:
            given[rule.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(f"{part!r} is malformed", where="weights", fix=f"write RULE=WEIGHT,..., or {EQUAL}")
    return given
