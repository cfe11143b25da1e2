"""The configuration of an ablation: the values of every axis, checked before anything is decided."""

import dataclasses
import math
from typing import get_args

from encore_jax.errors import InputError
from encore_jax.evaluation.ablation_tables import parse_rating_grid
from encore_jax.evaluation.view import Label
from encore_jax.recipes.checks import one_of, require
from encore_jax.recipes.run_config import RECIPES, RunConfig
from encore_jax.train.settings import ALPHAS


@dataclasses.dataclass
class AblateConfig(RunConfig):
    """The axes of an ablation; its settings are all combinations of their values.

    Attributes:
      scores: what to work on: view-NAME.npz, as the score stage of a run writes it and `View` documents it; a Parquet
        file of encore_jax.cli.score; or this project's comparisons with ratings, as a rating run writes them.
      pool: of such ratings: YAML file or shipped name of the rules; by default pool.yaml beside the file.
      label: where the values of a file that is no view come from: human-rated, model-rated or semi-synthetic.
      test_fraction: of such a file's prompts, decided; ratings (or scores) of the others give the entropies.
      features: features.npz beside it; then heads are fitted again on every draw of the training prompts. "" leaves
        the view's scores as they are, and a draw changes only the ratings that entropies come from.
      taus: temperatures; inf means equal weights.
      grids: of ratings, each "N levels" or "N bins".
      estimators, normalize, bases: see `rating_entropy`.
      scale: lowest and highest possible rating; left out, it is inferred from the ratings, and printed. Scores are on 0
        to 1 unless you say otherwise.
      subsets: of the rules: "full" (all rules), "all" (every non-empty subset, up to 16 rules), "sampled", or "auto":
        all of them up to 16 rules, sampled beyond.
      sampled: how many subsets "sampled" draws.
      agreement: "no" leaves entropy weights as they are, "yes" multiplies them by the weights of what the rules have in
        common, fitted to the scores of the training comparisons; with tau inf those are agreement's own.
      seeds: each orders the training prompts in its own way.
      shares: of the training prompts, the first of a seed's order. At 1 all seeds are alike.
      alphas: ridge penalties to choose from, once, on all of the training prompts (with features).
      folds: of that choice.
      replicates: bootstrap replicates of the comparisons, by prompt, beside the comparisons themselves.
      part: settings in one file; a killed run continues after the last complete one.
    """

    name: str = "ablation"
    scores: str = ""
    pool: str = ""
    label: str = "model-rated"
    test_fraction: float = 0.5
    features: str = ""
    taus: tuple[float, ...] = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, math.inf)
    grids: tuple[str, ...] = ("2 levels", "5 levels", "11 levels", "101 levels", "10 bins")
    estimators: tuple[str, ...] = ("plug_in", "miller_madow")
    normalize: tuple[str, ...] = ("none", "observed")
    bases: tuple[float, ...] = (math.e,)
    scale: tuple[float, ...] = ()
    subsets: str = "auto"
    sampled: int = 10_000
    agreement: tuple[str, ...] = ("no",)
    seeds: tuple[int, ...] = (0,)
    shares: tuple[float, ...] = (1.0,)
    alphas: tuple[float, ...] = ALPHAS
    folds: int = 5
    replicates: int = 0
    part: int = 2**20

    @property
    def recipe(self) -> str:
        return f"{RECIPES}.ablation"

    def check(self) -> None:
        """Raises InputError."""
        if not self.scores:
            raise InputError("is empty", where="config.scores", fix="give --scores=RUN/score/view-NAME.npz")
        one_of("label", self.label, get_args(Label))
        require("test_fraction", 0 < self.test_fraction < 1, "is above 0 and below 1")
        for name in ("taus", "grids", "estimators", "normalize", "bases", "agreement", "seeds", "shares", "alphas"):
            values = getattr(self, name)
            require(name, 0 < len(set(values)) == len(values), "holds at least one value, each once")
        two = len(self.scale) == 2 and -math.inf < self.scale[0] < self.scale[1] < math.inf
        require("scale", not self.scale or two, "is two numbers, the lower one first, or left out")
        require("taus", all(tau > 0 for tau in self.taus), "holds positive temperatures")
        for grid in self.grids:
            try:
                parse_rating_grid(grid, self.scale or (0.0, 1.0))
            except InputError as error:
                raise InputError(error.problem, where="config.grids", fix=error.fix) from None
        for estimator in self.estimators:
            one_of("estimators", estimator, ("plug_in", "miller_madow", "kde"))
        for normalize in self.normalize:
            one_of("normalize", normalize, ("none", "levels", "observed"))
        require("bases", all(1 < base < math.inf for base in self.bases), "holds numbers above 1")
        one_of("subsets", self.subsets, ("auto", "full", "all", "sampled"))
        for choice in self.agreement:
            one_of("agreement", choice, ("no", "yes"))
        require("sampled", self.sampled >= 1, "is at least 1")
        require("seeds", min(self.seeds) >= 0, "holds numbers from 0")
        require("shares", all(0 < share <= 1 for share in self.shares), "holds shares above 0, up to 1")
        require("alphas", min(self.alphas) > 0, "holds positive penalties")
        require("folds", self.folds >= 2, "is at least 2")
        require("replicates", self.replicates >= 0, "is 0 (none) or more")
        require("part", self.part >= 1, "is at least 1")
