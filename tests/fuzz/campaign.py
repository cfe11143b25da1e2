"""Many mutants in a few processes, each watched: how every one ended.

    python -m tests.fuzz.campaign --mutants=10000 [--workers=2] [--first=0] [--target=NAME ...] [--report=FILE]

Prints a table of outcomes by target, and every mutant that ended badly with the command that makes it again. Exit
status 1 if there is one.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOOD = ("success", "one line")
BAD = ("traceback", "many lines", "memory", "forbidden", "hang", "died")
MOST_SECONDS = 10.0
"""Of computing; a busy machine gives a process less than that, so the clock may show `PATIENCE` times as much."""
PATIENCE = 6


class Worker:
    """One process, and another one if it hangs or dies.

    Attributes:
      functions: of the library, that loading undamaged files has entered.
      seconds: of computing, that each target took to be prepared.
    """

    def __init__(
        self, targets: str = "tests.fuzz.targets", most_seconds: float = MOST_SECONDS, patience: float = PATIENCE
    ):
        self._targets, self._most, self._longest = targets, most_seconds, patience * most_seconds
        self._prepared: set[str] = set()
        self.functions: set[str] = set()
        self.seconds: dict[str, float] = {}
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", self._targets], cwd=ROOT, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        self._tail: collections.deque[str] = collections.deque(maxlen=60)
        self._drain = threading.Thread(target=self._listen, args=(self._process.stderr, self._tail), daemon=True)
        self._drain.start()
        self._expect(600)
        self._prepared.clear()

    @staticmethod
    def _listen(stream, tail) -> None:
        for line in stream:
            tail.append(line)

    def _send(self, line: str) -> None:
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _expect(self, seconds: float) -> str:
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            self.close()
            raise RuntimeError("the worker did not start:\n" + "".join(self._tail))
        return line

    def prepare(self, name: str) -> None:
        """Makes a target's valid files and loads them, once."""
        if name not in self._prepared:
            self._send(f"{name} prepare")
            answer = json.loads(self._expect(600))
            self.functions.update(answer["functions"])
            self.seconds[name] = answer["seconds"]
            self._prepared.add(name)

    def run(self, name: str, number: int) -> dict:
        """How a mutant ended."""
        self.prepare(name)
        self._tail.clear()
        start, used = time.monotonic(), self._computed()
        with contextlib.suppress(BrokenPipeError):
            self._send(f"{name} {number}")
        while True:
            ready, _, _ = select.select([self._process.stdout], [], [], 0.5)
            if ready:
                line = self._process.stdout.readline()
                if line:
                    return json.loads(line)
                return self._again(name, number, "died")
            waited = time.monotonic() - start
            if self._computed() - used > self._most or waited > self._longest:
                self._process.send_signal(signal.SIGUSR1)
                time.sleep(0.5)
                return self._again(name, number, "hang")

    def _again(self, name: str, number: int, outcome: str) -> dict:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if outcome == "hang" else 5)  # how it ended by itself
        status = self._process.poll()
        self.close()
        said = "".join(line[:300] for line in self._tail)[-6000:] + f"\nexit status {status}, {_memory()}"
        self._start()
        return {"target": name, "number": number, "how": "", "outcome": outcome, "said": said, "seconds": 0.0}

    def _computed(self) -> float:
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._drain.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def _memory() -> str:
    """What the machine has left, for a process that was killed may have been killed for memory."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next((line for line in lines if line.startswith("MemAvailable")), "")


def mutants(weights: dict[str, int], count: int, first: int = 0) -> Iterator[tuple[str, int]]:
    """So many mutants, spread over the targets by their weights."""
    cycle = [name for name, weight in weights.items() for _ in range(weight)]
    numbers = collections.Counter(dict.fromkeys(weights, first))
    for name in itertools.islice(itertools.cycle(cycle), count):
        yield name, numbers[name]
        numbers[name] += 1


def campaign(
    names: Sequence[tuple[str, int]], workers: int, told=lambda result: None, functions: set[str] | None = None
) -> list[dict]:
    """Runs mutants side by side; results in no order.

    Args:
      names: targets and numbers.
      workers: processes.
      told: of every result.
      functions: gets the names of those that loading undamaged files enters.
    """
    waiting, lock, results, errors = iter(names), threading.Lock(), [], []
    entered = set() if functions is None else functions

    def work() -> None:
        try:
            serve(Worker())
        except Exception as error:  # of a thread: raised below
            errors.append(error)

    def serve(worker: Worker) -> None:
        try:
            while True:
                with lock:
                    one = next(waiting, None)
                if one is None:
                    return
                result = worker.run(*one)
                with lock:
                    results.append(result)
                    told(result)
        finally:
            worker.close()
            with lock:
                entered.update(worker.functions)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def table(results: Sequence[dict]) -> str:
    """Outcomes by target, and in all."""
    counts = {name: collections.Counter() for name in sorted({result["target"] for result in results})}
    for result in results:
        counts[result["target"]][result["outcome"]] += 1
    total = sum(counts.values(), collections.Counter())
    columns = [outcome for outcome in (*GOOD, *BAD) if total[outcome] or outcome in GOOD]
    width = max(map(len, [*counts, "target"]))
    lines = [f"{'target':{width}}  mutants  " + "  ".join(columns)]
    for name, count in [*counts.items(), ("all", total)]:
        cells = "  ".join(f"{count[outcome]:{len(outcome)}d}" for outcome in columns)
        lines.append(f"{name:{width}}  {count.total():7d}  {cells}")
    return "\n".join(lines)


def failures(results: Sequence[dict]) -> list[str]:
    """What ended badly: one of each kind and place, how many there are, and how to see it again."""
    groups: dict[tuple, list[dict]] = {}
    for result in sorted(results, key=lambda result: (result["target"], result["number"])):
        if result["outcome"] in BAD:
            last = [line for line in result["said"].splitlines() if line.strip()][-1:] or [""]
            places = [line.strip() for line in result["said"].splitlines() if line.strip().startswith("File ")]
            place = next((line for line in reversed(places) if "/encore_jax/" in line or "/experiments/" in line), "")
            groups.setdefault((result["outcome"], place or result["target"], last[0][:40]), []).append(result)
    told = []
    for (outcome, place, last), group in groups.items():
        one = group[0]
        told.append(
            f"{outcome}, {len(group)} times: {one['how']}\n  {place}\n  {last}\n"
            f"  python -m tests.fuzz.worker tests.fuzz.targets '{one['target']}' {one['number']}"
        )
    return told


def main() -> None:
    """Runs a campaign and prints how it went."""
    from tests.fuzz.targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant of each target")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only these")
    parser.add_argument("--report", help="a file that gets every result as it comes, as a line of JSON")
    given = parser.parse_args()
    weights = {name: TARGETS[name].weight for name in given.target or TARGETS}
    start, done = time.monotonic(), itertools.count(1)
    with open(given.report or os.devnull, "w", buffering=1) as report:

        def told(result: dict) -> None:
            report.write(json.dumps(result) + "\n")
            number = next(done)
            if result["outcome"] in BAD or number % 500 == 0:
                line = f"{number} {result['target']} {result['number']}: {result['outcome']}"
                print(line, file=sys.stderr, flush=True)

        results = campaign(list(mutants(weights, given.mutants, given.first)), given.workers, told)
    bad = failures(results)
    print(table(results), *bad, sep="\n")
    number, seconds = sum(result["outcome"] in BAD for result in results), time.monotonic() - start
    print(f"{len(results)} mutants in {seconds:.0f} s; {number} ended badly")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
