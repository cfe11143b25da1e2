"""Which questions are asked again in a later pass or run."""

import dataclasses

from encore_jax.errors import InputError
from encore_jax.judge.question import Status
from encore_jax.settings import Settings


@dataclasses.dataclass
class RetryPolicy(Settings):
    """Attributes:
    failed: how often a question is asked at most while it fails (each with the client's own tries).
    unparsable: how often at most while its answer cannot be read; a deterministic judge answers the same again.
    """

    failed: int = 3
    unparsable: int = 1

    def check(self, where: str = "policy") -> None:
        """Raises InputError."""
        for name in ("failed", "unparsable"):
            if getattr(self, name) < 1:
                raise InputError("is out of range", where=f"{where}.{name}", fix="a value that is at least 1")

    def settled(self, status: str, attempts: int) -> bool:
        """Whether a question of this status, asked so often, needs no asking.

        >>> RetryPolicy().settled("ok", 1), RetryPolicy().settled("failed", 2)
        (True, False)
        """
        if status == Status.OK:
            return True
        return attempts >= (self.failed if status == Status.FAILED else self.unparsable)
