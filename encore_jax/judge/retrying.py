"""When to ask again, and when never: statuses, and exponential backoff with jitter."""

import dataclasses
import random
import re

from encore_jax.settings import Settings

RETRIED = (408, 409, 425, 429)
"""HTTP statuses below 500 that may pass."""

THROTTLED = (429, 503)
"""HTTP statuses that mean "later", not "broken"."""

_ADDRESS = "correct the address: it ends before /v1"
FATAL = {
    status: ("it sends us elsewhere", "write the address that it names") for status in (300, 301, 302, 303, 307, 308)
}
FATAL |= {
    401: ("it wants another API key", "name the variable with the right key: server.key_variable"),
    402: ("it wants to be paid", "see to the account's credit or quota"),
    403: ("it does not let this API key in", "use a key that may ask this model"),
    404: ("it knows no such path or model", f"correct the model's name, or {_ADDRESS}"),
    405: ("it knows no such path", _ADDRESS),
    407: ("a proxy wants to know who asks", "ask from where no proxy stands between"),
    410: ("it knows no such path or model any more", f"correct the model's name, or {_ADDRESS}"),
    451: ("it must not answer here", "ask another server"),
}
"""Of HTTP statuses that every further request would meet as well: what they mean, and what to do."""

_NO_QUOTA = re.compile(rb'"(?:insufficient_quota|billing_hard_limit_reached|billing_not_active|insufficient_balance)"')


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


def backoff(tried: int, settings: RetrySettings, chance: random.Random) -> float:
    """Seconds to wait after so many tries: evenly distributed up to the exponential bound ("full jitter").

    >>> 0 <= backoff(3, RetrySettings(first_wait=1.0), random.Random(0)) <= 4
    True
    """
    doublings = min(max(tried - 1, 0), 64)
    return chance.uniform(0.0, min(settings.longest_wait, settings.first_wait * 2.0**doublings))


def is_out_of_quota(status: int, body: bytes) -> bool:
    """Whether "too many requests" means that no further one is paid for.

    >>> is_out_of_quota(429, b'{"error": {"code": "insufficient_quota"}}'), is_out_of_quota(429, b"slow down")
    (True, False)
    """
    return status == 429 and _NO_QUOTA.search(body[:4096]) is not None
