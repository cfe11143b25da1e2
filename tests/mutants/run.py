"""Makes a seeded sample of small mistakes in the core, one at a time, and counts those that the tests do not notice.

    python tests/mutants/run.py [--count=330] [--seed=0] [--workers=2] [--only=TEXT] [--list]

Every mistake (`mutations.py`) is made in a copy of the checkout, in which the tests of its module (`targets.py`) run
until the first one fails. A mistake that no test notices is a survivor. `explained.yaml` lists survivors that change
nothing, each with the reason. Results lie in build/mutants/SEED.jsonl: run the command again and it resumes; a mistake
whose file or tests changed since is made again. The command fails if more than 8 % survive, or if one is not explained.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import hashlib
import itertools
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from mutations import Mutation, mutate, mutations_of  # noqa: E402
from targets import files, tests_of  # noqa: E402

SHARE_ALLOWED = 0.08
PYTEST = ("-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist")
MARKERS = "not slow and not parity and not network and not gpu and not aot"


class Outcome(NamedTuple):
    """What the tests said of one mutation: "noticed", "hangs" (noticed by never ending) or "survived"."""

    mutation: Mutation
    state: str
    seconds: float


def sample(root: Path, count: int, seed: int) -> list[Mutation]:
    """The same number of mutations from every room. Lines are drawn first, or long lines would crowd out others."""
    chosen = []
    rooms = files(root)
    for room, paths in rooms.items():
        draw = random.Random(f"{seed} {room}")
        by_line = collections.defaultdict(list)
        for path in paths:
            for mutation in mutations_of(path, (root / path).read_text()):
                by_line[mutation.path, mutation.line].append(mutation)
        wanted, lines = math.ceil(count / len(rooms)), sorted(by_line)
        draw.shuffle(lines)
        usable = (_first_usable(root, draw.sample(by_line[line], len(by_line[line]))) for line in lines)
        chosen += list(itertools.islice(filter(None, usable), wanted))
    return chosen


def _first_usable(root: Path, mutations: list[Mutation]) -> Mutation | None:
    return next((m for m in mutations if mutate(m, (root / m.path).read_text()) is not None), None)


def run_tests(copy: Path, tests: list[str], timeout: float) -> tuple[bool | None, str]:
    """Whether the tests pass in a copy (None: they did not end in time), and the end of what they printed."""
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(copy.parent / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "ENCORE_SHARED_DATA": os.environ.get("ENCORE_SHARED_DATA", str(ROOT.parent / "shared" / "data")),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(copy.parent / "hypothesis"),
    }
    command = [sys.executable, *PYTEST, "-m", MARKERS, *tests]
    child = subprocess.Popen(
        command, cwd=copy, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return None, "no end"
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)  # also what a test started and left behind
        except ProcessLookupError:
            pass
        child.wait()
    return child.returncode == 0, output.decode(errors="replace")[-2000:]


class Workshop:
    """A copy of the checkout in which mistakes are made; one for every worker.

    Args:
      folder: for the copy and its caches.
    """

    def __init__(self, folder: Path):
        self.copy, self._baseline = folder / "checkout", {}
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (self.copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.copy / name)

    def baseline(self, tests: tuple[str, ...]) -> float:
        """Seconds that unchanged tests take; the second time, when everything is compiled.

        Raises:
          SystemExit: they fail as they are.
        """
        if tests not in self._baseline:
            for _ in range(2):
                started = time.monotonic()
                passed, output = run_tests(self.copy, list(tests), timeout=900)
                if not passed:
                    raise SystemExit(f"{' '.join(tests)} fail without any mistake:\n{output}")
            self._baseline[tests] = time.monotonic() - started
        return self._baseline[tests]

    def try_one(self, mutation: Mutation) -> Outcome:
        """Makes one mistake, runs its module's tests, and takes the mistake back."""
        tests = tuple(tests_of(ROOT, mutation.path))
        limit = 4 * self.baseline(tests) + 30 if tests else 0
        path = self.copy / mutation.path
        source = path.read_text()
        started = time.monotonic()
        try:
            path.write_text(mutate(mutation, source))
            passed = run_tests(self.copy, list(tests), limit)[0] if tests else True
        finally:
            path.write_text(source)
        state = {True: "survived", False: "noticed", None: "hangs"}[passed]
        return Outcome(mutation, state, round(time.monotonic() - started, 1))


