"""Ablations as one program: every combination of choices, decided on the cached scores of one view.

    python -m experiments.ablate --scores=runs/quickstart/score/view-heads.npz \\
      --config=experiments/configs/ablation.py --config.replicates=200

--scores is view-NAME.npz as a run's score stage writes it. Its arrays (`encore_jax.evaluate.view.View`): rules ``[K]``,
ratings and rated ``[R, K]``, rating_cluster ``[R]``, and for "train" and "test" PART.scores ``[N, 2, K]``,
PART.preferred, PART.cluster and PART.subset ``[N]``; name, label, description.

WORKDIR/decide/part-*.parquet (give readers this pattern) hold a row per setting: its number (index), what it chooses on
every axis, accuracy (ties half), correct, ties; prepare/subsets.parquet names the rules of each subset. WORKDIR gets
results.json and report.html. Killed and run again, it continues after the last complete part.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from encore_jax.errors import InputError
from experiments.config import default_workdir, to_dict, validated
from experiments.pipeline import run_experiment

DEFAULT = Path(__file__).parent / "configs" / "ablation.py"


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    given = flags.FLAGS
    try:
        config = given["config"].value
        for name in ("scores", "features"):
            if given[name].value:
                setattr(config, name, given[name].value)
        config = validated(config)
        workdir = Path(given["workdir"].value) if given["workdir"].value else default_workdir(config)
        workdir.mkdir(parents=True, exist_ok=True)
        (workdir / "config.json").write_text(json.dumps(to_dict(config), indent=1))
        run_experiment(config, workdir, rerun=given["rerun"].value)
    except InputError as error:
        sys.exit(f"error: {error}")


def define_flags() -> None:
    """The command line's; not defined on import, because experiments.run has flags of the same names."""
    config_flags.DEFINE_config_file("config", str(DEFAULT), "Python file with get_config().", lock_config=True)
    flags.DEFINE_string("scores", None, "The view, short for --config.scores.")
    flags.DEFINE_string("features", None, "Features to fit heads anew from, short for --config.features.")
    flags.DEFINE_string("workdir", None, "Where artefacts go; runs/NAME by default.")
    flags.DEFINE_string("rerun", None, "Run this stage again, from nothing: prepare, decide or report.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
