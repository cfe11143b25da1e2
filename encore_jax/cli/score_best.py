"""The best response to every prompt of a scored file."""

from __future__ import annotations

import json
from pathlib import Path

from encore_jax.cli.score_rows import read_items
from encore_jax.data.outputs import new_file
from encore_jax.data.parquet_rows import record_batches
from encore_jax.data.skips import SkipCounter


def write_best(source: Path, format: str, output: Path, target: Path, overwrite: bool = False) -> None:
    """Writes {id, prompt, response, reward, first_place} of every prompt's best response, the first of those that tie.

    Rows without one are left out.

    Raises:
      InputError: a file is there that holds something else, and must not be overwritten.
    """
    columns = ["rewards", "best", "first_place"]
    rewards = (row for batch in record_batches(output, columns) for row in batch.to_pylist())
    made = new_file(target, overwrite=overwrite, flag="--best")
    with made as temporary, open(temporary, "w", encoding="utf-8") as file:
        for item, row in zip(read_items(source, format, SkipCounter()), rewards, strict=True):
            if row["best"] is not None:
                prompt = [{"role": turn.role, "content": turn.content} for turn in item.prompt]
                best = {"response": item.responses[row["best"]], "reward": row["rewards"][row["best"]]}
                best["first_place"] = row["first_place"]
                file.write(json.dumps({"id": item.id, "prompt": prompt, **best}, ensure_ascii=False) + "\n")
