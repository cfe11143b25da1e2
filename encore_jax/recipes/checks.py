"""Checks of a configuration's fields: what is refused, and what the message says."""

from __future__ import annotations

import unicodedata

from encore_jax.errors import InputError

ANY_TEMPERATURE = ("tau", "taus")
"""Fields that may hold every positive number, infinity included: their limits are well defined."""

OUT_OF_RANGE = "is out of range"
LONGEST_NAME = 200
"""Bytes of a run's name, which becomes a folder."""
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in "123456789¹²³")}
"""Names that Windows keeps for devices, whatever extension follows."""


def one_of(where: str, value: str, known: tuple[str, ...]) -> None:
    """Raises InputError unless the field holds one of the known values."""
    if value not in known:
        raise InputError(f"{value!r} is unknown", where=f"config.{where}", fix=f"use one of {', '.join(known)}")


def require(where: str, holds: bool, rule: str) -> None:
    """Raises InputError unless the field keeps the rule, which completes "a value that ..."."""
    if not holds:
        raise InputError(OUT_OF_RANGE, where=f"config.{where}", fix=f"a value that {rule}")


def check_name(where: str, name: str) -> None:
    """Refuses a name that is not that of one folder: it must not lead elsewhere, nor mean something else to a system.

    Raises:
      InputError: saying what is wrong with it.

    >>> check_name("name", "../../x")
    Traceback (most recent call last):
    encore_jax.errors.InputError: config.name: '../../x' is no name of a folder: it has '/'. Fix: letters, digits, -_.=
    """
    special = ("Cc", "Cf", "Cs", "Zl", "Zp")
    wrong = [letter for letter in name if letter in '/\\:*?"<>|~$' or unicodedata.category(letter) in special]
    if not name.strip():
        problem = "is empty"
    elif wrong:
        problem = f"{name!r} is no name of a folder: it has {wrong[0]!r}"
    elif name[0] in ".- " or name[-1] in ". ":
        problem = f"{name!r} is no name of a folder: it begins or ends with a dot, a dash or a space"
    elif len(name.encode()) > LONGEST_NAME:
        problem = f"has {len(name.encode())} bytes, more than {LONGEST_NAME}"
    elif is_reserved(name):
        problem = f"{name!r} is reserved on some systems"
    else:
        return
    raise InputError(problem, where=f"config.{where}", fix="letters, digits, -_.=")


def is_reserved(name: str) -> bool:
    """Whether Windows takes a file of this name for a device.

    >>> [is_reserved(name) for name in ("nul", "com1.txt", "Aux .tar.gz", "nulls", "com", "a.nul")]
    [True, True, True, False, False, False]
    """
    return name.partition(".")[0].rstrip(" ").upper() in DEVICES
