"""How a reward model agrees with people on comparisons that it was not trained on, rule by rule; and whether it only
wants refusals.

Letters: N comparisons, P pairs of them, K rules.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from encore_jax.composition import Margin, composed_margins
from encore_jax.composition.rule_graph import NOBODY
from encore_jax.data import Comparison, prompt_key
from encore_jax.data.left_out import Reason, require_some
from encore_jax.data.origins import origin
from encore_jax.data.probes import over_refusal_probe
from encore_jax.data.split import group_ids
from encore_jax.errors import InputError
from encore_jax.evaluation.bootstrap import cluster_sums, percentile_interval, resampled_totals
from encore_jax.evaluation.coverage import Coverage
from encore_jax.evaluation.coverage_of_records import coverage_of_records
from encore_jax.evaluation.over_refusal import over_refusal
from encore_jax.formats import percent, printable
from encore_jax.progress import at_work
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scored import compiled_graph
from encore_jax.reward.sequences import Text, fits
from encore_jax.shown import Shown

MODEL = "the model"
"""What its composed reward is called in tables."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One reward against people's choices.

    Attributes:
      name: of the rule, or `MODEL`.
      weight: in the composed reward; None of the reward itself, and where weights depend on the prompt.
      accuracy: a tie counts half; `low` and `high` are its 95 % interval over prompts.
      ties: pairs that it leaves open.
    """

    name: str
    weight: float | None
    accuracy: float
    low: float
    high: float
    ties: int


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation(Shown, shown_by="encore_jax.report.held_out_page"):
    """A reward model on labelled comparisons.

    >>> found = evaluate(model, held_out)  # doctest: +SKIP
    >>> found.accuracy, found.rows[1].name, found.left_out  # doctest: +SKIP
    (0.81, 'kind', {})

    Attributes:
      model: the backbone's name.
      rows: the composed reward first, then every rule.
      subsets: accuracy and number of pairs of every subset, if there are several.
      pairs: how many are judged; of n responses the preferred one is paired with each other one.
      prompts: how many those have; intervals rest on them.
      left_out: comparisons that are not judged, by reason.
      over_refusal: of the shipped probe, see `encore_jax.evaluation.over_refusal`; empty if it was not scored.
      without_graph: of a model with a rule graph, the weighted sum alone; `difference` is what the graph adds to its
        accuracy, with a 95 % interval over prompts.
      vetoes: responses of these pairs whose reward a veto set, by the rule that vetoed.
      coverage: what the model's intervals hold, see `encore_jax.coverage`; None of a model without intervals, and where
        no comparison carries ratings. `coverage_note` says of ratings why they do not count.
      folder: that the model was loaded from; "" of one that was made in memory.
      data: files or data sets of the comparisons; "" where they name none.
    """

    model: str
    rows: tuple[Row, ...]
    subsets: dict[str, tuple[float, int]]
    pairs: int
    prompts: int
    left_out: dict[str, int]
    over_refusal: dict
    without_graph: Row | None = None
    difference: tuple[float, float, float] = (0.0, 0.0, 0.0)
    vetoes: dict[str, int] = dataclasses.field(default_factory=dict)
    coverage: Coverage | None = None
    coverage_note: str = ""
    folder: str = ""
    data: str = ""

    @property
    def accuracy(self) -> float:
        """Of the composed reward, a tie counting half."""
        return self.rows[0].accuracy

    @property
    def subject(self) -> str:
        """The model in words: its backbone alone would name another one, and its folder none of its parts."""
        rules = len(self.rows) - 1
        named = f" {printable(self.folder)}" if self.folder else ""
        return f"The reward model{named} ({rules} rule{'s' * (rules != 1)} on {printable(self.model)})"

    def sentences(self) -> list[str]:
        """What the numbers say, the most important first."""
        whole = self.rows[0]
        said = [
            f"{self.subject} agrees with people in {percent(whole.accuracy)} % "
            f"[{percent(whole.low)}, {percent(whole.high)}] of {self.pairs:,} pair{'s' * (self.pairs != 1)} of "
            f"{self.prompts:,} prompt{'s' * (self.prompts != 1)}{f' ({self.data})' if self.data else ''}."
        ]
        best = max(self.rows[1:], key=lambda row: row.low, default=None)
        if best is not None and best.low > whole.high:
            said.append(f"One rule alone does better: {printable(best.name)}, {percent(best.accuracy)} %.")
        if self.without_graph is not None:
            value, low, high = (percent(part) for part in self.difference)
            said.append(
                f"Without its rule graph it agrees in {percent(self.without_graph.accuracy)} %: the graph adds {value} "
                f"points [{low}, {high}]."
            )
            each = (f"{printable(rule)} {count}" for rule, count in self.vetoes.items())
            said.append(f"Responses under a veto: {', '.join(each) or 'none'}.")
        if whole.low <= 0.5 <= whole.high:
            said.append(
                f"Whether {MODEL} does better than chance, {self.pairs:,} pair{'s' * (self.pairs != 1)} cannot tell."
            )
        said += [f"Left out, comparisons that {reason}: {count:,}." for reason, count in self.left_out.items()]
        if len(self.subsets) > 1:
            parts = (f"{printable(name)} {percent(value)} % of {n}" for name, (value, n) in self.subsets.items())
            said.append(f"By subset: {'; '.join(parts)}.")
        said += self.coverage.sentences() if self.coverage is not None else []
        return said + [self.coverage_note] * bool(self.coverage_note)


@at_work("evaluate")
def evaluate(
    model: RewardModel,
    comparisons: Iterable[Comparison],
    *,
    probe: bool = True,
    replicates: int = 2000,
    seed: int = 0,
) -> Evaluation:
    """How often a reward model prefers what people prefer; and where it has intervals and the comparisons carry
    ratings, how often the intervals hold them.

    Args:
      model: any reward model that loads here.
      comparisons: labelled, and neither trained on nor calibrated on; of any number of responses, with ratings or not.
      probe: also score the shipped over-refusal probe.
      replicates: of the bootstrap over prompts.
      seed: of the bootstrap.

    Raises:
      InputError: no comparison is labelled, or the model takes none of them; or nobody has said how its heads compose.

    >>> import encore_jax as enc
    >>> model = enc.RewardModel.from_pretrained("out")  # doctest: +SKIP
    >>> held_out = enc.read_comparisons("held_out.jsonl")  # doctest: +SKIP
    >>> enc.evaluate(model, held_out).report("report.html")  # doctest: +SKIP
    """
    if replicates < 100:
        raise InputError(f"is {replicates}", where="replicates", fix="give at least 100")
    records = list(comparisons)
    for i, record in enumerate(records):
        if not isinstance(record, Comparison):
            fix = "pass comparisons, as read_comparisons(FILE) gives them"
            raise InputError(f"is a {type(record).__name__}", where=f"record {i}", fix=fix)
    if model.gate is None:
        model.weights  # noqa: B018  refused before long work where nobody has said how the heads compose
    texts = [(record.prompt, response) for record in records for response in record.responses]
    scored, longest = _scored(model, texts, "responses scored"), max(model.buckets)
    start = np.cumsum([0, *(len(record.responses) for record in records)])
    of_record = np.repeat(np.arange(len(records)), np.diff(start))

    def any_of(flags: np.ndarray) -> np.ndarray:
        return np.bincount(of_record, flags, len(records)) > 0 if len(records) else np.zeros(0, bool)

    reasons = [
        Reason("say of no response that it is preferred", np.array([r.preferred is None for r in records], bool),
               "label them"),
        Reason("are refused by the chat template", any_of(scored.refused), "use a model whose template takes them"),
        Reason(f"are longer than the model's {longest} tokens", any_of(scored.long), "use a model of longer rows"),
    ]  # fmt: skip
    left = require_some(len(records), reasons, what="comparisons", purpose="to judge by", where="comparisons")
    pairs = [
        (start[i] + records[i].preferred, start[i] + other, i)
        for i in np.flatnonzero(left).tolist()
        for other in range(len(records[i].responses))
        if other != records[i].preferred
    ]
    better, worse, number = np.array(pairs, np.int64).T
    cluster = group_ids([prompt_key(records[i].prompt) for i in number.tolist()])
    margin = _margin(model, scored, better, worse)
    alone = Margin(scored.scores[better] - scored.scores[worse])
    credit = np.concatenate([np.asarray(margin.credit)[:, None], np.asarray(alone.credit)], 1)
    ties = np.concatenate([np.asarray(margin.tied)[:, None], np.asarray(alone.tied)], 1).sum(0)
    low, high = _intervals(credit, cluster, replicates, seed)
    covered = {}
    if model.calibration is not None:
        graph = compiled_graph(model.passport)
        args = (model.intervals, records, scored.scores, model.weights, graph)
        found = coverage_of_records(*args, calibration=model.calibration)
        covered = dict(zip(("coverage", "coverage_note"), found, strict=True))
    ablated = {}
    if scored.plain is not None:
        ablated = _ablated(scored, (better, worse), credit[:, 0], cluster, replicates, seed, model.rules)
    names = (MODEL, *model.rules)
    weights = (None, *([None] * len(model.rules) if model.gate is not None else model.weights.tolist()))
    rows = zip(names, weights, credit.mean(0).tolist(), low, high, ties.tolist(), strict=True)
    subset = np.array([records[i].subset or "all" for i in number.tolist()])
    by_subset = {name: (float(credit[subset == name, 0].mean()), int((subset == name).sum()))
                 for name in dict.fromkeys(subset.tolist())}  # fmt: skip
    taken, left_out = np.zeros(len(records), bool), {}
    for reason in reasons:
        if count := int((reason.rows & ~taken).sum()):
            left_out[reason.text] = count
        taken |= reason.rows
    return Evaluation(
        model=model.passport.model,
        rows=tuple(Row(*row) for row in rows),
        subsets=by_subset,
        pairs=len(number),
        prompts=len(np.unique(cluster)),
        left_out=left_out,
        over_refusal=probed(model, seed) if probe else {},
        folder=model.folder,
        data=origin(records),
        **ablated,
        **covered,
    )


def probed(model: RewardModel, seed: int = 0) -> dict:
    """The shipped over-refusal probe through a reward model; see `encore_jax.evaluation.over_refusal.over_refusal`."""
    pairs = over_refusal_probe()
    texts = [(c.prompt, c.responses[i]) for c in pairs for i in (c.preferred, 1 - c.preferred)]
    scored = _scored(model, texts, "over-refusal probe")
    rows = np.arange(2 * len(pairs)).reshape(-1, 2)
    known = ~(scored.refused | scored.long)
    margin = _margin(model, scored._replace(scores=np.nan_to_num(scored.scores)), rows[:, 0], rows[:, 1])
    scores = np.where(known[rows][..., None], scored.scores[rows], np.nan)
    return over_refusal(pairs, scores, model.rules if len(model.rules) > 1 else (), {MODEL: margin}, MODEL, seed)


class _Scores(NamedTuple):
    """Scores ``[T, K]`` and rewards ``[T]`` of T texts, NaN where the model takes a text not, and why."""

    scores: Float[np.ndarray, "T K"]
    rewards: Float[np.ndarray, " T"]
    refused: np.ndarray
    long: np.ndarray
    tolerances: Float[np.ndarray, " T"]
    plain: Float[np.ndarray, " T"] | None = None
    decided_by: np.ndarray | None = None


def _scored(model: RewardModel, texts: Sequence[Text], label: str) -> _Scores:
    refused: dict[int, str] = {}
    sequences = model.scorer.tokenize(texts, refused)
    values = model.scorer.run_sequences(sequences, [prompt_key(prompt) for prompt, _ in texts], label)
    scored = model.scorer.scored(values)
    none = np.array([sequence is None for sequence in sequences], bool)
    long = np.array([not fits(sequence, model.scorer.longest) for sequence in sequences], bool) & ~none
    known = np.asarray(scored.scores), np.asarray(scored.rewards), none, long, np.asarray(scored.tolerances)
    if scored.graph is None:
        return _Scores(*known)
    return _Scores(*known, scored.plain_rewards, scored.decision.decided_by)


def _margin(model: RewardModel, scored: _Scores, better: np.ndarray, worse: np.ndarray) -> Margin:
    """Of the composed reward; a gate's rewards tie where they are equal."""
    if scored.plain is not None:
        return _difference(scored, scored.rewards, better, worse)
    if model.gate is not None:
        return Margin(np.nan_to_num(scored.rewards)[better] - np.nan_to_num(scored.rewards)[worse])
    return composed_margins(np.stack([scored.scores[better], scored.scores[worse]], 1), model.weights)


