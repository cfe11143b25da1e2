"""Helpers for the data tests: a small pool, and hand-written fixtures in other file formats."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from encore_jax.data import Comparison, parse_prompt, write_comparisons
from encore_jax.rules.rule import Rule, RulePool
from tests.data.prepared import POOL


@pytest.fixture(scope="session")
def pool() -> RulePool:
    """Two rules, one of each direction."""
    return RulePool(
        (Rule("helpful", "The response helps."), Rule("rude", "The response is rude.", direction=-1)), name="manners"
    )


@pytest.fixture
def as_format(tmp_path):
    """Rewrites a JSON or JSONL fixture with the given suffix: as_format(path, ".parquet")."""

    def rewrite(path: Path, suffix: str) -> Path:
        text = path.read_text(encoding="utf-8")
        rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
        target = tmp_path / f"{path.name.partition('.')[0]}{suffix}"
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        if suffix == ".parquet":
            import pyarrow
            import pyarrow.parquet

            columns = {name: [row.get(name) for row in rows] for row in rows for name in row}
            if any(isinstance(prompt, list) for prompt in columns.get("prompt", ())):  # a column has one type
                columns["prompt"] = [
                    [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
                    for prompt in columns["prompt"]
                ]
            pyarrow.parquet.write_table(pyarrow.table(columns), target)
        elif suffix == ".jsonl.gz":
            target.write_bytes(gzip.compress(lines.encode()))
        else:
            target.write_text(json.dumps(rows) if suffix == ".json" else lines, encoding="utf-8")
        return target

    return rewrite


@pytest.fixture
def edited(tmp_path):
    """Writes a JSONL fixture with changes to its first row: edited(path, prompt=None); `...` deletes a field."""

    def write(path: Path, **changes) -> Path:
        first, *others = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        first = {name: value for name, value in (first | changes).items() if value is not ...}
        target = tmp_path / "edited.jsonl"
        target.write_text("".join(json.dumps(row) + "\n" for row in [first, *others]), encoding="utf-8")
        return target

    return write


@pytest.fixture
def small(tmp_path) -> Path:
    """Twenty pairs on ten prompts, two of their ratings masked."""
    ratings = np.linspace(0, 1, 6).reshape(2, 3)
    mask = np.ones((2, 3), bool)
    mask[0, 0] = mask[1, 2] = False
    records = [
        Comparison(
            parse_prompt(f"Question {i % 10}?"), (f"Yes {i}.", f"No {i}."), i % 2, POOL.names, ratings, mask, id=f"c{i}"
        )
        for i in range(20)
    ]
    path = tmp_path / "small.jsonl"
    write_comparisons(path, records, pool=POOL)
    return path
