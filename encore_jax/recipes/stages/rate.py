"""Stage rate: ratings of every response, by people, and by simulated judges of declared reliability."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax.data import PYRIT_HARM_RULES, Comparison, RatedResponse
from encore_jax.errors import InputError
from encore_jax.evaluation.simulated_judges import simulated_ratings
from encore_jax.recipes.config import SemiSyntheticConfig
from encore_jax.recipes.stages.ingest import Ingested


class Ratings(NamedTuple):
    """Ratings of R responses.

    Attributes:
      human, rated: fp32 and bool ``[R, K]``.
      quality: fp32 ``[R]``, mean human harm rating (1 is harmless) that simulated judges see; NaN where there is none.
      simulated: fp32 ``[R, J]`` by the simulated judges; NaN where quality is.
    """

    human: np.ndarray
    rated: np.ndarray
    quality: np.ndarray
    simulated: np.ndarray

    @property
    def targets(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Ratings and mask ``[R, K]`` by whose they are: "human" and, if there are any, "judges"."""
        targets = {"human": (self.human, self.rated)}
        if self.simulated.shape[1]:
            known = np.isfinite(self.simulated)
            targets["judges"] = (np.where(known, self.simulated, 0), known)
        return targets

    def save(self, folder: Path) -> None:
        """Writes ratings.npz."""
        np.savez(folder / "ratings.npz", **self._asdict())

    @classmethod
    def load(cls, folder: Path) -> Ratings:
        """What `save` wrote."""
        with np.load(folder / "ratings.npz") as stored:
            return cls(**{name: stored[name] for name in cls._fields})


def strengths(config: SemiSyntheticConfig) -> np.ndarray:
    """Noise level of each simulated judge, most reliable first: fp32 ``[J]``."""
    return np.linspace(config.best, config.worst, config.judges, dtype=np.float32)


def rate(synthetic: SemiSyntheticConfig, data: Ingested, seed: int) -> Ratings:
    """Ratings of every rated response, by people, and by simulated judges if there are to be any.

    Raises:
      InputError: simulated judges have nothing to see.
    """
    rated = data.rated
    human = np.stack([r.ratings for r in rated])
    mask = np.stack([r.mask for r in rated])
    simulated = np.zeros((len(rated), 0), np.float32)
    quality = np.full(len(rated), np.nan, np.float32)
    if synthetic.judges:
        harm = np.isin(data.pool.names, PYRIT_HARM_RULES)
        if not harm.any():
            raise InputError(
                "the pool has no harm severity for simulated judges to see",
                where="config.semi_synthetic.judges",
                fix="set it to 0 for this data",
            )
        seen = mask & harm
        known = seen.any(1)
        _check_seen([r for r, ok in zip(rated, known, strict=True) if ok], data.comparisons)
        quality[known] = (human * seen).sum(1)[known] / seen.sum(1)[known]
        answers = simulated_ratings(
            jnp.asarray(np.nan_to_num(quality)),
            jnp.asarray(strengths(synthetic)),
            jax.random.key(seed),
            synthetic.noise,
            synthetic.levels,
        )
        simulated = np.where(known[:, None], np.asarray(answers), np.nan).astype(np.float32)
    return Ratings(human, mask, quality, simulated)


def _check_seen(rated: Sequence[RatedResponse], comparisons: Sequence[Comparison]) -> None:
    """Simulated judges see human harm ratings, so every compared response needs one."""
    seen = {(record.prompt, record.response) for record in rated}
    for i, comparison in enumerate(comparisons):
        for response in comparison.responses:
            if (comparison.prompt, response) not in seen:
                raise InputError(
                    f"simulated judges need human harm ratings, and {response[:40]!r} has none",
                    where=f"comparison {comparison.id or i}",
                    fix="set --config.semi_synthetic.judges=0 for this data",
                )
