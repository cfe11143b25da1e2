"""Checkpoints: what training changes, where its data stood and what it depends on; saved atomically by Orbax."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from encore_jax.errors import InputError
from encore_jax.files import require_regular_files
from encore_jax.json_shape import decode_json, read_bytes
from encore_jax.parallel.processes import on_every_process
from encore_jax.parallel.shared_folder import check_shared
from encore_jax.train.settings import HIGHEST, LOWEST
from encore_jax.train.state import TrainState

DAMAGED = "damaged"
"""Folder of checkpoints that could not be read: FOLDER/damaged, or in a bucket FOLDER-damaged."""


AWAY = "move that checkpoint away"


class Restored(NamedTuple):
    """A checkpoint as read: the state, and the data iterator's."""

    state: TrainState
    iterator: dict[str, Any]


class _BestNote(TypedDict):
    metric: str
    step: int
    value: float


class _Best:
    """Which step had the best value of a metric; remembered in a file that says nothing of other steps."""

    def __init__(self, path: epath.Path, metric: str):
        self._path, self._metric = path, metric
        self.step: int | None = None
        self._value = math.inf if metric in LOWEST else -math.inf
        try:
            content = path.read_bytes() if "://" in str(path) else _local_note(path)
            found = decode_json(content, _BestNote, where=str(path), fix="delete it")
            if found["metric"] == metric and math.isfinite(found["value"]):  # nothing is better than NaN
                self.step, self._value = found["step"], found["value"]
        except FileNotFoundError:
            pass
        except (InputError, OSError) as error:
            logging.warning("%s; the best checkpoint is chosen from now on", error)

    def update(self, step: int, value: float | None) -> None:
        if not self._metric or value is None or not math.isfinite(value):
            return
        if value < self._value if self._metric in LOWEST else value > self._value:
            self.step, self._value = step, value
            if jax.process_index() == 0:
                self._path.write_text(json.dumps({"metric": self._metric, "step": step, "value": value}))


@dataclasses.dataclass
class _Keep(policies.PreservationPolicy):
    """The newest checkpoints, and the best."""

    newest: int
    best: _Best

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        steps = [found.step for found in checkpoints]
        return [step in sorted(steps)[-self.newest :] or step == self.best.step for step in steps]


