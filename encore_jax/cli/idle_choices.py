"""Which choices of a configuration leave which of its fields without a reader, for every kind of run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from encore_jax.judge.calls.call import ISOLATED
from encore_jax.judge.pairwise import PAIR_PROMPTS
from encore_jax.judge.prompts import PROMPTS
from encore_jax.recipes.ablation_config import AblateConfig
from encore_jax.recipes.baseline_config import BaselineConfig
from encore_jax.recipes.benchmark_config import BenchmarkConfig
from encore_jax.recipes.config import DataConfig, ExperimentConfig, TrainConfig
from encore_jax.recipes.data_config import AUTO
from encore_jax.recipes.joint_config import JointConfig
from encore_jax.recipes.panel_config import PanelConfig, PanelJudge
from encore_jax.recipes.ramo_config import WITHOUT_R, AdapterConfig, RamoConfig
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig
from encore_jax.recipes.run_config import RunConfig
from encore_jax.recipes.theory_config import TheoryConfig
from encore_jax.settings import fields_of

Idle = Iterator[tuple[str, str]]
"""Fields, or groups of them, and the choice that makes them idle."""

OF_RIDGE = ("folds", "alphas")
OF_HEADS = ("penalties",)
NOT_ASKED = ("prompt", "system_role", "model", "revision", "api", "tokenizer", "top", "extra", "most_other", "hopeless",
             "prices", "server", "rules_per_call", "structured", "halo_sample")  # fmt: skip
"""What a judge that is asked in words is told; a table and a reward model are not."""
ASKED_ONLY = ("architecture", "pooling")
"""Of config.model, what a local judge has no use for."""


def choices(config: RunConfig) -> Idle:
    """Fields, or groups of them, that have no effect under the others, and the choice that makes each so."""
    if isinstance(config, ExperimentConfig):
        return _experiment(config)
    if isinstance(config, RatingConfig):
        return _rating(config)
    if isinstance(config, PanelConfig):
        return _panel(config)
    if isinstance(config, AdapterConfig):
        return _adapter(config)
    if isinstance(config, RamoConfig):
        return _ramo(config)
    if isinstance(config, JointConfig):
        return _joint(config)
    if isinstance(config, AblateConfig):
        return _ablation(config)
    if isinstance(config, BenchmarkConfig):
        return _benchmark(config)
    return _theory(config) if isinstance(config, TheoryConfig) else iter(())


def _experiment(config: ExperimentConfig) -> Idle:
    train, semi = config.train, config.semi_synthetic
    pairs = train.loss == "bradley_terry"
    yield from _data(config.data, unrated="train.loss is 'bradley_terry'" if pairs else "")
    if pairs:
        for group in ("semi_synthetic", "baselines", "compose"):
            yield group, "train.loss is 'bradley_terry'"
        for name in ("buckets", "tokens_per_batch"):
            yield f"model.{name}", "train.loss is 'bradley_terry': rows have train.length tokens"
    if train.method == "ridge":
        yield from _all_but("train", train, ("method", *OF_RIDGE), "train.method is 'ridge'")
        yield "model.architecture", "train.method is 'ridge'"
    else:
        for name in OF_RIDGE:
            yield f"train.{name}", "train.method is 'gradient'"
        yield from _gradient("train", train)
        yield from _without_frozen_features(config.baselines)
    if not semi.judges:
        yield from _all_but("semi_synthetic", semi, ("judges",), "semi_synthetic.judges is 0")
    if not config.baselines.gate.steps:
        yield from _all_but("baselines.gate", config.baselines.gate, ("steps",), "baselines.gate.steps is 0")
        yield "baselines.balanced_gate", "baselines.gate.steps is 0"
    yield from _entropy(config)


def _without_frozen_features(baselines: BaselineConfig) -> Idle:
    """Baselines that are left out anyway where the backbone is trained; saying so (0 steps) is no mistake."""
    because = "train.method is 'gradient': baselines other than verdicts need a frozen backbone"
    wanted = {"gate": baselines.gate.steps, "balanced_gate": baselines.balanced_gate, "penalties": baselines.penalties}
    yield from ((f"baselines.{name}", because) for name, value in wanted.items() if value)


def _data(data: DataConfig, unrated: str = "", unsplit: str = "") -> Idle:
    """Args:
    data: of the run.
    unrated, unsplit: why the run reads no ratings, or holds nothing out; "" if it does.
    """
    if data.source == "pyrit":
        for name in ("path", "format", "ratings_path", "ratings_format"):
            yield f"data.{name}", "data.source is 'pyrit'"
    else:
        yield "data.most_per_prompt", f"data.source is {data.source!r}"
    if data.source != "files" or data.pool != AUTO:
        yield "data.rules", "only a table's columns need it, where no pool names the rules"
    if data.source == "tfds":
        for name in ("format", "ratings_path", "ratings_format"):
            yield f"data.{name}", "data.source is 'tfds'"
    if unrated:
        for name in ("ratings_path", "ratings_format"):
            yield f"data.{name}", unrated
    if not data.ratings_path:
        yield "data.ratings_format", "data.ratings_path is empty"
    if unsplit:
        yield "data.test_fraction", unsplit


def _gradient(where: str, train: TrainConfig) -> Idle:
    """What no training by these settings reads."""
    if train.trainable != "lora":
        for name in ("lora_rank", "lora_scale", "lora_targets"):
            yield f"{where}.{name}", f"{where}.trainable is {train.trainable!r}"
    if train.trainable == "heads":
        for name in ("remat", "router_balance"):
            yield f"{where}.{name}", f"{where}.trainable is 'heads'"
    if train.loss not in ("bradley_terry", "joint"):
        for name in ("margins", "centering"):
            yield f"{where}.{name}", f"{where}.loss is {train.loss!r}"
    if train.loss != "joint":
        yield f"{where}.rating_weight", f"{where}.loss is {train.loss!r}"
    if train.loss != "binary":
        yield f"{where}.positive_weight", f"{where}.loss is {train.loss!r}"
    if not train.watch and train.keep_best:
        yield f"{where}.keep_best", f"{where}.watch is 0"


def _all_but(where: str, settings, kept: tuple[str, ...], because: str) -> Idle:
    """All fields of a group but some."""
    for name in fields_of(settings):
        if name.split(".")[0] not in kept:
            yield f"{where}.{name}", because


def _entropy(config: ExperimentConfig | RatingConfig | JointConfig) -> Idle:
    compose = config.compose
    if compose.estimator == "kde":
        for name in ("levels", "bins", "normalize"):
            yield f"compose.{name}", "compose.estimator is 'kde'"
    if compose.bins:
        yield "compose.levels", f"compose.bins is {compose.bins}"


def _rating(config: RatingConfig) -> Idle:
    judge = config.judge
    kind = f"judge.kind is {judge.kind!r}"
    unrated = "" if judge.kind == "table" else kind
    yield from _data(config.data, unrated, unsplit="this run rates, and holds nothing out")
    if judge.kind != "local":
        used = ("path",) if judge.kind == "model" else ()
        yield from _all_but("model", config.model, used, kind)
        if judge.kind != "model":
            yield "mesh", kind
    else:
        for name in ASKED_ONLY:
            yield f"model.{name}", kind
    if judge.kind != "model":
        yield "fetch_backbone", kind
    yield from _judge(judge, kind)
    if judge.on_pairs:
        for name in ("judge.pool", "compose"):
            yield name, f"judge.prompt is {judge.prompt!r}: verdicts on pairs are about no rule"
    else:
        yield "judge.both_orders", f"judge.prompt is {judge.prompt!r}: ratings are of one response"
    for name in ("method", "anchor", "keep", "draws", "l2"):
        yield f"compose.{name}", "this run reports ratings, and composes none"
    yield from _entropy(config)


def _judge(judge: JudgeConfig, kind: str) -> Idle:
    if not judge.rules_of:
        yield "judge.most_rules", "judge.rules_of is empty"
    if judge.kind in ("table", "model"):
        yield from ((f"judge.{name}", kind) for name in NOT_ASKED)
        return
    prompt = (PROMPTS | PAIR_PROMPTS)[judge.prompt]
    if not prompt.answers:
        for name in ("top", "most_other"):
            yield f"judge.{name}", f"judge.prompt is {judge.prompt!r}, whose answers are read as text"
    if judge.kind == "local":
        for name in ("model", "revision", "api", "tokenizer", "top", "extra", "server"):
            yield f"judge.{name}", kind
        yield "judge.system_role", f"{kind}: its chat template says so itself"
    if judge.kind == "local" or judge.rules_per_call == ISOLATED:
        yield "judge.structured", kind if judge.kind == "local" else "judge.rules_per_call is 1"
    if judge.kind == "batch":
        yield "judge.hopeless", kind
        yield from _all_but("judge.server", judge.server, ("requests_per_second",), kind)


def _panel(config: PanelConfig) -> Idle:
    judges = dict(config.named())
    own = any(judge.kind == "table" and not judge.table.path for judge in judges.values())
    unrated = "" if own else "no judge is a table without a file of its own"
    yield from _data(config.data, unrated, unsplit="this run rates, and holds nothing out")
    if not any(judge.kind in ("local", "model") for judge in judges.values()):
        yield "mesh", "no judge is 'local' or 'model'"
    for name, judge in judges.items():
        yield from _panel_judge(f"judges.{name}", judge)


def _panel_judge(at: str, judge: PanelJudge) -> Idle:
    kind = f"{at}.kind is {judge.kind!r}"
    for name, because in _judge(judge, kind):
        yield name.replace("judge.", f"{at}.", 1), because.replace("judge.", f"{at}.")
    yield f"{at}.both_orders", f"{at}.prompt is {judge.prompt!r}: ratings are of one response"
    if judge.kind != "table":
        yield f"{at}.table", kind
    elif not judge.table.path:
        for name in ("format", "scale"):
            yield f"{at}.table.{name}", f"{at}.table.path is empty"
    if judge.kind == "local":
        for name in ASKED_ONLY:
            yield f"{at}.backbone.{name}", kind
    else:
        yield from _all_but(f"{at}.backbone", judge.backbone, ("path",) if judge.kind == "model" else (), kind)
    if judge.kind != "model":
        yield f"{at}.fetch_backbone", kind
    if judge.repeats == 1:
        yield f"{at}.temperature", f"{at}.repeats is 1"


def _adapter(config: AdapterConfig) -> Idle:
    yield from _rule_ratings(config)
    yield from _adapter_training("train", config.train)
    by_gradient = config.train.method == "gradient"
    if not by_gradient:
        yield "model.architecture", "train.method is 'heads'"
    if by_gradient and config.rate.source == "comparisons":
        yield "model.tokens_per_batch", "train.method is 'gradient' and rate.source is 'comparisons'"
    yield "select.ties", "this run trains no reward model"


def _joint(config: JointConfig) -> Idle:
    yield from _data(config.data)
    for name in ("buckets", "tokens_per_batch"):
        yield f"model.{name}", "rows have train.length tokens"
    for name in OF_RIDGE:
        yield f"train.{name}", "train.method is 'gradient'"
    if "joint" not in config.train.arms:
        yield "train.rating_weight", "train.arms trains nothing jointly"
    yield from _gradient("train", config.train)
    for name in ("method", "anchor", "keep", "draws", "l2"):
        yield f"compose.{name}", "rule heads are composed by entropy and with equal weights"
    yield from _entropy(config)


def _ramo(config: RamoConfig) -> Idle:
    yield from _rule_ratings(config)
    if config.adapter_from:
        for name in ("adapter", "adapter_fraction"):
            yield name, "adapter_from names a finished adapter run"
    yield from _adapter_training("adapter", config.adapter)
    train = config.train
    adapter_by_gradient = config.adapter.method == "gradient" and not config.adapter_from
    by_gradient = train.method == "gradient" or adapter_by_gradient
    if train.method == "heads":
        kept = ("method", "arms", "rs", "sizes", "seeds", *OF_HEADS)
        kept += ("checkpoints",) if adapter_by_gradient else ()
        yield from _all_but("train", train, kept, "train.method is 'heads'")
    else:
        for name in (*OF_RIDGE, *OF_HEADS):
            yield f"train.{name}", "train.method is 'gradient'"
        yield from _gradient("train", train)
    if not by_gradient:
        yield "model.architecture", "nothing is trained by gradient"
    if not any(
        (
            train.method == "heads",
            config.rate.source == "heads",
            config.adapter.method == "heads" and not config.adapter_from,
        )
    ):
        yield "model.tokens_per_batch", "nothing is read off the frozen backbone"
    if set(train.arms) <= set(WITHOUT_R):
        yield "train.rs", "no arm of train.arms selects rules"
    if set(train.arms) <= {"initial", "human"}:
        yield "select.ties", "no arm of train.arms labels by rules"


def _rule_ratings(config: AdapterConfig | RamoConfig) -> Idle:
    own = config.rate.source == "comparisons"
    yield from _data(config.data, unrated="rate.source is 'comparisons'" if own else "")
    if own:
        for name in ("folds", "alphas"):
            yield f"rate.{name}", "rate.source is 'comparisons'"
    else:
        yield "rate.judged", "rate.source is 'heads', whose ratings are model-rated"
    if config.select.relevance == "none":
        yield "select.half", "select.relevance is 'none', so that only the discrepancies' order counts"


def _adapter_training(where: str, train: TrainConfig) -> Idle:
    if train.method == "heads":
        kept = ("method", "orders", "penalties", "positive_weight", "validation")
        yield from _all_but(where, train, kept, f"{where}.method is 'heads'")
        return
    for name in (*OF_RIDGE, *OF_HEADS):
        yield f"{where}.{name}", f"{where}.method is 'gradient'"
    yield from _gradient(where, train)


def _ablation(config: AblateConfig) -> Idle:
    if config.scores.endswith(".npz") or (Path(config.scores) / "score").is_dir():
        for name in ("pool", "label", "test_fraction"):
            yield name, "scores is a run's view, which has its own"
    if not config.features:
        for name in ("alphas", "folds"):
            yield name, "features is empty"
    if config.subsets in ("full", "all"):
        yield "sampled", f"subsets is {config.subsets!r}"
    if config.shares == (1.0,) and len(config.seeds) > 1:
        yield "seeds", "shares is 1.0, at which all seeds are alike"


def _benchmark(config: BenchmarkConfig) -> Idle:
    yield "architecture", "this run reads the model; only --aot compiles without it"
    if not config.data.startswith("hf://"):
        yield "revision", "data is not on the hub"


def _theory(config: TheoryConfig) -> Idle:
    if not config.views:
        yield "replicates", "views is empty"
