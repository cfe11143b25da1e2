"""A copy of the checkout in which mistakes are made and tests run; what the tests do is recorded beforehand."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from calls import RECORDER, instrumented

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYTEST = [
    *("-x", "-q", "--no-header", "--durations=0", "-p", "no:cacheprovider", "-p", "no:xdist"),
    *("-p", "tests.mutants.plugin", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
    *("-m", "not slow and not parity and not network and not gpu and not aot"),
]
CONFTEST = "tests/test_errors.py"
"""Named beside doctests, so that these, too, run under the settings of `tests/conftest.py`."""
LIMIT = 300
"""Seconds for a test of which nothing is known."""


class Run(NamedTuple):
    """What a run of pytest said: its exit status (None: no end in time), and each test's outcome and seconds."""

    status: int | None
    outcomes: dict[str, str]
    seconds: dict[str, float]
    output: str

    @property
    def first_failed(self) -> str | None:
        return next((test for test, outcome in self.outcomes.items() if outcome == "failed"), None)


class Workshop:
    """One worker's copy of the checkout.

    Args:
      folder: for the copy and what the tests leave.
      compiled: of compiled programs, shared by all workers.
      instrument: paths of modules whose functions write down that they were called.
    """

    def __init__(self, folder: Path, compiled: Path, instrument: tuple[str, ...] = ()):
        self.folder, self.copy, self._server = folder, folder / "checkout", None
        listed = subprocess.run(
            ["git", "ls-files", "-z", "-c", "-o", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (self.copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.copy / name)
        for path in instrument:
            (self.copy / path).write_text(instrumented((ROOT / path).read_text(), path))
        (self.copy / "encore_jax" / "_calls.py").write_text(RECORDER if instrument else "")
        compiled.mkdir(parents=True, exist_ok=True)
        self.environment = {
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": "8",
            "TPU_SKIP_MDS_QUERY": "1",
            "HF_HUB_OFFLINE": "1",
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "ENCORE_SHARED_DATA": os.environ.get("ENCORE_SHARED_DATA", str(ROOT.parent / "shared" / "data")),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(self.copy),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
            "MUTANTS_JOB": str(folder / "job.json"),
            "MUTANTS_CALLS": str(folder / "calls"),
        }

    def run(self, files: list[str], limits: dict[str, float], order: list[str] | None = None, **job) -> Run:
        """Runs test files, or only the tests in `order`, until the first fails (all of them with keep_going=True)."""
        log, output = self.folder / "log.jsonl", self.folder / "output"
        log.write_text("")
        job |= {"log": str(log), "limit": LIMIT, "limits": {test: int(s) + 1 for test, s in limits.items()}}
        (self.folder / "job.json").write_text(json.dumps(job | ({} if order is None else {"order": order})))
        arguments = [*PYTEST[job.get("keep_going", False) :], f"--basetemp={self.folder / 'tests'}", *files]
        if any(not path.startswith("tests/") for path in files):
            arguments = ["--doctest-modules", CONFTEST, *arguments]
        seconds = 60 + (sum(limits.get(test, LIMIT) for test in order) if order else 10 * LIMIT)
        status = self._ask(
            {"arguments": arguments, "environment": self.environment, "folder": str(self.copy), "output": str(output),
             "seconds": seconds}
        )  # fmt: skip
        outcomes, taken = {}, {}
        for line in log.read_text().splitlines():
            row = json.loads(line)
            taken[row["test"]] = taken.get(row["test"], 0) + row["seconds"]
            if row["outcome"] == "failed" or outcomes.get(row["test"]) != "failed":
                outcomes[row["test"]] = row["outcome"]
        return Run(status, outcomes, taken, output.read_text(errors="replace")[-3000:])

    def _ask(self, job: dict) -> int | None:
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, str(HERE / "warm.py")], cwd=self.copy, env=os.environ | self.environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        """Ends the process that runs the tests."""
        if self._server is not None:
            self._server.stdin.close()
            self._server.wait()


class Recording(NamedTuple):
    """What one test file does: seconds of each test, which functions each calls, and what fails without any mistake."""

    digest: str
    seconds: dict[str, float]
    calls: dict[str, list[str]]
    failing: list[str]


def digest(path: str) -> str:
    """Of a file of the checkout."""
    return hashlib.sha256((ROOT / path).read_bytes()).hexdigest()[:16]


def record(shop: Workshop, plain: Workshop, path: str) -> Recording:
    """Runs one test file in an instrumented checkout; what fails there is run again in a plain one."""
    calls_file = Path(shop.environment["MUTANTS_CALLS"])
    calls_file.write_text("")
    said = shop.run([path], {}, retrace=True, keep_going=True)
    calls: dict[str, set[str]] = {test: set() for test in said.seconds}
    by_fixture = collections.defaultdict(set)
    for line in calls_file.read_text().splitlines():
        test, function = line.split("\t")
        test, phase = test.rsplit(" (", 1)
        calls.setdefault(test, set()).add(function)
        if phase == "setup)":
            by_fixture[function].add(test)
    for function, tests in by_fixture.items():
        if len(tests) == 1:  # what a fixture computed once serves all tests of the file
            for names in calls.values():
                names.add(function)
    doubtful = [test for test, outcome in said.outcomes.items() if outcome == "failed"]
    again = plain.run([path], {}, order=doubtful, keep_going=True) if doubtful else None
    failing = [test for test in doubtful if again.outcomes.get(test) != "passed"]
    if said.status not in (0, 1, 5):  # 5: every test of the file is left out by its mark
        raise SystemExit(f"{path} ended with {said.status}:\n{said.output}")
    seconds = {test: round(s, 2) for test, s in said.seconds.items()}
    return Recording(digest(path), seconds, {test: sorted(names) for test, names in calls.items()}, failing)


def record_doctests(plain: Workshop, modules: list[str]) -> dict[str, Recording]:
    """The doctests of modules; those that the strict settings of the tests do not allow are left out."""
    said = plain.run(modules, {}, keep_going=True)
    found = {}
    for path in modules:
        of_module = {test: s for test, s in said.seconds.items() if test.startswith(f"{path}::")}
        failing = [test for test in of_module if said.outcomes[test] != "passed"]
        found[path] = Recording(digest(path), of_module, {}, failing)
    return found
