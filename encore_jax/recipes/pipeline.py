"""Stages as calls: what a function is given is what its results depend on, and the only thing that is.

    data = stage("ingest", ingest, config.data, seed=config.seed)
    heads = stage("train", fit_heads, config.train, data)

A stage runs unless its folder says that the same function, in the same version of its code, ran to its end on the same
arguments. It gives back an `Artefact`: a handle, whose files are read when somebody uses them. Passed on, it stands for
what was written, not for where.

A stage's function is an ordinary one. Parameters that are Paths get an artefact's folder, others what `artefact.read`
makes of it; a parameter called ``folder`` gets the stage's own, for what a killed run resumes from. What it returns is
written there by `artefact.write`.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

from encore_jax.data.digest import changed, recording
from encore_jax.data.manifest import changed_outputs
from encore_jax.errors import InputError
from encore_jax.lazy import Deferred
from encore_jax.parallel.processes import all_same_everywhere, on_every_process
from encore_jax.progress import at_work, clock, part_of
from encore_jax.recipes.artefact import Artefact, write
from encore_jax.recipes.code_version import code_digest
from encore_jax.recipes.manifest import run_stage
from encore_jax.settings import Settings, results_depend_on


class Call(NamedTuple):
    """A function and what it is given.

    Attributes:
      function: defined in a module.
      arguments: by parameter; artefacts are handles.
      aside: those of them that say only whether a result is worth having, and change none.
    """

    function: Callable
    arguments: dict[str, Any]
    aside: tuple[str, ...]

    def key(self) -> dict[str, Any]:
        """What results depend on, as JSON values: by every earlier stage's name what that one wrote, and the rest."""
        given = {name: value for name, value in self.arguments.items() if name not in self.aside}
        earlier = {value.stage: value.outputs for value in given.values() if isinstance(value, Artefact)}
        plain = {name: _plain(value) for name, value in given.items() if not isinstance(value, Artefact)}
        name = f"{self.function.__module__}:{self.function.__qualname__}"
        return earlier | {"function": name, "code": code_digest(self.function), "arguments": plain}

    @property
    def artefacts(self) -> list[Artefact]:
        """What earlier stages wrote and this one reads."""
        return [value for value in self.arguments.values() if isinstance(value, Artefact)]

    def __call__(self, folder: Path) -> Any:
        kinds = typing.get_type_hints(self.function)
        given = {name: _given(value, kinds.get(name)) for name, value in self.arguments.items()}
        if "folder" in inspect.signature(self.function).parameters:
            given["folder"] = folder
        return self.function(**given)


def call_of(function: Callable, args: tuple, kwargs: Mapping[str, Any], aside: Mapping[str, Any]) -> Call:
    """A call, its arguments by name; those that have a default and are left out are no part of it.

    A `Deferred` function is imported.
    """
    function = loaded(function)
    signature = inspect.signature(function)
    given = signature.bind_partial(*args, **kwargs, **aside)
    missing = {
        name
        for name, parameter in signature.parameters.items()
        if parameter.default is parameter.empty and name not in given.arguments and name != "folder"
    }
    if missing:
        raise TypeError(f"{function.__qualname__} is not given {', '.join(sorted(missing))}")
    return Call(function, dict(given.arguments), tuple(aside))


