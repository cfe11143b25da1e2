"""Ablations as one program: every combination of choices, decided on the cached scores of one view.

    encore ablate runs/quickstart --taus=0.1,0.5,2 --grids='3 bins;5 bins'

Lists are separated by semicolons or commas. Equal weights (tau inf) are always among the settings. The first sentence
of the answer: the best tau and grid for all rules, what they cannot be told from, and whether the choice matters.

SCORES is one of these:

- the work directory of a run that has scored: its view of heads, or what its judge rated;
- view-NAME.npz as a run's score stage writes it. Its arrays (`encore_jax.evaluation.view.View`): rules ``[K]``, ratings
  and rated ``[R, K]``, rating_cluster ``[R]``, and for "train" and "test" PART.scores ``[N, 2, K]``, PART.preferred,
  PART.cluster and PART.subset ``[N]``; name, label, description;
- the Parquet file that `encore score` writes, of an input that says what is preferred;
- comparisons with ratings (.jsonl, .jsonl.gz, .parquet), as a rating run writes them to WORKDIR/rate/comparisons.jsonl,
  with the rules in pool.yaml beside it, or --config.pool; or a table of ratings, as `encore reliability` reads it, that
  says which response is preferred.

WORKDIR/decide/part-*.parquet (give readers this pattern) hold a row per setting: its number (index), what it chooses on
every axis, accuracy (ties half), correct, ties; prepare/subsets.parquet names the rules of each subset. WORKDIR gets
results.json, report.html and choices.csv. A killed run continues after the last complete part.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import flags

from encore_jax.cli.command import DRY_RUN, Given, carry_out, check_once, define_config, read_command
from encore_jax.cli.config_file import SHIPPED
from encore_jax.cli.overrides import apply_overrides, override_texts
from encore_jax.command_line import one_line_errors
from encore_jax.errors import InputError
from encore_jax.recipes.ablation_config import AblateConfig

DEFAULT = SHIPPED / "ablation.py"
SHORT = {
    "scores": "A run's folder, a view, scores or rated comparisons.",
    "features": "Features to fit heads again from.",
    "pool": "YAML file of the rules.",
    "scale": "Lowest and highest possible rating: 1,5; inferred if left out.",
    "taus": "Temperatures: 0.1,0.5,2.",
    "grids": "Of ratings: '3 bins;11 levels'.",
    "estimators": "Of the entropy: plug_in, miller_madow, kde.",
    "normalize": "The entropy: none, levels, observed.",
    "bases": "Of the logarithm.",
    "agreement": "Multiply by agreement's weights: no, yes.",
    "subsets": "Of the rules: auto, full, all, sampled.",
    "seeds": "Orders of the training prompts: 0..4.",
    "shares": "Of the training prompts: 0.5,1.",
    "alphas": "Ridge penalties, with features.",
    "replicates": "Bootstrap replicates of every setting.",
}
"""Flags that are short for --config.NAME."""


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        given = read_command(argv, AblateConfig)
        for name in SHORT:
            if flags.FLAGS[name].value is not None:
                given = with_field(given, name, flags.FLAGS[name].value)
        carry_out(given.config, given)


def with_field(given: Given, name: str, value: str) -> Given:
    """The same with a field that a short flag gave."""
    check_once(given, f"--{name}", name)
    try:
        overrides = {name: [f"--config.{name}={value}"]}
        config = apply_overrides(given.config, overrides)
    except InputError as error:
        short = [text.replace("--config.", "--") for text in (error.where, error.fix)]
        raise InputError(error.problem, where=short[0], fix=short[1]) from None
    return given._replace(config=config, overrides=given.overrides | override_texts(config, overrides))


def define_flags() -> None:
    """The command line's; not defined on import, because encore_jax.cli.run has flags of the same names."""
    define_config(str(DEFAULT))
    for name, text in SHORT.items():
        flags.DEFINE_string(name, None, f"{text} Short for --config.{name}.")
    flags.DEFINE_bool("dry_run", False, DRY_RUN)
    flags.DEFINE_string("rerun", None, "Run this stage again, from nothing: prepare, decide or report.")


if __name__ == "__main__":
    define_flags()
    main(sys.argv)