class Checkpoints:
    """Training states in a folder (or a gs:// bucket): the newest `keep` of them, and the best one.

    Only step, trainable parameters and optimizer state are stored; the frozen rest is reloaded from its source. The
    passport is stored too, and must be the same when training resumes.

    Use as a context manager: leaving it waits for saves under way.

    Args:
      folder: all processes of a run name the same one, on storage they share.
      passport: what the run depends on, as plain JSON values.
      keep: newest checkpoints kept.
      best: metric by which one more is kept; "" for none.

    Raises:
      InputError: no such metric, the processes do not see one and the same folder, or a checkpoint cannot be listed.
    """

    def __init__(self, folder: str | Path, passport: Mapping[str, Any], keep: int = 2, best: str = ""):
        if best not in ("", *LOWEST, *HIGHEST):
            raise InputError(f"{best!r} is unknown", where="keep_best", fix=f"use one of {(*LOWEST, *HIGHEST)} or ''")
        self._folder, self._metric = str(folder), best
        self._passport = json.loads(json.dumps(dict(passport)))
        self._path = epath.Path(self._folder if "://" in self._folder else Path(folder).resolve())
        together = jax.process_count() > 1
        if together:
            check_shared(self._path)
        self._path.mkdir(parents=True, exist_ok=True)
        if "://" not in self._folder:  # Orbax would wait for ever for whoever writes to a pipe
            for step in filter(Path.is_dir, Path(self._path).iterdir()):
                require_regular_files(step, fix=AWAY)
        self._best = _Best(self._path / "best.json", best)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_Keep(keep, self._best),
            cleanup_tmp_directories=True,
            enable_async_checkpointing=True,
            # Listings may lag behind, differently on every host.
            single_host_load_and_broadcast=together,
            step_name_format=ocp.path.step.standard_name_format(single_host_load_and_broadcast=together),
        )
        try:
            self._manager = ocp.CheckpointManager(self._path, options=options)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            problem = f"a checkpoint's _CHECKPOINT_METADATA is damaged: {_first_line(error)}"
            raise InputError(problem, where=self._folder, fix=f"{AWAY}, or the folder to start again") from None

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *exception) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    @property
    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return sorted(map(int, self._manager.all_steps()))

    @property
    def best_step(self) -> int | None:
        """The checkpoint with the best metric, if metrics were saved."""
        return self._best.step if self._best.step in self.steps else None

    def save(self, state: TrainState, iterator: Mapping[str, Any], metrics: Mapping[str, float] | None = None) -> None:
        """Saves in the background; a state is found again only once it is complete."""
        stored = _stored(state)
        if jax.default_backend() == "cpu":
            # On CPU the writer would read the very buffers that the next step overwrites (they are donated).
            stored = jax.tree.map(jnp.copy, stored)
        parts = ocp.args.Composite(
            state=ocp.args.StandardSave(stored),
            iterator=ocp.args.JsonSave(dict(iterator)),
            passport=ocp.args.JsonSave(self._passport),
        )
        self._best.update(int(state.step), (metrics or {}).get(self._metric))
        self._manager.save(int(state.step), args=parts)

    def wait(self) -> None:
        """Returns once everything saved is complete."""
        self._manager.wait_until_finished()

    def restore(self, like: TrainState, step: int | None = None) -> Restored | None:
        """A checkpoint on the devices that `like` names, or `None` if there is none.

        All processes restore the same one: what one of them cannot read, none of them uses.

        Args:
          like: a state of arrays, or of `jax.ShapeDtypeStruct`s with shardings; its frozen part is left as it is.
          step: which one; by default the newest that can be read. One that cannot be is reported, moved aside
            (see `DAMAGED`) and passed over for the one before it.

        Raises:
          InputError: it belongs to another run, or there are checkpoints and none of them can be read.
        """
        steps = self.steps[::-1] if step is None else [step]
        damaged = []
        for candidate in steps:
            found, differences, problem = self._attempt(candidate, like)
            if (others := on_every_process(bool(differences))).any():
                raise InputError(
                    f"it belongs to another run: {differences or f'see process {others.argmax()}'}",
                    where=f"{self._folder}/{candidate}",
                    fix="use the settings it was made with, or another folder",
                )
            if on_every_process(found is not None).all():
                self._set_aside(damaged)
                return found
            logging.warning("checkpoint %s/%d cannot be read; trying the one before: %s", self._folder, candidate,
                            problem or "see another process")  # fmt: skip
            damaged.append(candidate)
            del found  # its arrays, where only another process could not read them
        if steps:
            raise InputError(
                f"none of the checkpoints {steps} can be read",
                where=self._folder,
                fix="remove the folder to train from the beginning",
            )
        return None

    def _attempt(self, step: int, like: TrainState) -> tuple[Restored | None, str, str]:
        """A checkpoint, or how it differs from this run's, or why it cannot be read; no other process is waited for."""
        try:
            # Compared before the state is read: that of another run may have other parts and shapes.
            if differences := self._differences(self._read(step, "passport")):
                return None, differences, ""
            abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _stored(like))
            iterator = self._read(step, "iterator")
            state = ocp.StandardCheckpointHandler().restore(
                self._path / str(step) / "state", args=ocp.args.StandardRestore(abstract)
            )
            return Restored(like._replace(**state), iterator), "", ""
        except Exception as error:  # Orbax raises whatever its storage layers raise
            return None, "", _first_line(error)

    def restore_trainable(self, like: dict[str, Any], step: int, belongs: Mapping[str, Any]) -> dict[str, Any]:
        """The trainable parameters of one checkpoint alone: no optimizer state is read.

        Args:
          like: `jax.ShapeDtypeStruct`s with shardings.
          step: which checkpoint.
          belongs: fields of the passport that must be as given.

        Raises:
          InputError: there is no such checkpoint, it cannot be read, or it belongs to another run.
        """
        if step not in self.steps:
            raise InputError(f"there is no checkpoint {step}", where=self._folder, fix="run the training stage again")
        wanted, where = {"trainable": like}, f"{self._folder}/{step}"
        arguments = ocp.args.PyTreeRestore(
            item=wanted, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted), partial_restore=True
        )
        plain, cannot = json.loads(json.dumps(dict(belongs))), "run the training stage again"
        try:
            passport = self._read(step, "passport")
            differ = [name for name in plain if passport.get(name) != plain[name]]
            if not differ:
                found = ocp.PyTreeCheckpointHandler().restore(self._path / str(step) / "state", args=arguments)
        except Exception as error:  # Orbax raises whatever its storage layers raise
            raise InputError(f"cannot be read: {_first_line(error)}", where=where, fix=cannot) from error
        if differ:
            raise InputError(f"it belongs to another run: {', '.join(differ)} differ", where=where,
                             fix="use the work directory it was made in")  # fmt: skip
        return found["trainable"]

    def _read(self, step: int, part: str) -> dict[str, Any]:
        """A JSON part of a checkpoint. Orbax's handlers, unlike its manager, do not wait for other processes."""
        return ocp.JsonCheckpointHandler().restore(self._path / str(step) / part)

    def _differences(self, passport: Mapping[str, Any]) -> str:
        names = sorted(passport.keys() | self._passport.keys())
        differ = [n for n in names if passport.get(n) != self._passport.get(n)]
        return "; ".join(f"{n}: {passport.get(n)!r} there, {self._passport.get(n)!r} here" for n in differ)

    def _set_aside(self, steps: list[int]) -> None:
        """Makes room for these steps, which training will come to again; what lies there may be readable one day."""
        if not steps:
            return
        problem = ""
        if jax.process_index() == 0:
            try:
                self._move(steps)
            except Exception as error:  # whatever the storage raises
                problem = _first_line(error)
        if not on_every_process(not problem).all():
            raise InputError(
                f"checkpoints {steps} cannot be read, and not be moved either: {problem or 'see process 0'}",
                where=self._folder,
                fix="remove them by hand",
            )
        self._manager.reload()

    def _move(self, steps: list[int]) -> None:
        beside = self._path / DAMAGED
        if "://" in self._folder:  # within it, Orbax would take this for a save that was cut off, and delete it
            beside = self._path.parent / f"{self._path.name}-{DAMAGED}"
        beside.mkdir(exist_ok=True)
        (beside / "README").write_text("Checkpoints that could not be read; delete them when you do not need them.\n")
        taken = {path.name for path in beside.iterdir()}
        for step in steps:
            name = next(name for n in itertools.count() if (name := f"{step}.{n}" if n else str(step)) not in taken)
            (self._path / str(step)).rename(beside / name)
            logging.warning("checkpoint %d moved to %s", step, beside / name)


def _local_note(path: epath.Path) -> bytes:
    """The note of the best checkpoint, if that is what lies there."""
    if not os.path.lexists(path):
        raise FileNotFoundError(str(path))
    return read_bytes(path, fix="delete it", max_bytes=1 << 16)


def _stored(state: TrainState) -> dict[str, Any]:
    return {"step": state.step, "trainable": state.trainable, "optimizer": state.optimizer}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
