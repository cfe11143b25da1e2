"""One process of a tiny training run; see test_processes.py."""

import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from encore_jax.parallel import mesh as module
from encore_jax.parallel.joining import join
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.train.checkpoint import Checkpoints
from encore_jax.train.loop import fit
from encore_jax.train.metrics import MetricsLog
from encore_jax.train.packing import count_steps, packed_steps, step_shape
from tests.train import tiny_training as tiny

EPOCHS = 16


def main(folder: Path, run: str, slow: bool, mesh: MeshSettings) -> None:
    config = tiny.settings(rows=4, save_every=5)
    steps = count_steps(packed_steps(tiny.trees(), step_shape(config), 0, EPOCHS))[0]
    program = tiny.program(config, mesh, 4, steps)
    log = MetricsLog(folder)

    def report(number, metrics):
        log(number, metrics)
        if slow:
            time.sleep(0.5)

    with Checkpoints(folder / "checkpoints", {"run": run}) as checkpoints:
        state = fit(
            program, lambda: tiny.start(program), dict, tiny.batches(config, EPOCHS),
            program.replicated(tiny.UNIFORM), checkpoints, steps=steps, report=report,
        )  # fmt: skip
    whole = jax.device_get(program.replicated(state.trainable))
    named = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(whole)}
    np.savez(folder / f"final-{jax.process_index()}.npz", **named)


def cannot_read(step: str) -> None:
    """From here on this process's storage fails when it reads the state of a checkpoint."""
    restore = ocp.StandardCheckpointHandler.restore

    def failing(self, directory, *arguments, **options):
        if directory.parent.name == step:
            raise OSError("the disk does not answer")
        return restore(self, directory, *arguments, **options)

    ocp.StandardCheckpointHandler.restore = failing


if __name__ == "__main__":
    for option in sys.argv[3:]:
        if option.startswith("--unreadable="):
            cannot_read(option.split("=")[1])
    join(sys.argv[2])
    runs = [option.split("=")[1] for option in sys.argv[3:] if option.startswith("--run=")]
    mesh = MeshSettings(fsdp=2, tensor=2)
    if "--data" in sys.argv:
        mesh = MeshSettings(data=2, fsdp=1, tensor=2)
    if "--slices" in sys.argv:  # every process stands for a slice, which devices of a CPU know nothing of
        module.slice_of = lambda device: device.process_index
    main(Path(sys.argv[1]), *(runs or ["tiny"]), "--slow" in sys.argv, mesh)
