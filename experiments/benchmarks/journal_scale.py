"""A journal of a million ratings: how long the resume decision and the export take, and how much memory.

    python -m experiments.benchmarks.journal_scale [--rows 1000000]

The ratings are made up (random, seeded); only times and memory mean anything. The journal is filled through the same
`record` as any run's. Every part then runs in a process of its own, whose peak memory is its own. `cpu_seconds` is the
processor time of all its threads; where it is far below `seconds`, the machine was busy with something else, or waited
for its disk.

- resume: all questions are made anew and looked up, of which every hundredth has no answer yet;
- export: every comparison with ratings, mask and relevance, as Parquet.

The last line is one JSON object.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from encore_jax.command_line import Parser, one_line_errors
from encore_jax.data import Comparison, Message, write_comparisons
from encore_jax.judge.export import rated_comparisons, summary
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Answer, Identity, Status, rating_questions
from encore_jax.rules import RulePool

POOL = RulePool.shipped("safety_100")
IDENTITY = Identity("server", "made up", "prompt", {}, scale=(-1.0, 1.0))
PER_COMPARISON = 2 * len(POOL)


def main() -> None:
    """Runs the parts one after the other and prints their times and memory."""
    parser = Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--part", nargs=2, metavar=("NAME", "FOLDER"), help="of the parent process")
    given = parser.parse_args()
    if given.part:
        name, folder = given.part
        started = time.process_time()
        told = PARTS[name](Path(folder), given.rows)
        print(json.dumps(told | {"cpu_seconds": round(time.process_time() - started, 2), "peak_mib": peak_mib()}))
        return
    told = {"rows": given.rows}
    with tempfile.TemporaryDirectory(prefix="journal-") as folder:
        for name in PARTS:
            command = [sys.executable, "-m", "experiments.benchmarks.journal_scale", f"--rows={given.rows}"]
            done = subprocess.run([*command, "--part", name, folder], stdout=subprocess.PIPE, text=True, check=True)
            told[name] = json.loads(done.stdout.splitlines()[-1])
            print(f"{name}: {told[name]}", flush=True)
    print(json.dumps(told))


def comparisons(rows: int) -> Iterator[Comparison]:
    """Enough for so many questions."""
    for i in range(-(-rows // PER_COMPARISON)):
        texts = (f"Response {i}, the first. " * 8, f"Response {i}, the second. " * 8)
        yield Comparison((Message("user", f"Question {i}? " * 8),), texts, 0, id=str(i))


def fill(folder: Path, rows: int) -> dict:
    """Records an answer to all but every hundredth question."""
    chance, started = random.Random(0), time.monotonic()
    with Journal(folder / "journal", IDENTITY, POOL) as journal:
        for i, question in enumerate(rating_questions(comparisons(rows), POOL)):
            if i % 100:
                yes = chance.random()
                evidence = {"logprobs": [["Yes", -yes], [" yes", -5.0], ["No", -1.0]], "unlisted": 0.01, "first": "Yes"}
                answer = Answer(Status.OK, 2 * yes - 1, chance.random(), evidence)
                journal.record(question.key, answer)
    size = sum(path.stat().st_size for path in folder.iterdir())
    return {"seconds": round(time.monotonic() - started, 2), "bytes_per_rating": round(size / rows, 1)}


def resume(folder: Path, rows: int) -> dict:
    """Which questions are still to be asked."""
    started = time.monotonic()
    with Journal(folder / "journal", IDENTITY, POOL) as journal:
        pending = sum(1 for _ in journal.pending(rating_questions(comparisons(rows), POOL)))
    return {"seconds": round(time.monotonic() - started, 2), "pending": pending}


def export(folder: Path, rows: int) -> dict:
    """Rated comparisons as Parquet."""
    started = time.monotonic()
    with Journal(folder / "journal", IDENTITY, POOL) as journal:
        rated = rated_comparisons(comparisons(rows), journal, POOL)
        written = write_comparisons(folder / "rated.parquet", rated, pool=POOL)
    return {"seconds": round(time.monotonic() - started, 2), "comparisons": written}


def report(folder: Path, rows: int) -> dict:
    """Counts by kind."""
    started = time.monotonic()
    with Journal(folder / "journal", IDENTITY, POOL) as journal:
        told = summary(journal)
    return {"seconds": round(time.monotonic() - started, 2), "rated": told["questions"]["ok"]}


def peak_mib() -> int:
    """Of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


PARTS = {"fill": fill, "resume": resume, "export": export, "report": report}

if __name__ == "__main__":
    with one_line_errors():
        main()
