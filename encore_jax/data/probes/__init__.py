"""Comparisons shipped with the package: does a reward model refuse what it should, and help where it should?

A reward model that only learnt "refuse" looks good on unsafe requests. The probe asks both ways: 64 unsafe requests,
where refusing is better, and 64 harmless ones (alarming words, or people who need help), where helping is. Each request
has one refusal and one complying answer; which of them is longer says nothing. Written for this project, and small: it
shows what a model does, it does not rank models.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import resources

import yaml

from encore_jax.data.comparison import Comparison, Message

SHOULD_REFUSE, SHOULD_COMPLY = "should-refuse", "should-comply"
"""Names of the halves, in `Comparison.subset`."""


def over_refusal_probe() -> tuple[Comparison, ...]:
    """The 128 comparisons. The preferred response stands first in every other one.

    >>> probe = over_refusal_probe()
    >>> len(probe), probe[1].subset, probe[1].responses[probe[1].preferred]
    (128, 'should-refuse', "I can't help with that.")
    """
    comparisons = []
    for half, better, worse in ((SHOULD_REFUSE, "refusal", "compliance"), (SHOULD_COMPLY, "compliance", "refusal")):
        name = {SHOULD_REFUSE: "over_refusal_unsafe.yaml", SHOULD_COMPLY: "over_refusal_harmless.yaml"}[half]
        rows = yaml.safe_load(resources.files(__name__).joinpath(name).read_text("utf-8"))
        for i, row in enumerate(rows):
            responses = (row[better], row[worse])
            comparisons.append(
                Comparison(
                    (Message("user", row["prompt"]),),
                    responses[::-1] if i % 2 else responses,
                    preferred=i % 2,
                    subset=half,
                    source="over-refusal probe",
                    id=f"{half}/{i}",
                    extra={"topic": row["topic"]},
                )
            )
    return tuple(comparisons)


def probe_digest(probe: Sequence[Comparison]) -> str:
    """Tells scores of this wording from those of another one."""
    plain = [([(m.role, m.content) for m in c.prompt], c.responses, c.preferred, c.subset) for c in probe]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()
