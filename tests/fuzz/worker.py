"""A process that loads damaged files, one after another: reads ``TARGET NUMBER`` lines, writes a line of JSON for each.

A mutant is made from its target's name and number alone, so `python -m tests.fuzz.worker tests.fuzz.targets TARGET
NUMBER` makes it again and shows the whole traceback; the damaged files stay in the folder that is printed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
import types
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.readers import name_of
from tests.peak_memory import peak_memory

ROOM = 1 << 30
"""So much more memory than before may a loader take."""


def quiet_environment(home: Path) -> None:
    """Caches and settings of libraries that a user has must decide nothing."""
    os.environ.update({
        "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "HF_HOME": str(home / "hf"), "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "1", "TRANSFORMERS_VERBOSITY": "critical", "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system",
    })  # fmt: skip
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ.pop(name, None)  # a call must be tried, to be seen


class Bench:
    """Where mutants are made and loaded.

    Args:
      root: an empty folder of its own.
      targets: by name.
      guard: that watches.
    """

    def __init__(self, root: Path, targets: dict, guard):
        self._root, self._targets, self._guard = root, targets, guard

    def folder(self, name: str) -> Path:
        """Where a target's files lie; always the same, for some hold absolute paths."""
        return self._root / "work" / name

    def prepare(self, name: str) -> dict:
        """Writes a target's valid files and loads them, so that everything it needs is imported and compiled.

        Tells which functions of the library that entered, and the seconds of computing that it took.
        """
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        start, work = time.process_time(), self.folder(name)
        work.mkdir(parents=True)
        self._targets[name].make(work)
        shutil.copytree(work, self._root / "pristine" / name)
        self._targets[name].load(work)  # untraced, for importing would take half as long again
        self._restore(name)
        with entered_functions() as functions:
            self._targets[name].load(work)
        return {"prepared": name, "functions": sorted(functions), "seconds": time.process_time() - start}

    def _restore(self, name: str) -> None:
        """The target's files as they were made."""
        _remove(self.folder(name))
        shutil.copytree(self._root / "pristine" / name, self.folder(name))

    def damaged(self, name: str, number: int) -> tuple[Path, str]:
        """Makes a mutant: its folder, and what was done."""
        from tests.fuzz.target import damage

        work = self.folder(name)
        self._restore(name)
        return work, damage(work, self._targets[name], random.Random(f"{name} {number}"))

    def run(self, name: str, number: int) -> dict:
        """Loads a mutant, and says how that ended."""
        from encore_jax.errors import InputError

        work, how = self.damaged(name, number)
        self._guard.seen.clear()
        _limit_memory()
        start, before = time.perf_counter(), peak_memory(anew=True)
        self._guard.on = True
        try:
            self._targets[name].load(work)
            outcome, said = "success", ""
        except InputError as error:
            said = str(error)
            outcome = "one line" if "\n" not in said and said.isprintable() and len(said) < 3000 else "many lines"
        except BaseException as error:
            outcome = "memory" if isinstance(error, MemoryError) else "traceback"
            said = "".join(traceback.format_exception(error))
        finally:
            self._guard.on = False
        if self._guard.seen:
            outcome, said = "forbidden", f"{self._guard.seen}\n{said}"
        elif peak_memory() - before > ROOM:
            outcome = "memory"
        told = {"target": name, "number": number, "how": how, "outcome": outcome}
        return told | {"said": said[-3000:], "seconds": time.perf_counter() - start}


@contextlib.contextmanager
def entered_functions() -> Iterator[set[str]]:
    """Notes which functions of the library are entered meanwhile, as `readers.readers` names them."""
    names: set[str] = set()
    seen: dict[types.CodeType, None] = {}

    def note(frame, *_) -> None:
        code = frame.f_code
        if code not in seen:
            seen[code] = None
            if name := name_of(code):
                names.add(name)

    threading.settrace(note)
    sys.settrace(note)
    try:
        yield names
    finally:
        sys.settrace(None)
        threading.settrace(None)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    else:
        shutil.rmtree(path)


def _limit_memory() -> None:
    """What is asked for beyond the room is refused, whoever asks; what earlier mutants left behind takes none of it."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ROOM + (ROOM >> 1), resource.RLIM_INFINITY))


def main() -> None:
    """Serves the parent, or shows one mutant."""
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    (root / "home").mkdir()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # writing one may take longer than a mutant may
    quiet_environment(root / "home")
    out, lines = os.fdopen(os.dup(1), "w"), os.fdopen(os.dup(0))
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    faulthandler.enable()  # native code that crashes shows where it was called
    from tests.fuzz.guards import Guard

    module, *mutant = sys.argv[1:]
    bench = Bench(root, importlib.import_module(module).TARGETS, Guard())
    if mutant:
        name, number = mutant[0], int(mutant[1])
        bench.prepare(name)
        result = bench.run(name, number)
        print(result.pop("said"), result, bench.folder(name), sep="\n")
        return
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # whoever asks on the terminal gets no answer
    os.dup2(2, 1)  # whoever prints does not disturb the parent
    print("ready", file=out, flush=True)
    try:
        for line in lines:
            name, number = line.rstrip("\n").rsplit(" ", 1)
            result = bench.prepare(name) if number == "prepare" else bench.run(name, int(number))
            print(json.dumps(result), file=out, flush=True)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
