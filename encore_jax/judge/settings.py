"""How often a question is put to a judge, at most."""

import dataclasses

from encore_jax.errors import InputError
from encore_jax.judge.question import Status
from encore_jax.settings import Settings


@dataclasses.dataclass
class RetryPolicy(Settings):
    """Attributes:
    failed: how often a question is asked at most while it fails (each with the client's own tries).
    unparsable: how often at most while its answer cannot be read; a deterministic judge answers the same again.

    >>> RetryPolicy(failed=5).failed, RetryPolicy().unparsable
    (5, 1)
    """

    failed: int = 3
    unparsable: int = 1

    def check(self, where: str = "policy") -> None:
        """Raises InputError."""
        for name in ("failed", "unparsable"):
            if getattr(self, name) < 1:
                raise InputError("is out of range", where=f"{where}.{name}", fix="a value that is at least 1")

    def settled(self) -> tuple[str, tuple[int, int]]:
        """Which questions need no asking: a condition on the journal's `status` and `attempts`, and its values."""
        condition = f"status = '{Status.OK}' OR attempts >= CASE status WHEN '{Status.FAILED}' THEN ? ELSE ? END"
        return condition, (self.failed, self.unparsable)
