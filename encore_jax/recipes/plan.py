"""A run's stages without running them: what each is given, and what a run and its dry run refuse before the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from encore_jax.data.manifest import MANIFEST
from encore_jax.recipes.artefact import Artefact
from encore_jax.recipes.pipeline import Call, call_of, loaded

SOURCES = "ingest"
"""The stage that reads a run's data, writes nothing while it reads, and waits for nobody."""


class Plan:
    """Stands in for a `Pipeline` and runs nothing: which stages there are, and what each is given.

    Attributes:
      workdir: of the run.
    """

    def __init__(self, workdir: Path):
        self.workdir = workdir
        self._calls: dict[str, tuple[Callable, tuple, dict, Mapping]] = {}
        self._checks: list[tuple[int, Callable, tuple]] = []

    def __call__(self, name: str, function: Callable, *args, aside: Mapping[str, Any] | None = None, **kwargs):
        """A handle of what the stage would write."""
        self._calls[name] = function, args, kwargs, aside or {}
        return Artefact(name, self.workdir / name, {"made": f"by {name}"})

    def call(self, name: str) -> Call:
        """What the stage would call, which is imported.

        Raises:
          TypeError: an argument is missing.
        """
        return call_of(*self._calls[name])

    def always(self, function: Callable, *args) -> None:
        """Reads and shows nothing."""

    def before(self, function: Callable, *args) -> None:
        """A check of inputs, which `check_inputs` makes before the first stage, of a run and of its dry run alike."""
        self._checks.append((len(self._calls), function, args))

    def check_inputs(self, until: str | None = None) -> None:
        """Makes the checks of inputs that the recipe asks for; see `before`.

        Raises:
          InputError: what they refuse.
        """
        last = self.stages.index(until) if until else len(self._calls)
        for position, function, args in self._checks:
            if position <= last:
                loaded(function)(*args)

    def read_sources(self, until: str | None = None) -> None:
        """Reads what a first stage called `SOURCES` reads, and keeps nothing of it; nothing is fetched for it.

        Raises:
          InputError: what that stage refuses.
        """
        if SOURCES not in self._calls or (until and self.stages.index(until) < self.stages.index(SOURCES)):
            return
        call = self.call(SOURCES)
        parts = [part for value in call.arguments.values() for part in _parts(value)]
        if call.artefacts or not all(getattr(part, "is_local", True) for part in parts):
            return
        call(self.workdir / SOURCES)

    def check_there(self, until: str | None = None) -> None:
        """Raises InputError where an input that is to lie on this machine does not; nothing is fetched or imported.

        Args:
          until: the last stage wanted; all of them if left out.
        """
        for name, (_, args, kwargs, aside) in self._calls.items():
            for argument in (*args, *kwargs.values(), *aside.values()):
                for part in _parts(argument):
                    getattr(part, "check_there", lambda: None)()
            if name == until:
                break

    @property
    def stages(self) -> tuple[str, ...]:
        """Their names, in order."""
        return tuple(self._calls)

    @property
    def at(self) -> dict[str, Path]:
        """Their folders."""
        return {name: self.workdir / name for name in self._calls}

    def complete(self, name: str) -> bool:
        """Whether the stage has been complete before."""
        return (self.workdir / name / MANIFEST).exists()

    def given(self, kind: type) -> dict[str, Any]:
        """By stage, the first argument of this type."""
        found = {
            name: [value for value in (*args, *kwargs.values(), *aside.values()) if isinstance(value, kind)]
            for name, (_, args, kwargs, aside) in self._calls.items()
        }
        return {name: values[0] for name, values in found.items() if values}


def _parts(argument: Any) -> list[Any]:
    """The items of a list, the values of a mapping, or the argument itself."""
    if isinstance(argument, Mapping):
        return list(argument.values())
    return argument if isinstance(argument, list) else [argument]
