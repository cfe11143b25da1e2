"""What a user sets of a model server: where it is, with which API key, how hard it is asked, and when again.

An API key comes from the environment only, and is kept out of everything that is written or shown.
"""

import base64
import dataclasses
import html
import json
import os
import re
import urllib.parse
from dataclasses import field
from typing import Any

from encore_jax.errors import InputError
from encore_jax.http.replies import checked_url
from encore_jax.json_shape import decode_json
from encore_jax.settings import Settings


@dataclasses.dataclass
class RetrySettings(Settings):
    """Attributes:
    tries: requests for one answer before it counts as failed; being throttled does not count.
    first_wait: seconds before the second try, at most; twice as long before each further one.
    longest_wait: of these waits.
    patience: seconds that an answer may take, throttling included, and that all endpoints may be down.
    first_contact: seconds that a run waits for the first endpoint to be reached at all; more for servers that are still
      loading their model.
    """

    tries: int = 6
    first_wait: float = 0.5
    longest_wait: float = 30.0
    patience: float = 600.0
    first_contact: float = 30.0


@dataclasses.dataclass
class ServerSettings(Settings):
    """Attributes:
    urls: addresses of one or more servers of the same model, e.g. ("http://127.0.0.1:8000",).
    key_variable: name of the environment variable that holds the API key; "" for none.
    concurrency: requests in flight at once, over all endpoints.
    requests_per_second: limit over all endpoints; 0 for none.
    timeout: seconds for one request.
    retry: when a request is made again.
    """

    urls: tuple[str, ...] = ("http://127.0.0.1:8000",)
    key_variable: str = ""
    concurrency: int = 256
    requests_per_second: float = 0.0
    timeout: float = 120.0
    retry: RetrySettings = field(default_factory=RetrySettings)

    def check(self, where: str = "server") -> None:
        """Raises InputError, naming the field; what may be a secret is not repeated."""
        if not self.urls:
            raise InputError("is empty", where=f"{where}.urls", fix="give at least one address")
        for i, url in enumerate(self.urls):
            checked_url(url, f"{where}.urls[{i}]")
        if self.key_variable:
            check_variable(self.key_variable, f"{where}.key_variable")
        positive = {"concurrency": self.concurrency, "timeout": self.timeout, "retry.tries": self.retry.tries}
        positive |= {
            f"retry.{name}": getattr(self.retry, name) for name in ("longest_wait", "patience", "first_contact")
        }
        for name, value in positive.items():
            if not value > 0:
                raise InputError("is out of range", where=f"{where}.{name}", fix="a value that is positive")
        for name, value in {
            "requests_per_second": self.requests_per_second,
            "retry.first_wait": self.retry.first_wait,
        }.items():
            if not value >= 0:
                raise InputError("is out of range", where=f"{where}.{name}", fix="a value that is not negative")


_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_SHORTEST = 8
_ESCAPE = re.compile(r"\\u00([0-7][0-9a-fA-F])|\\/")
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

    def hide_escaped(self, text: str) -> str:
        """The text without the key, however JSON escapes it."""
        return self.hide(_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)) if escape[1] else "/", text))

    def hide_in(self, raw: bytes) -> str:
        """The text of a reply without the key, whether the reply is JSON or not."""
        try:
            return self.hide(json.dumps(self.hide(decode_json(raw, where="reply"))))
        except InputError:
            return self.hide_escaped(raw.decode(errors="replace"))


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
