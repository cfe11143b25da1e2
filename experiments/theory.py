"""Checks ENCORE's theory: assumption, prediction, measurement and verdict of every claim.

    python -m experiments.theory --view=runs/quickstart/score/view-heads.npz

The zero-weight theorem and where its assumptions are needed; high entropy with perfect accuracy, and the constant rule;
which noise raises entropy and which does not; when ENCORE beats equal weights and when it loses; what the number of
levels does to the weights. With --view (may be given several times) also: do Bradley-Terry weights, trained on that
view's comparisons, fall as entropy rises? WORKDIR gets results.json and report.html.
"""

from __future__ import annotations

from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from experiments.command import carry_out

DEFAULT = Path(__file__).parent / "configs" / "theory.py"


def main(argv: list[str]) -> None:
    config, given = flags.FLAGS["config"].value, flags.FLAGS
    config.views = tuple(given["view"].value) or config.views
    carry_out(config, argv, given["workdir"].value, given["rerun"].value)


def define_flags() -> None:
    """The command line's; not defined on import, because experiments.run has flags of the same names."""
    config_flags.DEFINE_config_file("config", str(DEFAULT), "Python file with get_config().", lock_config=True)
    flags.DEFINE_multi_string("view", [], "A view of a run's score stage, short for --config.views.")
    flags.DEFINE_string("workdir", None, "Where artefacts go; runs/NAME by default.")
    flags.DEFINE_string("rerun", None, "Run this stage again, from nothing: check or report.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