def _difference(scored: _Scores, rewards: np.ndarray, better: np.ndarray, worse: np.ndarray) -> Margin:
    values, slack = np.nan_to_num(rewards), np.nan_to_num(scored.tolerances)
    return Margin(values[better] - values[worse], slack[better] + slack[worse])


def _ablated(scored: _Scores, pairs, credit: np.ndarray, cluster, replicates: int, seed: int, rules) -> dict:
    """What `Evaluation` says of the weighted sum alone, pair by pair beside the reward under the graph."""
    margin = _difference(scored, scored.plain, *pairs)
    plain = np.asarray(margin.credit)
    columns = np.stack([plain, credit - plain], 1)
    (low, least), (high, most) = _intervals(columns, cluster, replicates, seed)
    by, counts = np.unique(scored.decided_by[np.unique(np.concatenate(pairs))], return_counts=True)
    return {
        "without_graph": Row("without the rule graph", None, float(plain.mean()), low, high, int(margin.tied.sum())),
        "difference": (float((credit - plain).mean()), least, most),
        "vetoes": {rules[k]: int(count) for k, count in zip(by, counts, strict=True) if k != NOBODY},
    }


def _intervals(credit: np.ndarray, cluster: np.ndarray, replicates: int, seed: int) -> tuple[list, list]:
    """95 % intervals of the means ``[C]`` of columns ``[P, C]``, prompts resampled."""
    columns = np.concatenate([credit, np.ones((len(credit), 1), credit.dtype)], 1)
    sums = cluster_sums(columns, cluster, int(cluster.max()) + 1)
    totals = np.asarray(resampled_totals(sums, jax.random.key(seed), replicates))
    low, high = percentile_interval(totals[:, :-1] / totals[:, -1:])
    return low.tolist(), high.tolist()
