"""Stage score: every comparison through the heads, put together into the views that are evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from encore_jax.data import Comparison
from encore_jax.evaluation.heuristics import heuristic_rewards
from encore_jax.evaluation.view import Baseline, Pairs, View
from encore_jax.recipes.config import ExperimentConfig
from encore_jax.recipes.stages import baselines, extract, ingest, rate, train
from encore_jax.recipes.stages.texts import Texts, texts_of

HUMAN = (
    "Rule heads on the frozen backbone, trained on human ratings of the training prompts (not every response is rated "
    "on every rule). Entropies are those of the human training ratings; accuracy is the heads' agreement with human "
    "severity on held-out prompts."
)
FILES = (
    "Rule heads on the frozen backbone, trained on a file of rule ratings, score comparisons that carry no ratings of "
    "their own: model-rated. Entropies are those of the rating file; accuracy is the heads' agreement with the "
    "comparisons' human preference."
)
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


def score(
    config: ExperimentConfig,
    ingested: Path,
    rated: Path,
    computed: Path | None,
    trained: Path,
    compared_with: Path,
    folder: Path,
) -> None:
    """Writes view-NAME.npz for every view; for heads fitted in closed form also features.npz, to fit them again from:
    of the views' rated responses ``[R, D]`` and test comparisons ``[N, 2, D]``.

    `compared_with` is the folder of the baselines stage, `computed` that of the features; None where training changes
    the backbone.
    """
    pool, records, comparisons = ingest.load(ingested)
    ratings, texts = rate.load(rated), texts_of(config, ingested)
    rows, scores = np.load(trained / "rows.npy"), train.load_scores(trained, "human")
    kept, numbers, test = scorable(comparisons, texts, scores)
    compared = texts.compared[numbers]
    logging.info("%d comparisons scored, %d dropped as too long", len(kept), len(comparisons) - len(kept))
    heuristics = heuristic_rewards([c.responses for c, held_out in zip(kept, test, strict=True) if held_out])
    others = {
        name: Baseline(made.sees, made.rewards[numbers[test]]) for name, made in baselines.load(compared_with).items()
    }
    preferred = np.array([c.preferred for c in kept])
    subset = np.array([c.subset or "all" for c in kept])

    def view(name, label, description, rules, target, mask, scores, others=None):
        def part(chosen):
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
            heuristics=heuristics,
            baselines=others or {},
        )

    human_label = "human-rated" if config.data.source == "pyrit" else "model-rated"
    human_text = HUMAN if config.data.source == "pyrit" else FILES
    views = [view("heads", human_label, human_text, pool.names, ratings.human, ratings.rated, scores[compared], others)]
    if ratings.simulated.shape[1]:
        rules = [f"judge, noise {level:.2f}" for level in rate.strengths(config.semi_synthetic)]
        answers, known = ratings.targets["judges"]
        row_of_text = np.full(len(texts.texts), -1)
        row_of_text[texts.rated] = np.arange(len(records))
        text = JUDGES.format(**vars(config.semi_synthetic))
        direct, by_heads = answers[row_of_text[compared]], train.load_scores(trained, "judges")[compared]
        views.append(view("judges", "semi-synthetic", text, rules, answers, known, direct))
        views.append(view("judges-heads", "semi-synthetic", f"{text} {JUDGES_HEADS}", rules, answers, known, by_heads))
    for made in views:
        made.save(folder / f"view-{made.name}.npz")
    if computed is not None:
        features = extract.load(computed).texts
        np.savez(folder / "features.npz", rated=features[texts.rated[rows]], test=features[compared[test]])


def load_views(folder: Path) -> list[View]:
    """What `score` wrote, the main view first."""
    order = {"heads": 0, "judges": 1, "judges-heads": 2}
    views = [View.load(path) for path in folder.glob("view-*.npz")]
    return sorted(views, key=lambda v: order[v.name])
