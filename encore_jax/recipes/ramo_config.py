"""The configurations of the second paper: a Rule Adapter, and reward models trained on the labels it leads to."""

import dataclasses
from dataclasses import field

from encore_jax.composition.rule_labels import TIES
from encore_jax.errors import InputError
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.recipes.checks import one_of, require
from encore_jax.recipes.config import DataConfig, EvaluateConfig, ModelConfig, TrainConfig, check_length, check_parts
from encore_jax.recipes.run_config import RECIPES, RunConfig
from encore_jax.settings import Settings
from encore_jax.train.settings import ALPHAS

ARMS = (
    "initial",
    "human",
    "all",
    "entropy",
    "adapter_weights",
    "random",
    "fixed",
    "oracle",
    "adapter",
    "oracle+entropy",
    "adapter+entropy",
    "adapter+weights",
    "oracle+loading",
    "adapter+loading",
)
"""Where the labels of a reward model come from; `encore_jax.evaluation.ramo.ARM_WORDS` says what each is."""
WITHOUT_R = ("initial", "human", "all", "entropy", "adapter_weights")
"""Arms that select nothing."""


@dataclasses.dataclass
class RateConfig(Settings):
    """Where the ratings of compared responses come from.

    Attributes:
      source: "heads" (rule heads, by ridge regression on the frozen backbone, trained on the rated responses of
        `data.ratings_path`: model-rated) or "comparisons" (the comparisons' own file holds ratings, in this project's
        format; comparisons without any are new ones, for which an adapter only predicts).
      judged: for "comparisons", who rated them, as the report says it: "model-rated" or "human-rated".
      folds, alphas: of the ridge regression.
    """

    source: str = "heads"
    judged: str = "model-rated"
    folds: int = 5
    alphas: tuple[float, ...] = ALPHAS

    def check(self) -> None:
        """Raises InputError."""
        one_of("rate.source", self.source, ("heads", "comparisons"))
        one_of("rate.judged", self.judged, ("model-rated", "human-rated"))
        require("rate.folds", self.folds >= 2, "is at least 2")
        _check_some_positive("rate.alphas", self.alphas)


@dataclasses.dataclass
class SelectConfig(Settings):
    """Which rules of a comparison are critical: the r largest ``relevance + half |discrepancy|``.

    Attributes:
      r: how many.
      half: factor of the discrepancy. The paper's ½ is for ratings in [-1, 1]; on the scale from 0 to 1 that ratings
        have in this project the same choice is 1.
      relevance: "none"; or the "mean", "max" or "min" over both responses of what the judge said, 1 - P(Irrelevant): in
        the field `extra.relevance` of every comparison, by rule, two numbers or one for both.
      ties: what becomes of a comparison whose selected ratings sum to the same: "drop", "first" or "second".
      tau: temperature of the entropy weights where they are combined with a selection.
    """

    r: int = 5
    half: float = 1.0
    relevance: str = "none"
    ties: str = "drop"
    tau: float = 2.0

    def check(self) -> None:
        """Raises InputError."""
        require("select.r", self.r >= 1, "is at least 1")
        require("select.half", self.half >= 0, "is not negative")
        one_of("select.relevance", self.relevance, ("none", "mean", "max", "min"))
        require("select.half", self.half > 0 or self.relevance != "none", "is positive where there is no relevance")
        one_of("select.ties", self.ties, TIES)
        require("select.tau", self.tau > 0, "is positive")


@dataclasses.dataclass
class AdapterTrainConfig(TrainConfig):
    """How a Rule Adapter is trained; the best state by recall@r on validation prompts is used.

    Attributes:
      method: "heads" (K logits on the frozen backbone's feature of "prompt, response A, response B"; convex) or
        "gradient" (the backbone as well, by everything that `TrainConfig` says).
      orders: "random" (each comparison in one order, drawn by the seed) or "both".
      penalties: of "heads", L2 penalties to choose from.
      validation: share of the training prompts kept for choosing the penalty, or the checkpoint.
    """

    method: str = "heads"
    loss: str = "binary"
    keep_best: str = "recall"
    use: str = "best"
    orders: str = "random"
    penalties: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
    validation: float = 0.2

    def check(self, where: str = "train") -> None:
        """Raises InputError."""
        one_of(f"{where}.method", self.method, ("heads", "gradient"))
        one_of(f"{where}.loss", self.loss, ("binary",))
        one_of(f"{where}.orders", self.orders, ("random", "both"))
        one_of(f"{where}.keep_best", self.keep_best, ("", "loss", "recall"))
        require(f"{where}.validation", 0 < self.validation < 1, "lies between 0 and 1")
        _check_some_positive(f"{where}.penalties", self.penalties)
        require(f"{where}.positive_weight", self.positive_weight > 0, "is positive")
        best = {"keep_best": self.keep_best and "loss", "use": self.use if self.method == "gradient" else "last"}
        try:
            dataclasses.replace(_plain(self), method="gradient", **best).check()
        except InputError as error:
            place = error.where.replace("config.train.", f"config.{where}.")
            raise InputError(error.problem, where=place, fix=error.fix) from None


