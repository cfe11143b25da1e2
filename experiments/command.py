"""What the commands with a configuration of their own have in common."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from absl import app, logging

from encore_jax.errors import InputError
from experiments.config import RunConfig, default_workdir, to_dict, validated
from experiments.pipeline import run_experiment


def carry_out(config: RunConfig, argv: list[str], workdir: str | None, rerun: str | None) -> None:
    """Checks a configuration, writes it down, and runs its stages; bad input ends the process with a message.

    Args:
      config: as flags have made it.
      argv: what is left of the command line; nothing must be.
      workdir: where artefacts go; runs/NAME if left out.
      rerun: a stage to run again.
    """
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}")
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    try:
        config = validated(config)
        folder = Path(workdir) if workdir else default_workdir(config)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(to_dict(config), indent=1))
        run_experiment(config, folder, rerun=rerun)
    except InputError as error:
        sys.exit(f"error: {error}")
