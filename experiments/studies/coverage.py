"""Coverage of conformal intervals on real ratings, over many random splits of a finished run's prompts.

    python -m experiments.studies.coverage RUN --splits=40

A run has one split, and its held-out prompts may be of another kind than the rest: then its report says that
exchangeability fails, and cannot say whether the intervals work where it holds. Here prompts are split at random, so
that it does hold: heads are fitted anew on the run's features of a part of its rated prompts, calibrated, and measured
on prompts that neither saw. Two ways: "out-of-fold" (half of the prompts train and calibrate, half measure), which is
what a run does, and "held-out" (half train, a quarter calibrates, a quarter measures), for which coverage is a theorem.
Prints a JSON object; numbers are of the run's own ratings (human ones in the quickstart).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from encore_jax.command_line import Parser, one_line_errors
from encore_jax.errors import InputError
from encore_jax.evaluation.coverage import ALL, BELOW, Coverage, coverage_of
from encore_jax.recipes.stages.extract import Extracted
from encore_jax.recipes.stages.ingest import Ingested
from encore_jax.recipes.stages.rate import Ratings
from encore_jax.recipes.stages.texts import Split, texts_of
from encore_jax.reward.calibration import HELD_OUT, OUT_OF_FOLD, Calibration
from encore_jax.reward.intervals import intervals_of
from encore_jax.reward.passport import read_passport
from encore_jax.train.ridge import fit_ridge

FOLDS = 5
WAYS = {"out-of-fold": OUT_OF_FOLD, "held-out": HELD_OUT}


def splits_of(run: Path, count: int, seed: int = 0) -> Iterator[tuple[str, Coverage]]:
    """The way's name and its coverage, for every random split.

    Args:
      run: a finished run of rule heads on frozen features.
      count: of splits.
      seed: of the splits.
    """
    data, ratings = Ingested.load(run / "ingest"), Ratings.load(run / "rate")
    features, passport = Extracted.load(run / "features"), read_passport(run / "compose")
    texts = texts_of(data, Split(0.5, FOLDS, 0))
    usable = features.readable.fits[texts.rated] & ratings.rated.any(1)
    x = np.asarray(features.texts)[texts.rated[usable]]
    values, mask = ratings.human[usable], ratings.rated[usable]
    prompt, weights = texts.cluster[texts.rated[usable]], np.asarray(passport.weights, np.float32)
    subset, rng = np.full(len(x), ALL), np.random.default_rng(seed)
    truth = np.where(mask, values, np.nan)
    for _ in range(count):
        place = rng.random(prompt.max() + 1)[prompt]
        fold = rng.integers(FOLDS, size=prompt.max() + 1)[prompt]
        train = place < 0.5
        rated = mask[train].any(0)  # a rule that nobody trained on in this split is left out
        fitted = fit_ridge(x[train], values[train][:, rated], mask[train][:, rated], fold[train])
        scores = (x @ fitted.kernel + fitted.bias).astype(np.float32)
        rules = tuple(np.array(passport.rules)[rated].tolist())
        for way, by in WAYS.items():
            held = ~train if by == OUT_OF_FOLD else place >= 0.75
            if by == OUT_OF_FOLD:
                chosen, calibrating = train, fitted.held_out_scores
            else:
                chosen = ~train & ~held
                calibrating = scores[chosen]
            kept = truth[chosen][:, rated]
            some = ~np.isnan(kept).all(1)
            calibration = Calibration(calibrating[some], kept[some], prompt[chosen][some], by)
            found = intervals_of(calibration, rules, weights[rated])
            measured = scores[held], truth[held][:, rated], prompt[held], subset[held]
            yield way, coverage_of(found, *measured, weights[rated])


def summary(run: Path, count: int, seed: int = 0) -> dict:
    """Mean coverage over the splits, its standard error, and in how many of them some test gave an alarm."""
    found: dict[str, list[Coverage]] = {}
    for way, coverage in splits_of(run, count, seed):
        found.setdefault(way, []).append(coverage)
    result: dict = {"splits": count, "seed": seed, "promised": found["held-out"][0].promised}
    for way, each in found.items():
        table: dict[str, list[float]] = {}
        for coverage in each:
            for row in coverage.rows:
                if np.isfinite(row.width):
                    table.setdefault(row.what, []).append(row.coverage)
        result[way] = {
            "alarms": sum(any(row.verdict == BELOW for row in coverage.rows) for coverage in each),
            "coverage": {
                what: {
                    "mean": round(float(np.mean(values)), 4),
                    "standard_error": round(float(np.std(values) / np.sqrt(max(1, len(values) - 1))), 4),
                    "splits": len(values),
                }
                for what, values in table.items()
            },
        }
    return result


def main() -> None:
    parser: argparse.ArgumentParser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="a finished run of rule heads on frozen features")
    parser.add_argument("--splits", type=int, default=40, help="random splits of its prompts")
    parser.add_argument("--seed", type=int, default=0, help="of the splits")
    with one_line_errors():
        given = parser.parse_args()
        if given.splits < 1:
            raise InputError(f"is {given.splits}", where="--splits", fix="give at least 1")
        print(json.dumps(summary(given.run, given.splits, given.seed), indent=1))


if __name__ == "__main__":
    main()