class Pipeline:
    """Runs the stages of one work directory.

    Args:
      workdir: one folder per stage.
      rerun: a stage to run again whatever its manifest says.
      until: the last stage wanted; all of them if left out.
      together: all processes run it: a stage must depend on the same everywhere, and runs if any of them lacks it.
      overwrite: a stage may empty a folder that holds what no stage wrote.
      stages: names of all stages of the run, in order, if they are known: then the log says how far the run is.
    """

    def __init__(
        self,
        workdir: Path,
        *,
        rerun: str | None = None,
        until: str | None = None,
        together: bool = False,
        overwrite: bool = False,
        stages: Sequence[str] = (),
    ):
        self.workdir, self.together, self.overwrite = workdir, together, overwrite
        self._number = {name: f"stage {number} of {len(stages)}" for number, name in enumerate(stages, 1)}
        self._rerun, self._until, self._last = rerun, until, ""

    def __call__(self, name: str, function: Callable, *args, aside: Mapping[str, Any] | None = None, **kwargs):
        """The artefact of a stage, which is run if it is not complete.

        Args:
          name: of the stage and of its folder.
          function: defined in a module, or `Deferred`: it is imported if the stage is wanted.
          *args, **kwargs: its arguments: settings, seeds, artefacts, files from outside (anything with a `key`).
          aside: more of them, which change no result and so are no part of what it depends on.

        Raises:
          InputError: the processes' data or models differ, or a file changed while the stage read it.
          LastStage: the stage that is the last one wanted was the one before.
        """
        if self._last and self._last == self._until:
            raise LastStage
        self._last = name
        call = call_of(function, args, kwargs, aside or {})
        with recording() as files:
            key = _same_key_everywhere(name, call) if self.together else call.key()
        options = {"everywhere": lambda complete: bool(on_every_process(complete).all())} if self.together else {}
        folder, again = self.workdir / name, name == self._rerun
        body = functools.partial(self._run, name, call, files)
        with part_of(self._number.get(name, "")):
            manifest, ran = run_stage(folder, key, body, again=again, overwrite=self.overwrite, **options)
        logging.info("%s: %s (%s)", self._named(name), "done" if ran else "up to date", clock(manifest["seconds"]))
        return Artefact(name, folder, manifest["outputs"])

    def always(self, function: Callable, *args) -> None:
        """Calls a function whatever is complete: what is refused at once, copies for the user, what is shown."""
        function = loaded(function)
        kinds, given = typing.get_type_hints(function), inspect.signature(function).bind(*args).arguments
        function(**{name: _given(value, kinds.get(name)) for name, value in given.items()})

    def before(self, function: Callable, *args) -> None:
        """Nothing: `encore_jax.recipes.plan.Plan.check_inputs` has made this check."""

    def _named(self, name: str) -> str:
        return ", ".join(filter(None, (self._number.get(name, ""), name)))

    def _run(self, name: str, call: Call, files: dict[str, str], folder: Path) -> None:
        """The stage's function; what it reads is checked before and after: it must be what its manifest will say."""
        logging.info("%s: begins", self._named(name))  # before it reads its inputs, which may take a while
        self._check(name, call, files)
        with at_work(self._named(name)):
            made = call(folder)
            if made is not None:
                write(made, folder)
            self._check(name, call, files)

    def _check(self, name: str, call: Call, files: dict[str, str]) -> None:
        problem = next(_problems(name, call, files), None)
        if self.together and on_every_process(bool(problem)).any():
            problem = problem or (name, "another process's files changed")
        if problem:
            where, what = problem
            fix = "let nobody change it meanwhile, and run the same command again: what depends on it runs again"
            raise InputError(what, where=where, fix=fix)


class LastStage(Exception):
    """The last stage wanted has run."""


def loaded(function: Callable) -> Callable:
    return function.load() if isinstance(function, Deferred) else function


def _given(value: Any, kind: Any) -> Any:
    """An argument as the function takes it."""
    return value.read(kind) if isinstance(value, Artefact) else getattr(value, "given", value)


def _plain(value: Any) -> Any:
    """An argument as JSON values.

    Raises:
      TypeError: nothing says what it depends on.
    """
    if isinstance(value, Settings):
        return results_depend_on(value)
    if hasattr(value, "key"):
        return _plain(value.key())
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise TypeError(f"a stage cannot depend on a {type(value).__name__}: pass its settings, or give it a key()")


def _problems(name: str, call: Call, files: Mapping[str, str]):
    """Files that are not what this stage's key says, and what is wrong with each."""
    for path in changed(files):
        yield path, f"changed while stage {name} was to read it"
    for artefact in call.artefacts:
        for file in changed_outputs(artefact.folder, artefact.outputs):
            yield str(artefact.folder / file), f"changed between its stage and stage {name}"


def _same_key_everywhere(name: str, call: Call) -> dict[str, Any]:
    """What a stage depends on, which must be the same on all processes.

    What earlier stages wrote is not compared: it holds times, and metrics on process 0 only.
    """
    what, fix = f"what stage {name} depends on", "give every host the same files"
    try:
        key = json.loads(json.dumps(call.key()))
    except Exception:
        with contextlib.suppress(InputError):  # the others are told; here the cause says more
            all_same_everywhere(what, None, fix)
        raise
    all_same_everywhere(what, {"function": key["function"], "code": key["code"]} | key["arguments"], fix)
    return key
