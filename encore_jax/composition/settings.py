"""How a reward is composed, as settings: by which method, and how entropies are estimated.

Annotations are not postponed here: ml_collections reads the field types themselves.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from encore_jax.composition.entropy import rating_entropy
from encore_jax.settings import Settings

ENCORE, UNIFORM, AGREEMENT, PRODUCT = "ENCORE", "uniform", "agreement", "agreement × entropy"
"""Names of methods by which a reward can be composed."""
COMPOSED_BY = {"entropy": ENCORE, "agreement": AGREEMENT, "agreement_entropy": PRODUCT, "uniform": UNIFORM}
"""The method of every `CompositionSettings.method`."""


@dataclasses.dataclass
class CompositionSettings(Settings):
    """How entropies become weights, and what ENCORE is compared with.

    >>> ratings = np.array([[1.0, 5.0], [1.0, 3.0], [5.0, 1.0], [1.0, 4.0]])
    >>> settings = CompositionSettings(scale=(1, 5), levels=5)
    >>> [round(float(h), 2) for h in settings.entropy(ratings, np.ones(ratings.shape, bool))]
    [0.56, 1.39]

    Attributes:
      method: "entropy" (ENCORE), "agreement" (what the rules have in common), "agreement_entropy" (their product) or
        "uniform": the weights of the reward model. All are in the tables.
      anchor: a rule that is known to be about quality. If the pool splits into rules that agree among themselves only,
        agreement follows those that agree with it; "" names none.
      tau: temperature of the entropy weights.
      levels: evenly spaced levels of the common rating grid.
      bins: equal-width bins instead of levels; 0 means levels.
      scale: lowest and highest possible rating.
      base: of the logarithm.
      estimator, normalize: see `rating_entropy`.
      keep: how many rules hard selection keeps; 0 means half of them.
      draws: how many Dirichlet-random weightings.
      l2: ridge penalty of the learned Bradley-Terry and hinge weights.
    """

    method: str = "entropy"
    anchor: str = ""
    tau: float = 2.0
    levels: int = 11
    bins: int = 0
    scale: tuple[float, float] = (0.0, 1.0)
    base: float = math.e
    estimator: str = "plug_in"
    normalize: str = "none"
    keep: int = 0
    draws: int = 1000
    l2: float = 1e-4

    def entropy(self, ratings: np.ndarray, rated: np.ndarray, names: Sequence[str] | None = None) -> np.ndarray:
        """Entropy ``[K]`` of ``[..., K]`` ratings by these settings."""
        grid = {"bins": self.bins} if self.bins else {"levels": self.levels}
        options = dict(scale=self.scale, base=self.base, estimator=self.estimator, normalize=self.normalize)
        return np.asarray(rating_entropy(ratings, rated, names=names, **grid, **options))
