"""API keys: from the environment only, and out of everything that is written or shown."""

from __future__ import annotations

import os
import re
from typing import Any

from encore_jax.errors import InputError

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_SHORTEST = 8
HIDDEN = "[API key]"


class ApiKey:
    """A key that does not show itself.

    Args:
      variable: the environment variable that holds it; "" for none.

    Raises:
      InputError: that is no variable's name (perhaps the key itself, so it is not repeated), it is not set, or it
        holds what cannot be a key.

    >>> os.environ["EXAMPLE_KEY"] = "sk-very-secret"
    >>> key = ApiKey("EXAMPLE_KEY")
    >>> key, key.hide({"error": "wrong key: sk-very-secret"})
    (ApiKey('EXAMPLE_KEY'), {'error': 'wrong key: [API key]'})
    """

    def __init__(self, variable: str = ""):
        self._variable, self._key = variable, ""
        if not variable:
            return
        check_variable(variable)
        self._key = os.environ.get(variable, "").strip()
        fix = f"export {variable}=... before the run"
        if not self._key:
            raise InputError("is not set", where=f"environment variable {variable}", fix=fix)
        if len(self._key) < _SHORTEST or not self._key.isascii() or not self._key.isprintable():
            raise InputError("holds no key", where=f"environment variable {variable}", fix=fix)

    def __repr__(self) -> str:
        return f"ApiKey({self._variable!r})"

    def __reduce__(self):
        return ApiKey, (self._variable,)  # a copy elsewhere reads its own environment

    @property
    def headers(self) -> dict[str, str]:
        """Of a request."""
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def hide(self, value: Any) -> Any:
        """The JSON value with the key replaced wherever a text holds it, names of fields included."""
        if not self._key:
            return value
        if isinstance(value, str):
            return value.replace(self._key, HIDDEN)
        if isinstance(value, dict):
            return {self.hide(name): self.hide(inner) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.hide(inner) for inner in value]
        return value


def check_variable(name: str, where: str = "key_variable") -> None:
    """Raises InputError, without repeating it, if this is no environment variable's name."""
    if not _VARIABLE.fullmatch(name):
        raise InputError(
            "is not the name of an environment variable (and is not repeated here, in case it is a key)",
            where=where,
            fix="put the key into a variable such as JUDGE_API_KEY, and that name here",
        )
