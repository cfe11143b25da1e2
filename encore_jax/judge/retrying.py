"""When to ask again: exponential backoff with jitter, and what a server asks for in Retry-After."""

import dataclasses
import datetime
import email.utils
import math
import random

from encore_jax.settings import Settings

RETRIED = (408, 409, 425, 429)
"""HTTP statuses below 500 that may pass."""

THROTTLED = (429, 503)
"""HTTP statuses that mean "later", not "broken"."""

LONGEST_WAIT = 600.0
"""No server's wish to wait is followed for longer, in seconds."""


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
    return chance.uniform(0.0, min(settings.longest_wait, settings.first_wait * 2.0 ** max(tried - 1, 0)))


def retry_after(value: str | None, now: datetime.datetime | None = None) -> float | None:
    """Seconds that a Retry-After header asks for, in seconds or as an HTTP date; None where it says nothing usable.

    >>> retry_after("1.5"), retry_after("soon"), retry_after("-3")
    (1.5, None, 0.0)
    >>> noon = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.timezone.utc)
    >>> retry_after("Thu, 01 Jan 2026 12:00:30 GMT", noon)
    30.0
    """
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            then = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        if then.tzinfo is None:
            then = then.replace(tzinfo=datetime.UTC)
        seconds = (then - (now or datetime.datetime.now(datetime.UTC))).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT) if math.isfinite(seconds) else None
