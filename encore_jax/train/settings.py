"""Settings of a training run, grouped by what they decide; `TrainSettings` has them all as flat fields.

Annotations are not postponed here: ml_collections reads the field types themselves.
"""

import dataclasses

from encore_jax.settings import Settings, no_result

TRAINABLE = {"heads": ("heads",), "lora": ("heads", "lora"), "all": ("heads", "backbone")}
"""Which parts of the parameters change."""
LOSSES = ("regression", "bradley_terry", "binary", "joint")
LOWEST, HIGHEST = ("loss",), ("accuracy", "recall")
"""Held-out metrics of which the lowest, or the highest, is best."""
PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")
"""Weight matrices of a layer, those that LoRA can adapt."""
ALPHAS = tuple(10.0**e for e in range(7))
"""Default grid of ridge penalties, for features scaled to unit variance."""
PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Default grid of a preference head's λ, for feature differences scaled to unit variance."""


@dataclasses.dataclass
class OptimizerSettings(Settings):
    """AdamW with linear warm-up and cosine decay to zero, and clipping by the global norm.

    Attributes:
      lr: peak learning rate.
      warmup: share of the steps spent warming up.
      weight_decay: on matrices only; norms and biases are left alone.
      clip: largest global gradient norm; 0 does not clip.
      b1, b2: decays of the first and second moment.
      first_moment: "float32", or "bfloat16" to halve its memory. The second moment stays float32: with b2 near 1 its
        increments fall below bfloat16's resolution and it would stop moving.
    """

    lr: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    clip: float = 1.0
    b1: float = 0.9
    b2: float = 0.95
    first_moment: str = "float32"


@dataclasses.dataclass
class LossSettings(Settings):
    """Which loss trains the heads.

    Attributes:
      loss: "regression" (masked squared error on ratings), "bradley_terry" (on composed rewards of pairs), "binary"
        (masked cross-entropy of one yes/no answer per rule) or "joint" (bradley_terry + rating_weight × regression).
      rating_weight: of "joint", λ.
      margins: whether pairs are to be won by their margin.
      centering: coefficient that keeps rewards near zero mean.
      positive_weight: of "binary", factor of the "yes" answers against class imbalance.
      router_balance: coefficient of the load-balancing loss (`encore_jax.model.experts.balance`) of a mixture of
        experts, 0.001 in Qwen3-MoE's configuration, 0.01 in OLMoE's; 0: the router only follows the loss above.
    """

    loss: str = "regression"
    rating_weight: float = 1.0
    margins: bool = False
    centering: float = 0.0
    positive_weight: float = 1.0
    router_balance: float = 0.0


@dataclasses.dataclass
class BatchSettings(Settings):
    """How many packed rows make one optimizer step.

    Attributes:
      rows: rows of a step, over all devices and micro-batches.
      length: tokens of a row.
      accumulate: micro-batches of a step, run one after another; a step's mathematics does not depend on it.
      tokens_per_end: a row has room for ``length / tokens_per_end`` branch ends.
    """

    rows: int = 2
    length: int = 1024
    accumulate: int = 1
    tokens_per_end: int = 32


@dataclasses.dataclass
class TuneSettings(Settings):
    """What is trained, and how the backbone runs.

    Attributes:
      trainable: "heads" (frozen backbone), "lora" (heads and low-rank updates) or "all".
      lora_rank: rank of every low-rank update.
      lora_scale: factor of the updates (alpha / rank elsewhere).
      lora_targets: which matrices of a layer get one.
      remat: what the backward pass keeps, a key of `encore_jax.model.decoder.REMAT`.
      attention: implementation, see `encore_jax.model.attention.attend`.
    """

    trainable: str = "heads"
    lora_rank: int = 16
    lora_scale: float = 2.0
    lora_targets: tuple[str, ...] = PROJECTIONS
    remat: str = no_result("full")
    attention: str = no_result("auto")


@dataclasses.dataclass
class TrainSettings(OptimizerSettings, LossSettings, BatchSettings, TuneSettings):
    """Everything about a training run.

    >>> settings = TrainSettings(trainable="lora", lr=1e-4, epochs=2)
    >>> settings.loss, settings.lora_rank
    ('regression', 16)

    Attributes:
      epochs: passes over the data.
      max_steps: stop after so many optimizer steps; 0 does not.
      save_every: steps between checkpoints; held-out metrics are computed then.
      keep: newest checkpoints kept, besides the best one.
      keep_best: held-out metric by which the best checkpoint is kept as well: "loss" (lowest), "accuracy" or a Rule
        Adapter's "recall" (highest), or "" for none.
      watch: held-out trees that these metrics are computed on; 0 computes none.
      use: which state is used in the end, "last" or "best".
      profile: steps of which a trace is written, as FIRST:LAST, numbered from 0; "" for none.
      trackers: where metrics go as well: names of `encore_jax.train.trackers.TRACKERS`, and "goodput", which tells
        ml-goodput-measurement what the run does when.
    """

    epochs: int = 1
    max_steps: int = 0
    save_every: int = 50
    keep: int = 2
    keep_best: str = "loss"
    watch: int = 64
    use: str = "last"
    profile: str = no_result("")
    trackers: tuple[str, ...] = no_result(())


@dataclasses.dataclass
class GateSettings(Settings):
    """ArmoRM's gate: the published recipe, see `encore_jax.train.gating`.

    Attributes:
      layers, width: hidden layers and their width.
      dropout: after every hidden layer, in training.
      temperature: of the softmax.
      scale: where the learnable scale begins.
      lr: at the start of the cosine schedule, which ends at 0.
      weight_decay: of AdamW.
      batch: comparisons a step, drawn with replacement.
      steps: optimizer steps; 0 fits no gate.
    """

    layers: int = 3
    width: int = 1024
    dropout: float = 0.2
    temperature: float = 10.0
    scale: float = 1.0
    lr: float = 1e-3
    weight_decay: float = 0.0
    batch: int = 1024
    steps: int = 2000
