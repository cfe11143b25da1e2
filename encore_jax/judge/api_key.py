"""API keys: from the environment only, and out of everything that is written or shown."""

from __future__ import annotations

import base64
import html
import os
import re
import urllib.parse
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
        self._forms = _forms(self._key)

    def __repr__(self) -> str:
        return f"ApiKey({self._variable!r})"

    def __reduce__(self):
        return ApiKey, (self._variable,)  # a copy elsewhere reads its own environment

    @property
    def headers(self) -> dict[str, str]:
        """Of a request."""
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def hide(self, value: Any) -> Any:
        """The JSON value with the key replaced wherever a text holds it, names of fields included.

        As it is, and as it stands in addresses, pages, basic authentication and JSON.
        """
        if not self._key:
            return value
        if isinstance(value, str):
            for form in self._forms:
                value = value.replace(form, HIDDEN)
            return value
        if isinstance(value, dict):
            return {self.hide(name): self.hide(inner) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.hide(inner) for inner in value]
        return value


def _forms(key: str) -> tuple[str, ...]:
    """The key as it may be written, the longest first."""
    forms = {key, urllib.parse.quote(key), urllib.parse.quote(key, safe=""), urllib.parse.quote_plus(key)}
    forms |= {html.escape(key), html.escape(key, quote=False), key.replace("/", "\\/")}
    forms |= {base64.b64encode(f"{before}{key}".encode()).decode().rstrip("=") for before in ("", ":", "Bearer ")}
    return tuple(sorted(forms, key=len, reverse=True))


def check_keyless(text: str, variable: str, where: str) -> None:
    """Raises InputError, without repeating it, if a text that is written down holds the key that a variable holds."""
    key = os.environ.get(variable, "").strip() if _VARIABLE.fullmatch(variable) else ""
    if len(key) >= _SHORTEST and any(form in text for form in _forms(key)):
        fix = f"leave it out: it is sent because key_variable names {variable}"
        raise InputError("holds the API key, and is written down (it is not repeated here)", where=where, fix=fix)


def check_variable(name: str, where: str = "key_variable") -> None:
    """Raises InputError, without repeating it, if this is no environment variable's name."""
    if not _VARIABLE.fullmatch(name):
        raise InputError(
            "is not the name of an environment variable (and is not repeated here, in case it is a key)",
            where=where,
            fix="put the key into a variable such as JUDGE_API_KEY, and that name here",
        )
