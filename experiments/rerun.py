"""A stage that is run again begins from nothing, and so must its training."""

from __future__ import annotations

from etils import epath

from encore_jax.errors import InputError
from encore_jax.parallel.processes import on_every_process
from encore_jax.train.checkpoint import DAMAGED
from experiments.config import RunConfig
from experiments.ramo_config import RamoConfig


def check_rerun(config: RunConfig, stage: str | None, together: bool) -> None:
    """Refuses to run a stage again whose training would go on from checkpoints outside its folder.

    Args:
      config: the run's.
      stage: that is to run again, if any.
      together: all processes call this; what one of them finds, all of them refuse.

    Raises:
      InputError: there are such checkpoints.
    """
    kept = kept_checkpoints(config, stage) if stage else ""
    found = on_every_process(bool(kept)).any() if together else kept
    if found:
        raise InputError(
            f"stage {stage} would go on from the checkpoints in {kept or 'a folder of another process'}",
            where="--rerun",
            fix="remove them, or name another place by --config.train.checkpoints",
        )


def kept_checkpoints(config: RunConfig, stage: str) -> str:
    """The folder outside the stage's own where its training finds checkpoints; "" if there is none."""
    if stage not in ("train", "adapter") or not hasattr(config, "train"):
        return ""
    of_ramo = stage == "adapter" and isinstance(config, RamoConfig)
    settings = config.adapter if of_ramo else config.train
    where = (config.adapter.checkpoints if of_ramo else "") or config.train.checkpoints
    if settings.method != "gradient" or not where or not epath.Path(where).exists():
        return ""
    root = epath.Path(where)
    children = [child for child in root.iterdir() if child.is_dir()]
    if stage == "adapter":
        folders = [child for child in children if child.name == "adapter"]
    else:
        folders = [root, *(c for c in children if c.name != "adapter" and not c.name.endswith(DAMAGED))]
    steps = (path for folder in folders for path in folder.iterdir() if path.name.isdigit())
    return where if any(steps) else ""
