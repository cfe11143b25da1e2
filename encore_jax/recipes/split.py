"""What decides which comparisons a run learns from and which it is measured on."""

from __future__ import annotations

from typing import NamedTuple


class Split(NamedTuple):
    """How prompts are split.

    Attributes:
      test_fraction: share of them that is held out.
      folds: of cross-validation.
      seed: of both.
    """

    test_fraction: float
    folds: int
    seed: int


class PartSplit(NamedTuple):
    """What decides which comparison is in which part.

    Attributes:
      test_fraction: share of the prompts that is held out.
      adapter_fraction: share of the other prompts that an adapter is trained on.
      seed: of the draws by hash.
    """

    test_fraction: float
    adapter_fraction: float
    seed: int
