"""Makes a seeded sample of small mistakes in the core, one at a time, and counts those that the tests do not notice.

    python tests/mutants/run.py [--count=330] [--seed=0] [--workers=2] [--only=TEXT] [--list]

First every test file of the mutated modules runs once, and it is recorded which test calls which function and how long
it takes. Then every mistake (`mutations.py`) is made in a copy of the checkout, and the module's doctests and those
tests that call the function run, the quickest first, until one fails. A mistake that no test notices is a survivor.
`explained.yaml` lists survivors that change nothing, each with the reason. Results lie in build/mutants/SEED.jsonl: run
the command again and it resumes; a mistake is made again where its file changed, the test that noticed it, or any test
of a survivor. The command fails if more than 8 % survive, or if one is not explained.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))

from calls import function_at  # noqa: E402
from mutations import Mutation, mutate  # noqa: E402
from sample import sample  # noqa: E402
from targets import files, tests_of  # noqa: E402
from workshop import Recording, Workshop, digest, record, record_doctests  # noqa: E402

SHARE_ALLOWED = 0.08
BUILD = ROOT / "build" / "mutants"
DEFAULTS = "tests/test_defaults.py::test_defaults_and_constants_are_those_that_were_written_down"
SECONDS_ELSEWHERE = 60
"""So long may tests from other files than the module's own take, together."""


class Outcome(NamedTuple):
    """What the tests said of one mutation: "noticed" (`by` the first test that failed), "hangs" or "survived".

    A mistake that ends pytest itself, with whatever status, is noticed.
    """

    mutation: Mutation
    state: str
    by: str
    seconds: float


class Tests:
    """Knows which tests a mistake concerns, from the recordings of test files."""

    def __init__(self, recordings: dict[str, Recording]):
        self._of = recordings
        self.seconds = {test: s for r in recordings.values() for test, s in r.seconds.items()}
        # Whichever test of a file comes first waits for the fixtures that all of them share.
        slowest = {path: max(r.seconds.values(), default=0.0) for path, r in recordings.items()}
        self.limits = {test: 5 * slowest[path] + 30 for path, r in recordings.items() for test in r.seconds}

    def order(self, mutation: Mutation) -> list[str]:
        """Tests that a mistake concerns, in the order in which they are run.

        First the module's doctests and the test of its defaults, then tests that call the mutated function, the
        quickest first; of module-level code all tests. A file's tests stay together, for the sake of its fixtures.
        """
        function = function_at((ROOT / mutation.path).read_text(), mutation.line)
        own = tests_of(ROOT, mutation.path)
        test_files = [path for path in self._of if path.startswith("tests/")]
        chosen = {path: self._callers(path, mutation.path, function) for path in test_files}
        if not any(chosen.values()) or function is None:
            chosen |= {path: [t for t in self._of[path].seconds if t not in self._of[path].failing] for path in own}
        ordered = sorted(
            ((path, sorted(tests, key=self.seconds.get)) for path, tests in chosen.items() if tests),
            key=lambda item: self.seconds[item[1][0]] + 2 * (item[0] not in own),
        )
        doctests = self._of.get(mutation.path)
        order = [test for test in doctests.seconds if test not in doctests.failing] if doctests else []
        order += [test for test in (f"{DEFAULTS}[{mutation.path}]",) if test in self.seconds]
        elsewhere = 0.0
        for path, tests in ordered:
            for test in tests:
                elsewhere += self.seconds[test] * (path not in own)
                if path in own or elsewhere <= SECONDS_ELSEWHERE:
                    order.append(test)
        return order

    def _callers(self, test_file: str, path: str, function: str | None) -> list[str]:
        recording = self._of[test_file]
        prefix = f"{path}::" if function is None else f"{path}::{function}"

        def concerns(test: str) -> bool:
            names = recording.calls.get(test, ())
            return prefix in names if function is not None else any(name.startswith(prefix) for name in names)

        return [test for test in recording.seconds if test not in recording.failing and concerns(test)]


def try_one(shop: Workshop, tests: Tests, mutation: Mutation) -> Outcome:
    """Makes one mistake, runs the tests that it concerns, and takes the mistake back."""
    started, order = time.monotonic(), tests.order(mutation)
    limits = {test: tests.limits[test] for test in order}
    path = shop.copy / mutation.path
    source = path.read_text()
    try:
        path.write_text(mutate(mutation, source))
        said = shop.run(list(dict.fromkeys(test.split("::")[0] for test in order)), limits, order) if order else None
    finally:
        path.write_text(source)
    state, by = "survived", ""
    if said is not None and (said.status is None or said.status < 0):
        state, by = "hangs", order[min(len(said.outcomes), len(order) - 1)]  # the first one that did not end
    elif said is not None and said.status not in (0, 5):
        state, by = "noticed", said.first_failed or f"pytest ended with {said.status}"
    return Outcome(mutation, state, by, round(time.monotonic() - started, 1))


