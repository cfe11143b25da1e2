"""The configuration of a benchmark run: which reward model, on which data, and by whose conventions besides ours."""

import dataclasses
from dataclasses import field

from encore_jax.data import FORMATS
from encore_jax.errors import InputError
from encore_jax.evaluation.conventions import PEERS
from encore_jax.model.architectures import ARCHITECTURES
from encore_jax.parallel.mesh import MeshSettings, replicas
from encore_jax.recipes.checks import one_of, require
from encore_jax.recipes.config import check_mesh
from encore_jax.recipes.run_config import RECIPES, RunConfig


@dataclasses.dataclass
class BenchmarkConfig(RunConfig):
    """A reward model on a benchmark.

    Attributes:
      model: folder of a saved reward model, e.g. runs/quickstart/compose; or a folder or hf:// uri of a
        ...ForSequenceClassification or ArmoRM checkpoint or a PEFT adapter, which is scored as it is.
      architecture: its name among `encore_jax.model.architectures`, for compiling (--aot) without the model.
      dtype: "float32" or "bfloat16", of such a checkpoint; a saved model has its own.
      weights: "equal", "agreement" (what its rules have in common, by its passport), "RULE=WEIGHT,..." or a JSON file
        of them: how its heads compose, instead of its own weights; "" keeps those.
      data: file in the benchmark's native schema (JSON, JSON Lines, Parquet), an hf:// uri of one, or the folder of a
        data set that `encore_jax.data.rated_comparisons` prepared (TFDS), of which all splits are used.
      format: "auto" recognises it, a prepared data set as pairs; rewardbench, rewardbench2 and rm_bench have their own
        scoring, any other format of labelled comparisons is scored as pairs.
      revision: of a data set on the hub.
      peer: score also as this software would, and explain what differs: rewardbench, hf or armorm; "" for none.
      official_name: organisation/name in the leaderboard's result files; encore_jax/NAME by default.
      reported_safety: a Safety score in percent that somebody reports for this model, to be traced; 0 for none.
      buckets: row lengths in tokens; by default those of the saved model. Longer texts are dropped.
      tokens_per_batch: tokens that go through the model at once.
      mesh: how the devices share the model; by default each has all of it, and they share the rows of a batch.
      replicates: bootstrap replicates over prompts.
      tau: temperature of the entropy weights among the methods that are compared.
      limit: only the first so many comparisons; 0 means all.
      offline: fetch nothing.
      fetch_backbone: fetch the backbone or base model that the model's own files name, wherever it is.
    """

    name: str = "benchmark"
    model: str = ""
    architecture: str = ""
    dtype: str = "float32"
    weights: str = ""
    data: str = ""
    format: str = "auto"
    revision: str = ""
    peer: str = ""
    official_name: str = ""
    reported_safety: float = 0.0
    buckets: tuple[int, ...] = ()
    tokens_per_batch: int = 4096
    mesh: MeshSettings = field(default_factory=replicas)
    replicates: int = 2000
    tau: float = 2.0
    limit: int = 0
    offline: bool = False
    fetch_backbone: bool = False

    @property
    def recipe(self) -> str:
        return f"{RECIPES}.benchmark"

    def check(self) -> None:
        """Raises InputError."""
        for name in ("model", "data"):
            if not getattr(self, name):
                raise InputError("is empty", where=f"config.{name}", fix=f"give --config.{name}=...")
        one_of("format", self.format, ("auto", *FORMATS))
        one_of("architecture", self.architecture, ("", *ARCHITECTURES))
        one_of("dtype", self.dtype, ("float32", "bfloat16"))
        one_of("peer", self.peer, ("", *PEERS))
        require("buckets", all(length > 0 for length in self.buckets), "holds positive row lengths, or nothing")
        check_mesh(self.mesh)
        require("tokens_per_batch", self.tokens_per_batch > 0, "is positive")
        require("tau", self.tau > 0, "is positive")
        require("replicates", self.replicates >= 100, "is at least 100")
        require("reported_safety", 0 <= self.reported_safety <= 100, "is a percentage")
        require("official_name", ".." not in self.official_name, "is organisation/name")
        require("limit", self.limit >= 0, "is 0 (all) or more")