@dataclasses.dataclass
class RewardTrainConfig(TrainConfig):
    """How the reward models of all arms are trained, each from the same initial one.

    Attributes:
      method: "heads" (a linear Bradley-Terry head on the frozen backbone, pulled towards an initial head that was
        trained on people's labels of the adapter's comparisons; convex, solved exactly) or "gradient" (the whole model,
        from the reward head of the checkpoint, by everything that `TrainConfig` says).
      arms: which, of `ARMS`.
      rs: numbers of selected rules to try besides `select.r`.
      sizes: numbers of training comparisons to try besides all.
      seeds: repetitions; each draws its training comparisons (with replacement for "heads"), and its random rules.
      penalties: of "heads", L2 penalties to choose from by cross-validation of the initial head.
    """

    method: str = "heads"
    loss: str = "bradley_terry"
    arms: tuple[str, ...] = ARMS
    rs: tuple[int, ...] = (1, 3, 10)
    sizes: tuple[int, ...] = (100, 300)
    seeds: int = 5
    penalties: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

    def check(self) -> None:
        """Raises InputError."""
        one_of("train.method", self.method, ("heads", "gradient"))
        one_of("train.loss", self.loss, ("bradley_terry",))
        for arm in self.arms:
            one_of("train.arms", arm, ARMS)
        require("train.arms", len(set(self.arms)) == len(self.arms) > 0, "holds at least one arm, none twice")
        require("train.rs", all(r > 0 for r in self.rs), "holds positive numbers")
        require("train.sizes", all(n > 0 for n in self.sizes), "holds positive numbers")
        require("train.seeds", self.seeds >= 1, "is at least 1")
        _check_some_positive("train.penalties", self.penalties)
        dataclasses.replace(_plain(self), method="gradient").check()


def _plain(config: TrainConfig) -> TrainConfig:
    return TrainConfig(**{part.name: getattr(config, part.name) for part in dataclasses.fields(TrainConfig)})


@dataclasses.dataclass
class SimulateConfig(Settings):
    """The simulation of the mutual-information argument.

    Attributes:
      comparisons: simulated ones per point.
      rules: K.
      noise: σ of a rule's error, in units of the discrepancies' scale.
      flips: shares of rules whose sign is turned against the others.
    """

    comparisons: int = 20000
    rules: int = 20
    noise: float = 2.0
    flips: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)

    def check(self, r: int) -> None:
        """Raises InputError."""
        require("simulate.comparisons", self.comparisons >= 100, "is at least 100")
        require("simulate.rules", self.rules >= r, "is at least select.r")
        require("simulate.noise", self.noise > 0, "is positive")
        flips = bool(self.flips) and all(0 <= q <= 1 for q in self.flips)
        require("simulate.flips", flips, "holds at least one share between 0 and 1")


@dataclasses.dataclass
class AdapterConfig(RunConfig):
    """A Rule Adapter: trained on rated comparisons, and its predictions for all of them."""

    data: DataConfig = field(default_factory=lambda: DataConfig(source="files"))
    model: ModelConfig = field(default_factory=ModelConfig)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    rate: RateConfig = field(default_factory=RateConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    train: AdapterTrainConfig = field(default_factory=AdapterTrainConfig)
    simulate: SimulateConfig = field(default_factory=SimulateConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    @property
    def recipe(self) -> str:
        return f"{RECIPES}.rule_adapter"

    def check(self) -> None:
        """Raises InputError for a choice that cannot be."""
        _check_common(self)
        self.train.check()
        if self.train.method == "gradient":
            check_length("train", self.train, self.model)


@dataclasses.dataclass
class RamoConfig(RunConfig):
    """The whole second paper: an adapter, labels by the rules it selects, and a reward model per arm.

    Attributes:
      adapter_from: folder of a finished adapter run whose predictions are used; "" trains an adapter here, on
        `adapter_fraction` of the prompts.
      adapter_fraction: share of the prompts (after those held out) that an adapter trained here learns from, and the
        initial head of method "heads".
    """

    data: DataConfig = field(default_factory=lambda: DataConfig(source="files"))
    model: ModelConfig = field(default_factory=ModelConfig)
    mesh: MeshSettings = field(default_factory=MeshSettings)
    rate: RateConfig = field(default_factory=RateConfig)
    select: SelectConfig = field(default_factory=SelectConfig)
    adapter: AdapterTrainConfig = field(default_factory=AdapterTrainConfig)
    adapter_from: str = ""
    adapter_fraction: float = 0.4
    train: RewardTrainConfig = field(default_factory=RewardTrainConfig)
    simulate: SimulateConfig = field(default_factory=SimulateConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)

    @property
    def recipe(self) -> str:
        return f"{RECIPES}.ramo"

    def check(self) -> None:
        """Raises InputError for a choice that cannot be."""
        _check_common(self)
        self.adapter.check("adapter")
        self.train.check()
        require("adapter_fraction", 0 < self.adapter_fraction < 1, "lies between 0 and 1")
        for where, part in (("adapter", self.adapter), ("train", self.train)):
            if part.method == "gradient":
                check_length(where, part, self.model)


def _check_common(config: AdapterConfig | RamoConfig) -> None:
    one_of("data.source", config.data.source, ("files", "tfds"))
    check_parts(config, "data")
    if config.rate.source == "heads" and not config.data.ratings_path:
        raise InputError("is empty", where="config.data.ratings_path", fix="give --config.data.ratings_path=FILE")
    check_parts(config, "model", "mesh", "rate", "select", "evaluate")
    config.simulate.check(config.select.r)


def _check_some_positive(where: str, values: tuple[float, ...]) -> None:
    require(where, bool(values) and min(values) > 0, "holds at least one value, all positive")
