"""The batch scorer undisturbed, then once more while killing it at random moments: ``python -m ... FOLDER KILLS SEED``.

A process of its own, because it forks. The folder has model/ and rows.jsonl. Prints one JSON line.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast  # noqa: F401  for all children at once

from encore_jax.cli import score
from tests.experiments.forked import fork, killed

ROWS_OF_A_CHUNK = 8


def command(folder: Path, name: str):
    """What a child does: the command itself, in chunks of a few rows; it notes every chunk that it begins to score."""

    def work() -> None:
        score_items = score.score_items

        def noted(scorer, items, *given):
            with open(folder / f"{name}.log", "a") as log:
                log.write(f"{items[0].id}\n")
            return score_items(scorer, items, *given)

        score.CHUNK, score.score_items = ROWS_OF_A_CHUNK, noted
        score.main([
            "score", f"--model={folder / 'model'}", f"--input={folder / 'rows.jsonl'}", "--tokens_per_batch=128",
            f"--output={folder / name}.parquet", f"--best={folder / name}.jsonl",
        ])  # fmt: skip

    return work


def chunks(folder: Path, name: str) -> list[str]:
    """The chunks that were begun so far."""
    log = folder / f"{name}.log"
    return log.read_text().splitlines() if log.exists() else []


def run_killed(folder: Path, begun: bool, delay: float) -> bool:
    """Kills a run `delay` seconds after its start, or after it has begun a chunk; whether it was still running then."""
    before, child = len(chunks(folder, "killed")), fork(command(folder, "killed"))
    return killed(child, lambda: not begun or len(chunks(folder, "killed")) > before, delay)


def main(folder: Path, kills: int, seed: int) -> None:
    """Writes whole.parquet and killed.parquet, and the best responses beside each."""
    for _ in range(2 if kills > 1 else 1):  # the first time everything is compiled, which tells nothing of the pace
        for old in folder.glob("whole.*"):
            old.unlink()
        start = time.monotonic()
        _, status = os.waitpid(fork(command(folder, "whole")), 0)
        assert status == 0, "the undisturbed run failed"
        seconds = time.monotonic() - start
    rng, done = random.Random(seed), 0
    for i in range(kills):
        begun = i % 2 == 0
        done += run_killed(folder, begun, rng.uniform(0, seconds * (0.2 / kills if begun else 0.5)))
    _, status = os.waitpid(fork(command(folder, "killed")), 0)
    counts = {name: len(chunks(folder, name)) for name in ("whole", "killed")}
    print(json.dumps({"killed": done, "chunks": counts, "seconds": seconds, "status": status}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