def fingerprint(tests: Tests, outcome: Outcome) -> str:
    """Changes when the module does, the test file that noticed the mistake, or any that might notice a survivor."""
    mutation, by = outcome.mutation, outcome.by.split("::")[0]
    if outcome.state == "survived":
        deciding = sorted({*tests_of(ROOT, mutation.path), *(t.split("::")[0] for t in tests.order(mutation))})
    else:
        deciding = [by] if (ROOT / by).is_file() and by else []
    parts = [(path, digest(path)) for path in (mutation.path, *deciding)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


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
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutants") as folder:
        shops = [Workshop(Path(folder) / str(i), BUILD / "compiled") for i in range(given.workers)]
        files_of_tests = {path for m in chosen for path in tests_of(ROOT, m.path)} | {DEFAULTS.split("::")[0]}
        tests = Tests(recordings(shops, Path(folder), files_of_tests))
        store = BUILD / f"{given.seed}.jsonl"
        outcomes = resume(store, tests, chosen)
        known = {outcome.mutation for outcome in outcomes}
        for outcome in _in_parallel(shops, [m for m in chosen if m not in known], lambda s, m: try_one(s, tests, m)):
            outcomes.append(outcome)
            with open(store, "a") as file:
                file.write(json.dumps(outcome._asdict() | {"of": fingerprint(tests, outcome)}) + "\n")
            counts = f"{len(outcomes)}/{len(chosen)} {outcome.state:8} {outcome.seconds:6.1f} s"
            print(f"{counts}  {_line(outcome.mutation)}  {outcome.by}", flush=True)
        for shop in shops:
            shop.close()
    return _report(outcomes)


def recordings(shops: list[Workshop], folder: Path, wanted: set[str]) -> dict[str, Recording]:
    """What every test file does, read from build/mutants/recorded.json where the file is unchanged."""
    store = BUILD / "recorded.json"
    found = json.loads(store.read_text()) if store.exists() else {}
    known = {path: Recording(*row) for path, row in found.items() if (ROOT / path).is_file() and row[0] == digest(path)}
    every = tuple(path for paths in files(ROOT).values() for path in paths)
    observers = {
        shop: Workshop(folder / f"recording{i}", BUILD / "compiled", instrument=every)
        for i, shop in enumerate(shops)
    }  # fmt: skip
    modules = sorted({path for path in every if path not in known})
    known |= record_doctests(shops[0], modules) if modules else {}
    missing = sorted(wanted - known.keys())
    for path, said in _in_parallel(shops, missing, lambda shop, path: (path, record(observers[shop], shop, path))):
        known[path] = said
        store.write_text(json.dumps(known))
        print(f"{path}: {len(said.seconds)} tests, {sum(said.seconds.values()):.0f} s", flush=True)
        for test in said.failing:
            print(f"  fails without any mistake, and is left out: {test}", flush=True)
    for observer in observers.values():
        observer.close()
    return known


def resume(store: Path, tests: Tests, chosen: list[Mutation]) -> list[Outcome]:
    """Earlier outcomes that still hold."""
    found = {}
    for line in store.read_text().splitlines() if store.exists() else ():
        row = json.loads(line)
        outcome = Outcome(Mutation(*row["mutation"]), row["state"], row["by"], row["seconds"])
        found[outcome.mutation] = (outcome, row["of"])
    return [found[m][0] for m in chosen if m in found and found[m][1] == fingerprint(tests, found[m][0])]


def _in_parallel(shops: list[Workshop], tasks: list, work):
    """Yields `work(shop, task)` of every task as it comes; every shop does one at a time."""
    free, lock = list(shops), threading.Lock()

    def one(task):
        with lock:
            shop = free.pop()
        try:
            return work(shop, task)
        finally:
            free.append(shop)

    with concurrent.futures.ThreadPoolExecutor(len(shops)) as pool:
        jobs = [pool.submit(one, task) for task in tasks]
        try:
            for job in concurrent.futures.as_completed(jobs):
                yield job.result()
        finally:  # after an exception nothing else is begun
            for job in jobs:
                job.cancel()


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
