"""Scores: every comparison through the heads, put together into the views that are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from encore_jax.data import Comparison
from encore_jax.evaluation.heuristics import heuristic_rewards
from encore_jax.evaluation.view import Baseline, Pairs, View
from encore_jax.recipes.config import SemiSyntheticConfig
from encore_jax.recipes.stages.baselines import Baselines
from encore_jax.recipes.stages.extract import Extracted
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.rate import Ratings, strengths
from encore_jax.recipes.stages.texts import Split, Texts, texts_of
from encore_jax.recipes.stages.train import TrainedHeads

HUMAN = (
    "Rule heads on the frozen backbone, trained on human ratings of the training prompts (not every response is rated "
    "on every rule). Entropies are those of the human training ratings; accuracy is the heads' agreement with human "
    "severity on held-out prompts."
)
FILES = (
    "Rule heads on the frozen backbone, trained on the ratings of the data, score the comparisons: model-rated, "
    "whether or not these carry ratings of their own. Entropies are those of the given ratings; accuracy is the heads' "
    "agreement with the comparisons' human preference."
)
GIVEN = (
    "Your ratings themselves, composed without any model: {used:,} of the {all:,} comparisons have a rating on every "
    "rule for both responses{rest}. Entropies are those of the ratings on training prompts; accuracy is the composed "
    "ratings' agreement with the comparisons' human preference on held-out prompts. What heads add or lose is their "
    "doing."
)
FEWEST = 5
"""Prompts on either side of the split without which ratings as they are given are not evaluated."""
JUDGES = (
    "The same comparisons and the same human severities, seen through {judges} simulated judges that err in a declared "
    "way: noise model '{noise}', noise levels {best:g} to {worst:g}, answers on {levels} levels. The judges' ratings "
    "are composed directly. Not a measurement of any real judge."
)
JUDGES_HEADS = (
    "As before, but rule heads are trained on the simulated judges' ratings of the training prompts, and the heads' "
    "scores are composed, as ENCORE does. Averaging over training examples removes much of a judge's noise."
)


class Scorable(NamedTuple):
    """The comparisons that the model has room for, in the order of every view.

    Attributes:
      comparisons: M of them.
      numbers: int ``[M]``, which of the run's comparisons they are.
      test: bool ``[M]``, whether held out.
    """

    comparisons: list[Comparison]
    numbers: np.ndarray
    test: np.ndarray


def scorable(comparisons: Sequence[Comparison], texts: Texts, scores: np.ndarray) -> Scorable:
    """Drops comparisons with a text that is too long; `scores` ``[T, K]`` are NaN there."""
    numbers = np.flatnonzero(np.isfinite(scores).all(1)[texts.compared].all(1))
    return Scorable([comparisons[i] for i in numbers], numbers, texts.test[texts.compared[numbers, 0]])


ORDER = ("ratings", "heads", "judges", "judges-heads")
"""Names of views: ratings as they are given come before what is trained on them."""


class Scored(NamedTuple):
    """What is evaluated.

    Attributes:
      views: in the order of `ORDER`.
      features: for heads fitted in closed form, to fit them anew from: of the views' rated responses ``[R, D]`` and of
        the test comparisons ``[N, 2, D]``; None of others.
    """

    views: list[View]
    features: tuple[np.ndarray, np.ndarray] | None = None

    def save(self, folder: Path) -> None:
        """Writes view-NAME.npz for every view, and features.npz."""
        for view in self.views:
            view.save(folder / f"view-{view.name}.npz")
        if self.features is not None:
            np.savez(folder / "features.npz", rated=self.features[0], test=self.features[1])

    @classmethod
    def load(cls, folder: Path) -> Scored:
        """The views that `save` wrote; their features are left on the disk."""
        return cls(sorted(map(View.load, folder.glob("view-*.npz")), key=lambda view: ORDER.index(view.name)))

    @property
    def main(self) -> View:
        """That of the heads, which the reward model has."""
        return next(view for view in self.views if view.name == "heads")


def score(
    data: Ingested,
    split: Split,
    ratings: Ratings,
    features: Extracted | None,
    trained: TrainedHeads,
    compared_with: Baselines,
    synthetic: SemiSyntheticConfig,
    by_people: bool,
) -> Scored:
    """Every comparison through the heads, as views.

    Args:
      data: records.
      split: of the prompts.
      ratings: of the rated responses.
      features: of the frozen backbone; None where training changes the backbone.
      trained: heads.
      compared_with: methods that are no weighting of rules.
      synthetic: what the simulated judges are.
      by_people: whether people rated.
    """
    pool, records, comparisons = data.pool, data.rated, data.comparisons
    texts, rows, scores = texts_of(data, split), trained.rows, trained.scores["human"]
    kept, numbers, test = scorable(comparisons, texts, scores)
    compared = texts.compared[numbers]
    logging.info("%d comparisons scored, %d dropped as too long", len(kept), len(comparisons) - len(kept))
    heuristics = heuristic_rewards([c.responses for c, held_out in zip(kept, test, strict=True) if held_out])
    others = {name: Baseline(made.sees, made.rewards[numbers[test]]) for name, made in compared_with.made.items()}
    preferred = np.array([c.preferred for c in kept])
    subset = np.array([c.subset or "all" for c in kept])

    def view(name, label, description, rules, target, mask, scores, others=None, some=None):
        some = np.ones(len(kept), bool) if some is None else some

        def part(chosen):
            chosen = chosen & some
            cluster = texts.cluster[compared[chosen, 0]]
            return Pairs(scores[chosen], preferred[chosen], cluster, subset[chosen])

        return View(
            name=name,
            label=label,
            description=description,
            rules=tuple(rules),
            ratings=target[rows],
            rated=mask[rows],
            rating_cluster=texts.cluster[texts.rated[rows]],
            train=part(~test),
            test=part(test),
            heuristics={name: rewards[some[test]] for name, rewards in heuristics.items()},
            baselines=others or {},
        )

    human_label, human_text = ("human-rated", HUMAN) if by_people else ("model-rated", FILES)
    views = [view("heads", human_label, human_text, pool.names, ratings.human, ratings.rated, scores[compared], others)]
    row_of_text = np.full(len(texts.texts), -1)
    row_of_text[texts.rated] = np.arange(len(records))
    if not by_people:
        own = "ratings" not in data.counts.get("sources", {})  # no file of ratings beside the comparisons
        values, whole = ratings_as_given(kept if own else (), texts, ratings, compared)
        if words := _given(whole, test, texts.cluster[compared[:, 0]]):
            given = (pool.names, ratings.human, ratings.rated, values)
            views.insert(0, view("ratings", "as-rated", words, *given, some=whole))
    if ratings.simulated.shape[1]:
        rules = [f"judge, noise {level:.2f}" for level in strengths(synthetic)]
        answers, known = ratings.targets["judges"]
        text = JUDGES.format(**vars(synthetic))
        direct, by_heads = answers[row_of_text[compared]], trained.scores["judges"][compared]
        views.append(view("judges", "semi-synthetic", text, rules, answers, known, direct))
        views.append(view("judges-heads", "semi-synthetic", f"{text} {JUDGES_HEADS}", rules, answers, known, by_heads))
    if features is None:
        return Scored(views)
    return Scored(views, (features.texts[texts.rated[rows]], features.texts[compared[test]]))


def ratings_as_given(
    comparisons: Sequence[Comparison], texts: Texts, ratings: Ratings, compared: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ratings of the compared responses, without any model.

    A response that is rated several times, also by some rules here and by others there, has the means; but a comparison
    that carries ratings of its own has those.

    Args:
      comparisons: N of them, if their own ratings count; else ().
      texts: of the run.
      ratings: of its rated responses.
      compared: int ``[N, 2]``, the text of each response.

    Returns:
      fp32 ``[N, 2, K]``, 0 where there is none; and bool ``[N]``, whether there is one of every rule for both.
    """
    total, count = (np.zeros((len(texts.texts), ratings.human.shape[1])) for _ in range(2))
    np.add.at(total, texts.rated, np.where(ratings.rated, ratings.human, 0))
    np.add.at(count, texts.rated, ratings.rated)
    values, known = (total / np.maximum(count, 1))[compared], (count > 0)[compared]
    for i, comparison in enumerate(comparisons):
        if comparison.ratings is not None:
            values[i], known[i] = np.where(comparison.mask, comparison.ratings, 0), comparison.mask
    return values.astype(np.float32), known.all((1, 2))


def _given(whole: np.ndarray, test: np.ndarray, cluster: np.ndarray) -> str:
    """What to say of ratings as they are given; "" if too few comparisons have them, which is logged.

    Args:
      whole: bool ``[N]``, comparisons both responses of which are rated on every rule.
      test: bool ``[N]``, held out.
      cluster: int ``[N]``, the prompt.
    """
    prompts = [len(np.unique(cluster[whole & side])) for side in (~test, test)]
    if whole.any() and min(prompts) >= FEWEST:
        left = len(whole) - int(whole.sum())
        return GIVEN.format(used=whole.sum(), all=len(whole), rest=f"; the other {left:,} are left out" if left else "")
    if whole.any():
        told = "%d comparisons have a rating on every rule for both responses, of %d training and %d held-out prompts"
        logging.info(told + ": too few to evaluate the ratings themselves", whole.sum(), *prompts)
    return ""
