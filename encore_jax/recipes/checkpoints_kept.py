"""A stage that is run again begins from nothing, and so must its training."""

from __future__ import annotations

from etils import epath

from encore_jax.errors import InputError
from encore_jax.parallel.processes import on_every_process
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.plan import Plan
from encore_jax.train.checkpoint import DAMAGED


def check_rerun(plan: Plan, stage: str | None, together: bool) -> None:
    """Refuses to run a stage again whose training would go on from checkpoints outside its folder.

    Args:
      plan: the run's.
      stage: that is to run again, if any.
      together: all processes call this; what one of them finds, all of them refuse.

    Raises:
      InputError: there are such checkpoints.
    """
    kept = kept_checkpoints(plan, stage) if stage else ""
    found = on_every_process(bool(kept)).any() if together else kept
    if found:
        raise InputError(
            f"stage {stage} would go on from the checkpoints in {kept or 'a folder of another process'}",
            where="--rerun",
            fix="remove them, or name another place by --config.train.checkpoints",
        )


def kept_checkpoints(plan: Plan, stage: str) -> str:
    """The folder outside the stage's own where its training finds checkpoints; "" if there is none."""
    settings = plan.given(TrainConfig).get(stage)
    if settings is None or settings.method != "gradient" or not settings.checkpoints:
        return ""
    root = epath.Path(settings.checkpoints)
    children = [child for child in root.iterdir() if child.is_dir()] if root.exists() else []
    # An adapter may share the place with what is trained on its labels.
    adapters = [child for child in children if child.name == "adapter"]
    others = [root, *(c for c in children if c not in adapters and not c.name.endswith(DAMAGED))] if children else []
    steps = (path for folder in (adapters if stage == "adapter" else others) for path in folder.iterdir())
    return settings.checkpoints if any(path.name.isdigit() for path in steps) else ""
