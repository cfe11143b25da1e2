"""Weights that somebody gives by name, for heads that nobody has weighed yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from absl import logging

from encore_jax.checkpoints.finite import LARGEST
from encore_jax.errors import InputError
from encore_jax.json_shape import read_json

if TYPE_CHECKING:
    from encore_jax.reward.passport import Passport

EQUAL, UNIFORM, AGREEMENT = "equal", "uniform", "agreement"
HELP = (
    f"{EQUAL} (or {UNIFORM}), {AGREEMENT} (what its rules have in common, by its passport), RULE=WEIGHT,... or a "
    ".json file of them: how the heads compose, instead of the model's own weights"
)


def named_weights(weights: str | Mapping[str, float], rules: Sequence[str]) -> tuple[float, ...]:
    """Weights in the rules' order; a rule that is not named has weight 0.

    Args:
      weights: by rule; or as text "equal" or "uniform" (1/K each), "RULE=WEIGHT,...", or the path of a JSON file
        with an object.
      rules: all K names.

    Raises:
      InputError: a rule is unknown, a weight is no finite number, or all are 0.

    >>> named_weights("safe=0.75,kind=0.25", ("kind", "safe", "brief"))
    (0.25, 0.75, 0.0)
    >>> named_weights("equal", ("kind", "safe"))
    (0.5, 0.5)
    """
    if not isinstance(weights, str | Mapping):
        fix = f"say {EQUAL}, or give a weight for each rule by its name: {{'RULE': WEIGHT, ...}}"
        raise InputError(f"got a {type(weights).__name__}", where="weights", fix=fix)
    if isinstance(weights, str) and weights in (EQUAL, UNIFORM):
        return (1.0 / len(rules),) * len(rules)
    given = dict(weights) if isinstance(weights, Mapping) else _parsed(weights)
    for rule, value in given.items():
        if rule not in rules:
            raise InputError(f"the rule {rule!r} is unknown", where="weights", fix=f"use {', '.join(rules)}")
        number = not isinstance(value, bool) and isinstance(value, int | float | np.floating | np.integer)
        if not number or not abs(value) <= LARGEST:  # NaN is not, either
            raise InputError(f"{value!r} is no finite number of fp32", where=f"weights, rule {rule!r}",
                             fix="give a number")  # fmt: skip
    if not any(np.float32(value) for value in given.values()):
        raise InputError("all weights are 0", where="weights", fix=f"give some rule a weight, or say {EQUAL}")
    return tuple(float(given.get(rule, 0.0)) for rule in rules)


def agreement_of(passport: Passport) -> tuple[float, ...]:
    """The weights that agreement gives a model's rules, as its passport holds them; warns of those that may mislead.

    Raises:
      InputError: it holds none; says why.
    """
    if not passport.agreement:
        why = passport.agreement_note or "its passport does not say what its rules have in common"
        fix = f"say {EQUAL}, or give a file of weights: {{'RULE': WEIGHT, ...}}"
        raise InputError(f"there are no agreement weights: {why}", where=f"weights, {passport.model}", fix=fix)
    if passport.agreement_warning:
        logging.warning("agreement weights may mislead: %s", passport.agreement_warning)
    return passport.agreement


def _parsed(text: str) -> dict[str, float]:
    if text.endswith(".json"):
        fix = 'name a JSON file with {"RULE": WEIGHT, ...}'
        return read_json(text, dict[str, float], fix=fix, max_bytes=4 << 20, unique_keys=True)
    given = {}
    for part in text.split(","):
        rule, equals, value = part.rpartition("=")
        rule = rule.strip()
        if rule in given:
            raise InputError("has two weights", where=f"weights, rule {rule!r}", fix="give each rule one")
        try:
            given[rule] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(
                f"{part!r} is malformed", where="weights", fix=f"write RULE=WEIGHT,..., {EQUAL} or {AGREEMENT}"
            )
    return given
