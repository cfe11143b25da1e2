"""What is evaluated: rated comparisons as one judge, or one set of heads, sees them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from encore_jax.data.atomic import atomic_path
from encore_jax.data.npz import read_npz
from encore_jax.errors import InputError

Label = Literal["human-rated", "as-rated", "model-rated", "semi-synthetic"]
Sees = Literal["ratings", "scores", "nothing", "train labels", "test labels", "text"]
"""What a method was chosen, or fitted, from: "scores" are those of comparisons, without their labels; "test labels"
marks an oracle."""
_PARTS = ("train", "test")
_PAIRS = {"scores": ("f", 3), "preferred": ("iu", 1), "cluster": ("iu", 1), "subset": ("U", 1)}
_ARRAYS = {"ratings": ("f", 2), "rated": ("b", 2), "rating_cluster": ("iu", 1)}
"""Kinds of numbers, and how many axes, of the arrays in a file."""


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

        if len(set(self.rules)) < k:
            raise InputError(f"a rule is named twice: {', '.join(self.rules)}"[:300], where=f"view {self.name!r}")
        rows = len(self.ratings)
        _check_shape(self.rated, (rows, k), "rated", f"view {self.name!r}")
        _check_shape(self.rating_cluster, (rows,), "rating_cluster", f"view {self.name!r}")
        if not np.isfinite(np.where(self.rated, self.ratings, 0)).all():
            raise InputError("a rating is no finite number", where=f"view {self.name!r}")
        if len(self.rating_cluster) and self.rating_cluster.min() < 0:
            raise InputError("a rating_cluster is negative", where=f"view {self.name!r}")
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
        """Reads what `save` wrote.

        Raises:
          InputError: the file is missing or damaged, or holds something else.
        """
        values = read_npz(path)

        def need(name: str, kinds: str, ndim: int) -> np.ndarray:
            where, fix = f"{path}, array {name[:80]!r}", "give view-NAME.npz of a run's score stage"
            if name not in values:
                raise InputError("is missing: this is no view", where=where, fix=fix)
            array = values[name]
            if array.dtype.kind not in kinds or array.ndim != ndim:
                found = f"{array.dtype} of {array.ndim} axes"
                raise InputError(f"holds {found[:80]}: this is no view", where=where, fix=fix)
            return array

        pairs = {p: Pairs(**{name: need(f"{p}.{name}", *kind) for name, kind in _PAIRS.items()}) for p in _PARTS}
        heuristics, baselines = {}, {}
        for key in values:
            kind, _, rest = key.partition(".")
            if kind == "heuristic":
                heuristics[rest] = need(key, "f", 2)
            elif kind == "baseline":
                sees, _, name = rest.partition(".")
                baselines[name] = Baseline(sees, need(key, "f", 2))
        words = {name: str(need(name, "U", 0)) for name in ("name", "label", "description")}
        arrays = {name: need(name, *kind) for name, kind in _ARRAYS.items()}
        rules = tuple(map(str, need("rules", "U", 1)))
        return cls(**words, **arrays, **pairs, rules=rules, heuristics=heuristics, baselines=baselines)


def _check_shape(array: np.ndarray, shape: tuple[int, ...], name: str, where: str) -> None:
    if np.shape(array) != shape:
        raise InputError(f"{name} has shape {np.shape(array)}, not {shape}", where=where)
