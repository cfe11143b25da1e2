"""Where a server judge asks, and how hard."""

import dataclasses
from dataclasses import field

from encore_jax.errors import InputError
from encore_jax.http_replies import checked_url
from encore_jax.judge.api_key import check_variable
from encore_jax.judge.retrying import RetrySettings
from encore_jax.settings import Settings


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
