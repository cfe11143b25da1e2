"""What is evaluated: rated comparisons as one judge, or one set of heads, sees them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from encore_jax.data.atomic import atomic_path
from encore_jax.errors import InputError

Label = Literal["human-rated", "model-rated", "semi-synthetic"]
Sees = Literal["ratings", "nothing", "train labels", "test labels", "text"]
"""What a method was chosen, or fitted, from; "test labels" marks an oracle."""
_PARTS = ("train", "test")


class Baseline(NamedTuple):
    """A method that is no weighting of the rules.

    Attributes:
      sees: what it was fitted from.
      rewards: fp32 ``[N, 2]`` of the test comparisons.
    """

    sees: Sees
    rewards: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """Scored comparisons of two responses.

    Attributes:
      scores: fp32 ``[N, 2, K]``, higher is better.
      preferred: int ``[N]``, 0 or 1, by people.
      cluster: int ``[N]``; comparisons of one prompt share it and are resampled together.
      subset: str ``[N]``.
    """

    scores: np.ndarray
    preferred: np.ndarray
    cluster: np.ndarray
    subset: np.ndarray

    def __post_init__(self):
        n = len(self.scores)
        if self.scores.ndim != 3 or self.scores.shape[1] != 2:
            raise InputError(f"scores have shape {self.scores.shape}", where="Pairs", fix="pass [N, 2, K]")
        for name in ("preferred", "cluster", "subset"):
            _check_shape(getattr(self, name), (n,), name, "Pairs")
        for name, bad in (("preferred", ~np.isin(self.preferred, (0, 1))), ("cluster", np.less(self.cluster, 0))):
            for i in np.flatnonzero(bad):
                raise InputError(f"its {name} is {getattr(self, name)[i]}", where=f"Pairs, comparison {i}")
        if not np.isfinite(self.scores).all():
            i, _, k = np.argwhere(~np.isfinite(self.scores))[0]
            raise InputError(f"comparison {i} has no finite score for rule {k}", where="Pairs", fix="score it again")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def first_preferred(self) -> np.ndarray:
        """The scores with the preferred response first: fp32 ``[N, 2, K]``."""
        order = np.stack([self.preferred, 1 - self.preferred], 1)
        return np.take_along_axis(self.scores, order[..., None], axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class View:
    """One way of seeing the data: the ratings that entropies come from, and scored train and test comparisons.

    Attributes:
      name: short identifier.
      label: where the ratings come from; shown wherever a number of this view is.
      description: one paragraph for the report.
      rules: K names.
      ratings, rated: fp32 and bool ``[R, K]``, the *training* ratings and which of them exist.
      rating_cluster: int ``[R]``, the prompt of each rated response.
      train: training comparisons; their scores never come from heads that saw their prompt.
      test: held-out comparisons.
      heuristics: rewards ``[N, 2]`` of the test comparisons by rule-free baselines.
      baselines: other methods that are no weighting of the rules, by name.
    """

    name: str
    label: Label
    description: str
    rules: tuple[str, ...]
    ratings: np.ndarray
    rated: np.ndarray
    rating_cluster: np.ndarray
    train: Pairs
    test: Pairs
    heuristics: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    baselines: dict[str, Baseline] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        k = len(self.rules)
        widths = {self.ratings.shape[1], self.rated.shape[1], self.train.scores.shape[2], self.test.scores.shape[2]}
        if widths != {k}:
            raise InputError(f"{k} rule names, but arrays of {sorted(widths)} rules", where=f"view {self.name!r}")
        if not len(self.test) or not len(self.train):
            raise InputError(
                f"{len(self.train)} training and {len(self.test)} test comparisons",
                where=f"view {self.name!r}",
                fix="give more data, or change the test fraction",
            )

        rows = len(self.ratings)
        _check_shape(self.rated, (rows, k), "rated", f"view {self.name!r}")
        _check_shape(self.rating_cluster, (rows,), "rating_cluster", f"view {self.name!r}")
        for name, (_, reward) in self.rewards().items():
            _check_shape(reward, (len(self.test), 2), f"{name!r}", f"view {self.name!r}")
            if not np.isfinite(reward).all():
                raise InputError(f"{name!r} has rewards that are not finite", where=f"view {self.name!r}")

    def rewards(self) -> dict[str, Baseline]:
        """Everything that rewards the test comparisons without weighing rules: baselines, then heuristics."""
        return self.baselines | {f"heuristic: {name}": Baseline("text", r) for name, r in self.heuristics.items()}

    def save(self, path: Path) -> None:
        """Writes the view as one .npz file."""
        arrays = {"rules": np.array(self.rules), "ratings": self.ratings, "rated": self.rated}
        arrays |= {"rating_cluster": self.rating_cluster}
        for part in _PARTS:
            arrays |= {f"{part}.{f.name}": getattr(getattr(self, part), f.name) for f in dataclasses.fields(Pairs)}
        arrays |= {f"heuristic.{name}": reward for name, reward in self.heuristics.items()}
        arrays |= {f"baseline.{made.sees}.{name}": made.rewards for name, made in self.baselines.items()}
        words = {name: np.array(getattr(self, name)) for name in ("name", "label", "description")}
        with atomic_path(Path(path)) as temporary, open(temporary, "wb") as file:
            np.savez(file, **arrays, **words)

    @classmethod
    def load(cls, path: Path) -> View:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            values = dict(stored)
        pairs = {p: Pairs(**{f.name: values[f"{p}.{f.name}"] for f in dataclasses.fields(Pairs)}) for p in _PARTS}
        heuristics = {name.removeprefix("heuristic."): r for name, r in values.items() if name.startswith("heuristic.")}
        baselines = {}
        for key, rewards in values.items():
            kind, _, rest = key.partition(".")
            if kind == "baseline":
                sees, _, name = rest.partition(".")
                baselines[name] = Baseline(sees, rewards)
        words = {name: str(values[name]) for name in ("name", "label", "description")}
        arrays = {name: values[name] for name in ("ratings", "rated", "rating_cluster")}
        rules = tuple(map(str, values["rules"]))
        return cls(**words, **arrays, **pairs, rules=rules, heuristics=heuristics, baselines=baselines)


def _check_shape(array: np.ndarray, shape: tuple[int, ...], name: str, where: str) -> None:
    if np.shape(array) != shape:
        raise InputError(f"{name} has shape {np.shape(array)}, not {shape}", where=where)
