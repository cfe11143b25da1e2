"""Ablations as one program: every combination of choices, decided on the cached scores of one view.

    encore ablate --scores=runs/quickstart/score/view-heads.npz \\
      --config=ablation --config.replicates=200

--scores is one of

- view-NAME.npz as a run's score stage writes it. Its arrays (`encore_jax.evaluation.view.View`): rules ``[K]``, ratings
  and rated ``[R, K]``, rating_cluster ``[R]``, and for "train" and "test" PART.scores ``[N, 2, K]``, PART.preferred,
  PART.cluster and PART.subset ``[N]``; name, label, description;
- the Parquet file that `encore score` writes, of an input that says what is preferred;
- comparisons with ratings (.jsonl, .jsonl.gz, .parquet), as a rating run writes them to WORKDIR/rate/comparisons.jsonl,
  with the rules in pool.yaml beside it, or --config.pool.

WORKDIR/decide/part-*.parquet (give readers this pattern) hold a row per setting: its number (index), what it chooses on
every axis, accuracy (ties half), correct, ties; prepare/subsets.parquet names the rules of each subset. WORKDIR gets
results.json and report.html. Killed and run again, it continues after the last complete part.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import flags

from encore_jax.cli.command import carry_out, check_once, define_config, read_command
from encore_jax.cli.config_file import SHIPPED
from encore_jax.command_line import one_line_errors
from encore_jax.recipes.ablation_config import AblateConfig

DEFAULT = SHIPPED / "ablation.py"


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        given = read_command(argv, AblateConfig)
        for name in ("scores", "features"):
            if flags.FLAGS[name].value is not None:
                check_once(given, f"--{name}", name)
                setattr(given.config, name, flags.FLAGS[name].value)
        carry_out(given.config, given)


def define_flags() -> None:
    """The command line's; not defined on import, because encore_jax.cli.run has flags of the same names."""
    define_config(str(DEFAULT))
    flags.DEFINE_string("scores", None, "View, scores or rated comparisons, short for --config.scores.")
    flags.DEFINE_string("features", None, "Features to fit heads again from, short for --config.features.")
    flags.DEFINE_string("rerun", None, "Run this stage again, from nothing: prepare, decide or report.")


if __name__ == "__main__":
    define_flags()
    main(sys.argv)
