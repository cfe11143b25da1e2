"""A run's work directory: kept for one run at a time, and nobody's files in it replaced."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from encore_jax.data.atomic import atomic_path, check_makeable
from encore_jax.data.lock import folder_lock, journal_lock, kept_journal, reader_lock, shared_lock
from encore_jax.data.manifest import MARK, is_stage, kind_of_run
from encore_jax.data.outputs import check_outputs, in_the_way, local_inputs
from encore_jax.errors import InputError
from encore_jax.parallel.processes import on_every_process, speaks
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.inputs_held import check_inputs
from encore_jax.recipes.plan import Plan
from encore_jax.recipes.run_config import RunConfig, to_dict
from encore_jax.settings import fields_of

CONFIG = "config.json"
OUTPUT_FIELDS = ("train.checkpoints", "adapter.checkpoints", "judge.journal")
"""Fields of configurations that name an output; so does every `judges.NAME.journal`."""


@contextlib.contextmanager
def kept_for(
    config: RunConfig,
    recipe: ModuleType,
    plan: Plan,
    *,
    overwrite: bool = False,
    together: bool = False,
    until: str | None = None,
) -> Iterator[None]:
    """Around a run: holds its work directory's lock, and those of what it writes elsewhere; writes config.json.

    Args:
      config: the run's.
      recipe: that carries it out; its PUBLISHED are files that it leaves beside the stages' folders.
      plan: its stages, and the work directory, which is made if it is not there.
      overwrite: replace what is in the way and no such run has made.
      together: all processes call it, each with a folder of its own; what one of them refuses, all refuse.
      until: the last stage wanted; all of them if left out.

    Raises:
      InputError: as `check_run`.
    """
    with contextlib.ExitStack() as stack:
        problem = None
        try:
            stack.enter_context(_checked(config, recipe, plan, overwrite, until, writes=True))
            for name, text in ((MARK, {"kind": kind_of(recipe)}), (CONFIG, to_dict(config))):
                with atomic_path(plan.workdir / name) as temporary:
                    temporary.write_text(json.dumps(text, indent=1))
        except (InputError, OSError) as error:
            problem = error
        refused = on_every_process(problem is not None).any() if together else problem
        if problem is None and refused:
            words = "another process is refused its inputs or its work directory"
            problem = InputError(words, where="multihost", fix="see its message")
        if problem is not None:
            raise problem
        yield


def check_run(
    config: RunConfig, recipe: ModuleType, plan: Plan, *, overwrite: bool = False, until: str | None = None
) -> None:
    """Refuses what `kept_for` refuses, and writes nothing.

    Raises:
      InputError: an input that is to lie on this machine cannot be read, another process is at work in the work
        directory, it holds files that no such run has made or a run on other inputs, or the run would write over its
        own inputs.
    """
    with _checked(config, recipe, plan, overwrite, until, writes=False):
        pass


@contextlib.contextmanager
def _checked(
    config: RunConfig, recipe: ModuleType, plan: Plan, overwrite: bool, until: str | None, *, writes: bool
) -> Iterator[None]:
    """What a run and its dry run refuse before the first stage; what reads more than names does so under their locks.

    The run holds them alone (`writes`), and its dry run shares them, so that it leaves no trace.
    """
    lock = folder_lock if writes else reader_lock
    folder, own = plan.workdir, (*plan.stages, *recipe.PUBLISHED, CONFIG)
    check_outputs(_outputs(config, folder, own), _inputs(config))
    check_makeable(folder)
    plan.check_there(until)
    with contextlib.ExitStack() as stack:
        stack.enter_context(lock(folder, fix="wait until it ends, or choose another --workdir"))
        fix = "wait until it ends, or name another place by --config.train.checkpoints"
        for place in {settings.checkpoints for settings in plan.given(TrainConfig).values()} - {""}:
            if "://" not in place and speaks():
                check_makeable(Path(place))
                stack.enter_context(lock(place, fix=fix))
        fix = "wait until it ends, or name another file"
        for journal in _journals(config) if speaks() and not all(map(plan.complete, plan.stages)) else ():
            check_makeable(journal.parent)
            kept = (
                kept_journal(journal, fix=fix) if writes else shared_lock(journal_lock(journal), place=journal, fix=fix)
            )
            stack.enter_context(kept)
        if not overwrite:
            check_folder(config, recipe, plan)
        plan.check_inputs(until)
        yield


def check_folder(config: RunConfig, recipe: ModuleType, plan: Plan) -> None:
    """Refuses a work directory that is not this run's: it holds somebody's files, or a run on other inputs.

    Raises:
      InputError: naming what is there, and what to type.
    """
    _check_owner(plan.workdir, kind_of(recipe), plan.stages, (*plan.stages, *recipe.PUBLISHED, CONFIG))
    check_inputs(config, plan, plan.workdir / CONFIG)


def kind_of(recipe: ModuleType) -> str:
    """What a work directory says of its run."""
    return recipe.__name__.rpartition(".")[2]


def _outputs(config: RunConfig, folder: Path, own: Sequence[str]) -> dict[str, Path]:
    outputs = {f"{name} in --workdir": folder / name for name in own}
    return outputs | {
        f"--config.{field}": Path(value)
        for field, value in fields_of(config).items()
        if _is_output(field) and value and "://" not in value
    }


def _journals(config: RunConfig) -> list[Path]:
    """The journals that a configuration names; one that it does not name lies in the work directory."""
    values = {value for field, value in fields_of(config).items() if field.endswith("journal") and _is_output(field)}
    return sorted(Path(value) for value in values - {""})


def _inputs(config: RunConfig) -> dict[str, Path]:
    values = fields_of(config).items()
    named = {f"--config.{field}": value for field, value in values if field != "name" and not _is_output(field)}
    return local_inputs(named)


def _is_output(field: str) -> bool:
    return field in OUTPUT_FIELDS or (field.startswith("judges.") and field.endswith(".journal"))


def _check_owner(folder: Path, kind: str, stages: Sequence[str], own: Sequence[str]) -> None:
    there = in_the_way(folder, own)
    if not there:
        return
    found = kind_of_run(folder)  # only a folder that says so holds files that a run may replace
    if found == kind:
        return
    fix = "choose another --workdir, or give --overwrite to replace it"
    if found:
        raise InputError(f"holds a run of another kind ({found}, not {kind})", where=str(folder), fix=fix)
    begun = [name for name in there if name in stages]
    if not begun or not all(is_stage(folder / stage) for stage in begun):
        raise InputError(f"holds what no run has made: {', '.join(there)}", where=str(folder), fix=fix)
