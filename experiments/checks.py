"""Checks of a configuration's fields: what is refused, and what the message says."""

from __future__ import annotations

from encore_jax.errors import InputError


def one_of(where: str, value: str, known: tuple[str, ...]) -> None:
    """Raises InputError unless the field holds one of the known values."""
    if value not in known:
        raise InputError(f"{value!r} is unknown", where=f"config.{where}", fix=f"use one of {', '.join(known)}")


def require(where: str, holds: bool, rule: str) -> None:
    """Raises InputError unless the field keeps the rule, which completes "a value that ..."."""
    if not holds:
        raise InputError("is out of range", where=f"config.{where}", fix=f"a value that {rule}")
