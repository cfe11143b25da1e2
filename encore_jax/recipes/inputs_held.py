"""A work directory is for one run's inputs: its data, rules and models. Those of another run are not replaced by it.

Changed settings go on in the same folder. So do inputs that were edited in place, and those that were moved and hold
what they held.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from encore_jax.data.manifest import BEGUN
from encore_jax.errors import InputError
from encore_jax.json_shape import read_json
from encore_jax.recipes.outside import inputs_read
from encore_jax.recipes.plan import Plan
from encore_jax.recipes.run_config import RunConfig
from encore_jax.settings import fields_of

MOST_BYTES = 64 << 20
"""Of a configuration that a run kept."""


def check_inputs(config: RunConfig, plan: Plan, kept: Path) -> None:
    """Refuses a work directory where stages have read other inputs than this run's.

    Args:
      config: of the run that is to begin.
      plan: its stages, and the work directory.
      kept: the configuration of the run before, which that one wrote there; nothing is refused without it.

    Raises:
      InputError: naming the inputs that it holds; or an input of this run is missing.
    """
    try:
        before = read_json(kept, dict[str, object], max_bytes=MOST_BYTES)
    except InputError:
        return
    now, told = fields_of(config), {}
    for stage in plan.stages:
        if not _has_output(plan.at[stage]):
            continue
        for name, value in plan.call(stage).arguments.items():
            for field in inputs_read(value):
                if field in now and field not in told:
                    there = _field(before, field)
                    if there is not None and not _same_place(there, now[field]):
                        if not _same_content(value, now[field], plan.at[stage], name):
                            told[field] = there, now[field]
    if told:
        words = [f"--config.{field}={_shown(there)}, not {_shown(here)}" for field, (there, here) in told.items()]
        fix = "give a folder of its own, --workdir=FOLDER, or --overwrite to lose what is there"
        raise InputError(f"holds a run on other inputs: {'; '.join(words)}", where=str(plan.workdir), fix=fix)


def _has_output(stage: Path) -> bool:
    """Whether the stage has written something, be it a checkpoint, and not only that it was begun."""
    return stage.is_dir() and any(path.name != BEGUN and not path.name.startswith(".") for path in stage.iterdir())


def _field(values: Any, name: str) -> Any:
    """A field of plain values by its dotted name; None if there is none."""
    for part in name.split("."):
        if not isinstance(values, dict) or part not in values:
            return None
        values = values[part]
    return values


def _same_place(there: Any, here: Any) -> bool:
    there, here = ((list(value) if isinstance(value, tuple) else value) for value in (there, here))
    if there == here:
        return True
    if not (isinstance(there, str) and isinstance(here, str) and there and here):
        return False
    try:
        return Path(there).expanduser().resolve() == Path(here).expanduser().resolve()
    except (OSError, ValueError, RuntimeError):
        return False


def _same_content(value: Any, here: Any, stage: Path, name: str) -> bool:
    """Whether an input that was moved holds what the stage has read; nothing is fetched to find out."""
    if any("://" in one for one in (here if isinstance(here, tuple) else (here,))):
        return False
    try:
        recorded = _field(read_json(stage / BEGUN, dict[str, object]), f"arguments.{name}")
    except InputError:
        return False
    key = [one.key() for one in value] if isinstance(value, list) else value.key()
    return _without_settings(recorded) == _without_settings(json.loads(json.dumps(key, default=list)))


def _without_settings(key: Any) -> Any:
    return {name: one for name, one in key.items() if name != "settings"} if isinstance(key, dict) else key


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
