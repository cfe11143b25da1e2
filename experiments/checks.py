"""Checks of a configuration's fields: what is refused, and what the message says."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from encore_jax.errors import InputError
from encore_jax.settings import Settings

ANY_TEMPERATURE = ("tau", "taus")
"""Fields that may hold every positive number, infinity included: their limits are well defined."""


def one_of(where: str, value: str, known: tuple[str, ...]) -> None:
    """Raises InputError unless the field holds one of the known values."""
    if value not in known:
        raise InputError(f"{value!r} is unknown", where=f"config.{where}", fix=f"use one of {', '.join(known)}")


def require(where: str, holds: bool, rule: str) -> None:
    """Raises InputError unless the field keeps the rule, which completes "a value that ..."."""
    if not holds:
        raise InputError("is out of range", where=f"config.{where}", fix=f"a value that {rule}")


def check_numbers(config: Settings, where: str = "config") -> None:
    """Raises InputError for a number, however deep in the configuration, that float32 does not hold.

    Computation is in float32: there 1e-40 is 0 on most devices, 1e39 is infinite, and either soon makes a NaN.
    """
    for field in dataclasses.fields(config):
        value, place = getattr(config, field.name), f"{where}.{field.name}"
        if isinstance(value, Settings):
            check_numbers(value, place)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not _holds(number, field.name in ANY_TEMPERATURE):
                raise InputError(
                    f"{number:g} is no number that float32 holds",
                    where=place,
                    fix="use 0 or a finite number whose size is between 1.2e-38 and 3.4e38",
                )


def _holds(number: float, any_size: bool) -> bool:
    if any_size or number == 0:
        return not math.isnan(number)
    limits = np.finfo(np.float32)
    return math.isfinite(number) and float(limits.tiny) <= abs(number) <= float(limits.max)
