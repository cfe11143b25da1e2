"""When to ask again: exponential backoff with jitter."""

import dataclasses
import random

from encore_jax.settings import Settings

RETRIED = (408, 409, 425, 429)
"""HTTP statuses below 500 that may pass."""

THROTTLED = (429, 503)
"""HTTP statuses that mean "later", not "broken"."""


@dataclasses.dataclass
class RetrySettings(Settings):
    """Attributes:
    tries: requests for one answer before it counts as failed; being throttled does not count.
    first_wait: seconds before the second try, at most; twice as long before each further one.
    longest_wait: of these waits.
    patience: seconds that an answer may take, throttling included, and that all endpoints may be down.
    """

    tries: int = 6
    first_wait: float = 0.5
    longest_wait: float = 30.0
    patience: float = 600.0


def backoff(tried: int, settings: RetrySettings, chance: random.Random) -> float:
    """Seconds to wait after so many tries: evenly distributed up to the exponential bound ("full jitter").

    >>> 0 <= backoff(3, RetrySettings(first_wait=1.0), random.Random(0)) <= 4
    True
    """
    doublings = min(max(tried - 1, 0), 64)
    return chance.uniform(0.0, min(settings.longest_wait, settings.first_wait * 2.0**doublings))
