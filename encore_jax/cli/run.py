"""Runs an experiment: the stages that its configuration asks for, e.g. ingest, rate, train, score, compose,
evaluate, report.

    encore run quickstart --config.compose.tau=0.5 --workdir=runs/tau

--as=rewardbench (or hf, armorm) is short for --config.peer=rewardbench: a benchmark scored also as that software would.
--mesh=tensor=8 is short for --config.mesh.tensor=8: how devices share the model.

Every stage leaves its artefacts and a manifest in WORKDIR/STAGE. A second run skips finished stages, and a killed run
continues where it was.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

if any(argument.startswith("-") and argument.lstrip("-").split("=")[0] == "aot" for argument in sys.argv):
    os.environ["JAX_PLATFORMS"] = "cpu"  # the slice is only described; an installed libtpu must not look for chips
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # never otherwise: with it, jax does not find a pod's other hosts

import jax
from absl import flags, logging

from encore_jax.cli.command import DRY_RUN, check_effects, check_once, define_config, folder_of, read_command
from encore_jax.command_line import define_devices, one_line_errors, start_logging
from encore_jax.errors import InputError
from encore_jax.parallel.processes import speaks
from encore_jax.recipes.run_config import validated

_RERUN = flags.DEFINE_string(
    "rerun", None, "Run this stage again, from nothing; later ones follow if its outputs change."
)
define_devices()
_CHECKPOINTS = flags.DEFINE_string(
    "checkpoints",
    "",
    "Where training keeps its checkpoints, e.g. gs://BUCKET/RUN, if the configuration names no place "
    "(config.train.checkpoints); a run that trains nothing by steps ignores it.",
)
_AOT = flags.DEFINE_string(
    "aot",
    "",
    "Train nothing: compile the training step for a TPU slice (v5e:8x8, v5p:16, ...) or search the smallest that fits "
    "(fit:v5e; fit: of every generation; fit:v5e:4x4: the most rows on a chip there); "
    "exit status 1 if it does not fit. Needs the TPU compiler: pip install -e '.[aot]'.",
)
_UNTIL = flags.DEFINE_string("until", None, "Stop after this stage.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, DRY_RUN)
_FROM = flags.DEFINE_string(
    "from", "", "Read what a finished rating run in this work directory has made: rules, comparisons and ratings."
)
_AS = flags.DEFINE_string("as", "", "Of a benchmark: score also as this software would, short for --config.peer.")


def main(argv: Sequence[str]) -> None:
    with one_line_errors():
        given = read_command(argv)
        config = given.config
        start_logging()
        if multihost := flags.FLAGS["multihost"].value:
            from encore_jax.parallel.joining import join

            join(multihost)
        if _AS.value:
            if not hasattr(config, "peer"):
                raise InputError("is for benchmarks", where="--as", fix="leave it out, or give a benchmark's --config")
            check_once(given, "--as", "peer")
            config.peer = _AS.value
        if _FROM.value:
            from encore_jax.cli.from_run import take_from

            take_from(config, given, _FROM.value)
        if mesh := flags.FLAGS["mesh"].value:
            from encore_jax.cli.mesh_flag import take_mesh

            take_mesh(config, given, mesh)
        workdir = folder_of(config, flags.FLAGS["workdir"].value)
        if hasattr(config, "train"):
            from encore_jax.parallel.joining import device_start

            device_start()
            shared = str(workdir / "checkpoints") if jax.process_count() > 1 else ""
            config.train.checkpoints = config.train.checkpoints or _CHECKPOINTS.value or shared
        if _AOT.value:
            from encore_jax.cli.aot import name_data, run_aot

            name_data(config)
            sys.exit(0 if run_aot(validated(config), _AOT.value, workdir, flags.FLAGS["overwrite"].value) else 1)
        from encore_jax.recipes.run import run_experiment, stages_of

        config = validated(config)
        check_effects(config, given)
        overwrite = flags.FLAGS["overwrite"].value
        if _DRY_RUN.value:
            print(stages_of(config, workdir, until=_UNTIL.value, rerun=_RERUN.value, overwrite=overwrite))
            return
        with contextlib.ExitStack() as silenced:
            if not speaks():
                logging.set_verbosity(logging.ERROR)
                nowhere = silenced.enter_context(open(os.devnull, "w", encoding="utf-8"))
                silenced.enter_context(contextlib.redirect_stdout(nowhere))
                workdir = workdir / f".process-{jax.process_index()}"  # every process keeps its own (equal) artefacts
            run_experiment(config, workdir, rerun=_RERUN.value, until=_UNTIL.value, overwrite=overwrite)


if __name__ == "__main__":
    define_config()
    main(sys.argv)
