"""The part of a configuration that says where comparisons and ratings come from."""

import dataclasses
import math

from encore_jax.data import FORMATS
from encore_jax.errors import InputError
from encore_jax.recipes.checks import one_of, require
from encore_jax.settings import Settings, no_result

AUTO = "auto"
"""Of `pool`: the rules that the ratings name."""
RATINGS_FORMATS = ("auto", "encore", "columns", "openai_rbr")
"""Formats of files of rated responses."""
LABELLED_PAIRS, PAIRS, ANY = NEEDS = ("labelled pairs", "pairs", "any comparison")
"""What a run needs: two responses of which one is preferred; two responses; or any number of them, chosen or not."""


@dataclasses.dataclass
class DataConfig(Settings):
    """What is rated and what is compared.

    Attributes:
      source: "pyrit" (human ratings of ten rules from the pinned wheel; comparisons are same-prompt responses of
        different human severity), "files", or "tfds", a data set that `encore_jax.data.rated_comparisons` prepared.
      pool: a shipped rule pool's name, or a YAML file; or "auto": pool.yaml beside the file with the ratings, else the
        rules that this file names, of which higher is better. A prepared data set that has ratings has its own.
      rules: of a table whose columns name the rules (pool "auto"): all of them by name; or changes of what is chosen by
        names and values, +NAME to take a column in, -NAME to leave one out.
      path, format: comparisons of source "files": a path or hf:// uri, and its format ("auto" recognises it). Of source
        "tfds", the data set's folder; its prompts are split anew, and as it was if seed and test_fraction are the same.
      ratings_path, ratings_format: rated responses of source "files"; format "encore" (this project's own), "columns"
        (prompt, response and a column for every rule), "openai_rbr", or "auto" to recognise it. Left out, they are
        those of the comparisons, which then carry ratings of their own.
      scale: lowest and highest rating of the files' ratings, e.g. 1,5; left out, it is inferred from them, and printed.
        Ratings are mapped to 0 to 1, on which heads, entropies and rewards are.
      most_per_prompt: of source "pyrit", at most so many comparisons of one prompt and rubric; 0 means all. Without
        it, one prompt of 3,644 comparisons supplies 1,211.
      limit: use only so many comparisons, the first by hash; 0 means all.
      test_fraction: share of prompts held out.
      offline: fetch nothing; use what is in the cache.
    """

    source: str = "pyrit"
    pool: str = "pyrit_10"
    rules: tuple[str, ...] = ()
    path: str = ""
    format: str = "auto"
    ratings_path: str = ""
    ratings_format: str = "auto"
    scale: tuple[float, ...] = ()
    most_per_prompt: int = 30
    limit: int = 0
    test_fraction: float = 0.5
    offline: bool = no_result(False)

    def check(self) -> None:
        """Raises InputError."""
        one_of("data.source", self.source, ("pyrit", "files", "tfds"))
        one_of("data.format", self.format, ("auto", *FORMATS))
        one_of("data.ratings_format", self.ratings_format, RATINGS_FORMATS)
        if self.source != "pyrit" and not self.path:
            raise InputError("is empty", where="config.data.path", fix="give --config.data.path=FILE")
        of_table = self.source == "files" and self.pool == AUTO
        require("data.rules", not self.rules or of_table, "is left out: only a table's columns need it")
        own = self.source == "tfds" and self.ratings_path
        require("data.ratings_path", not own, "is left out: a prepared data set has its own")
        require("data.scale", len(self.scale) in (0, 2), "is two numbers, e.g. --config.data.scale=1,5, or left out")
        if self.scale:
            low, high = self.scale
            require("data.scale", -math.inf < low < high < math.inf, "is two numbers, the lower one first, e.g. 1,5")
            require("data.scale", self.source == "files", "is left out: other sources than files know their own")
        require("data.test_fraction", 0 < self.test_fraction < 1, "lies between 0 and 1")
        require("data.most_per_prompt", self.most_per_prompt >= 0, "is 0 (all) or more")
        require("data.limit", self.limit >= 0, "is 0 (all) or more")
