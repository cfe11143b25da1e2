"""Exports the reward model of a finished run for transformers, TRL, vLLM, OpenRLHF and RewardBench.

    encore export --workdir=runs/quickstart --out=exports/quickstart [--folded] [--peft]

Without --folded the export has one score per rule, with it the composed reward alone. Low-rank updates are merged into
the weights, or with --peft written as an adapter. The folder loads here again: RewardModel.from_pretrained(OUT).
The same command given again leaves the export as it is; another one in its place needs --overwrite.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import logging

from encore_jax.cli.joint_choice import ARMS, HEAD_NAMES, Choice
from encore_jax.command_line import Parser, one_line_errors, start_logging
from encore_jax.data.digest import file_sha256
from encore_jax.data.lock import kept_output, reader_lock
from encore_jax.data.outputs import check_replaceable
from encore_jax.errors import InputError
from encore_jax.reward.weighting import HELP


def made_by(words: Sequence[str], run: str) -> str:
    """The command that makes an export again, as it was typed, and the run's name; Markdown.

    >>> print(made_by(["--workdir=runs/mine", "--out=my exports"], "mine").splitlines()[1])
    encore export --workdir=runs/mine '--out=my exports'
    """
    command = shlex.join(["encore", "export", *words]).replace("`", "'")
    return f"```bash\n{command}\n```\n\nfrom the folder of run `{run}`, which `config.json` there describes whole."


def main(arguments: Sequence[str] | None = None) -> None:
    words = list(sys.argv[1:] if arguments is None else arguments)
    with one_line_errors():
        given = parse(words)
        start_logging()
        logging.info(
            "export of %s into %s: reading the run", given.workdir, given.out
        )  # before what takes seconds to import
        folder, new = exported(given, words)
        told = ", ".join(sorted(path.name for path in folder.iterdir()))
        print(
            f"{folder}: {told}" if new else f"{folder}: up to date, made by this command from this run before: {told}"
        )


def exported(given: argparse.Namespace, words: Sequence[str]) -> tuple[Path, bool]:
    """The export's folder, and whether it was made now: one of the same model that was made in the same way stays.

    Args:
      given: the command line.
      words: the same as typed, for the model card.

    Raises:
      InputError: see `export_run`; or the folder holds something else.
    """
    from encore_jax.cli.export_run import export_run, export_source
    from encore_jax.cli.finished_run import read_run
    from encore_jax.progress import at_work
    from encore_jax.reward.export import MARKS, is_exported_from

    options = {
        "folded": given.folded, "peft": given.peft, "allow_mismatch": given.allow_mismatch,
        "shard_bytes": max(1, int(min(given.shard_gb, 1e9) * 1e9)), "weights": given.weights,
    }  # fmt: skip
    there = not os.path.islink(given.out) and all(os.path.isfile(given.out / mark) for mark in MARKS)
    # a second export to it reads no model for nothing
    with at_work("export"), kept_output(given.out), reader_lock(given.workdir):
        if not there or given.overwrite:
            check_replaceable(given.out, overwrite=given.overwrite, marks=MARKS)
        run = read_run(given.workdir, Choice(given.arm, given.trained_on, given.head))
        held = {"weights held": file_sha256(Path(given.weights))} if os.path.isfile(given.weights) else {}
        # a model that nothing vouches for has no source
        source = "" if given.allow_mismatch else export_source(run, **options, **held)
        if there and not given.overwrite:
            if is_exported_from(given.out, source):
                return given.out, False
            check_replaceable(given.out, overwrite=False, marks=MARKS)
        run = run._replace(about=run.about | {"Made by": made_by(words, run.config.name)})
        return export_run(run, given.out, **options, overwrite=given.overwrite, source=source), True


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, type=Path, help="of a finished run")
    parser.add_argument("--out", required=True, type=Path, help="a new folder")
    parser.add_argument("--folded", action="store_true", help="one score, the composed reward")
    parser.add_argument("--weights", default="", help=HELP)
    parser.add_argument("--arm", default="", choices=ARMS, help="of a joint run: whose model")
    parser.add_argument("--trained-on", default="", help="of a joint run: the domain that the model was trained on")
    parser.add_argument(
        "--head", default="", choices=HEAD_NAMES,
        help="of a joint run: the reward, its preference head or its rule heads by ENCORE's weights",
    )  # fmt: skip
    parser.add_argument("--peft", action="store_true", help="low-rank updates as an adapter, not merged")
    parser.add_argument(
        "--allow-mismatch", "--allow_mismatch", action="store_true",
        help="export though the base model is another; recorded",
    )  # fmt: skip
    parser.add_argument("--shard-gb", type=float, default=5.0, help="largest weight file")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export in this folder")
    given = parser.parse_args(arguments)
    if not (math.isfinite(given.shard_gb) and given.shard_gb > 0):
        raise InputError(f"{given.shard_gb} is no size", where="--shard-gb", fix="e.g. --shard-gb=5")
    return given


if __name__ == "__main__":
    main()