def fingerprint(mutation: Mutation) -> str:
    """Changes when the module or a test of it does, so that an old result is not taken for a new one."""
    digest = hashlib.sha256()
    for path in (mutation.path, *tests_of(ROOT, mutation.path)):
        digest.update((ROOT / path).read_bytes())
    return digest.hexdigest()[:16]


def change(mutation: Mutation) -> tuple[str, str]:
    """The changed line before and after, without indentation."""
    source = (ROOT / mutation.path).read_text()
    before, after = source.splitlines(), mutate(mutation, source).splitlines()
    first = next((i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), 0)
    return before[first].strip(), after[first].strip()


def explanations() -> dict[tuple[str, str, str], str]:
    """Why a survivor is no mistake, by file, line and changed line."""
    rows = yaml.safe_load((HERE / "explained.yaml").read_text()) or []
    return {(row["file"], row["line"], row["change"]): row["why"] for row in rows}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=330, help="how many mistakes")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--workers", type=int, default=2, help="how many at a time")
    parser.add_argument("--only", default="", help="only in files whose path contains this")
    parser.add_argument("--list", action="store_true", help="only show them")
    given = parser.parse_args(argv)
    chosen = [m for m in sample(ROOT, given.count, given.seed) if given.only in m.path]
    if given.list:
        for mutation in chosen:
            print(_line(mutation))
        return 0
    store = ROOT / "build" / "mutants" / f"{given.seed}.jsonl"
    store.parent.mkdir(parents=True, exist_ok=True)
    outcomes = _resume(store, chosen)
    waiting = [m for m in chosen if m not in {o.mutation for o in outcomes}]
    # Mutations of one file share a worker's baseline: whole files are handed out, the largest first.
    by_file = collections.defaultdict(list)
    for mutation in waiting:
        by_file[mutation.path].append(mutation)
    queue = sorted(by_file.values(), key=len, reverse=True)
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        with concurrent.futures.ThreadPoolExecutor(given.workers) as pool:
            shops = [Workshop(Path(folder) / str(i)) for i in range(given.workers)]
            jobs = [pool.submit(_work, shop, queue, store, outcomes, len(chosen)) for shop in shops]
            for job in jobs:
                job.result()
    return _report(outcomes)


def _work(shop: Workshop, queue: list, store: Path, outcomes: list[Outcome], total: int) -> None:
    while queue:
        for mutation in queue.pop(0):
            outcome = shop.try_one(mutation)
            outcomes.append(outcome)
            with open(store, "a") as file:
                row = {"mutation": mutation, "state": outcome.state, "seconds": outcome.seconds}
                file.write(json.dumps(row | {"of": fingerprint(mutation)}) + "\n")
            print(f"{len(outcomes)}/{total} {outcome.state:8} {outcome.seconds:6.1f} s  {_line(mutation)}", flush=True)


def _resume(store: Path, chosen: list[Mutation]) -> list[Outcome]:
    found = {}
    for line in store.read_text().splitlines() if store.exists() else ():
        row = json.loads(line)
        found[Mutation(*row["mutation"])] = row
    kept = [(m, found[m]) for m in chosen if m in found and found[m]["of"] == fingerprint(m)]
    return [Outcome(m, row["state"], row["seconds"]) for m, row in kept]


def _line(mutation: Mutation) -> str:
    before, after = change(mutation)
    return f"{mutation.path}:{mutation.line} [{mutation.operator}]  {before}  ->  {after}"


def _report(outcomes: list[Outcome]) -> int:
    """Prints counts by room and the survivors; 1 if too many survived or one is not explained."""
    reasons = explanations()
    survivors = [o.mutation for o in outcomes if o.state == "survived"]
    for room, paths in files(ROOT).items():
        ours = [o for o in outcomes if o.mutation.path in paths]
        lost = sum(o.state == "survived" for o in ours)
        print(f"{room:12} {len(ours):4} mistakes, {lost:3} not noticed")
    unexplained = 0
    for mutation in sorted(survivors):
        reason = reasons.get((mutation.path, *change(mutation)))
        unexplained += reason is None
        print(f"survived: {_line(mutation)}\n          {reason or 'NOT EXPLAINED'}")
    share = len(survivors) / max(1, len(outcomes))
    print(f"{len(outcomes)} mistakes, {len(survivors)} survived ({share:.1%}), {unexplained} of them not explained")
    return int(share > SHARE_ALLOWED or unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
