"""Checks ENCORE's theory: assumption, prediction, measurement and verdict of every claim.

    encore theory --view=runs/quickstart/score/view-heads.npz

The zero-weight theorem and where its assumptions are needed; high entropy with perfect accuracy, and the constant rule;
which noise raises entropy and which does not; when ENCORE beats equal weights and when it loses; what the number of
levels does to the weights. With --view (may be given several times) also: do Bradley-Terry weights, trained on that
view's comparisons, fall as entropy rises? WORKDIR gets results.json and report.html.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from absl import flags

from encore_jax.cli.command import DRY_RUN, carry_out, check_once, define_config, read_command
from encore_jax.cli.config_file import SHIPPED
from encore_jax.command_line import one_line_errors
from encore_jax.recipes.theory_config import TheoryConfig

DEFAULT = SHIPPED / "theory.py"


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        given = read_command(argv, TheoryConfig)
        if flags.FLAGS["view"].value:
            check_once(given, "--view", "views")
            given.config.views = tuple(flags.FLAGS["view"].value)
        carry_out(given.config, given)


def define_flags() -> None:
    """The command line's; not defined on import, because encore_jax.cli.run has flags of the same names."""
    define_config(str(DEFAULT))
    flags.DEFINE_multi_string("view", [], "A view of a run's score stage, short for --config.views.")
    flags.DEFINE_bool("dry_run", False, DRY_RUN)
    flags.DEFINE_string("rerun", None, "Run this stage again, from nothing: check or report.")


if __name__ == "__main__":
    define_flags()
    main(sys.argv)
