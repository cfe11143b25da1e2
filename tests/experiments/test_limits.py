"""What a limit leaves out is counted and shown by name: records used and all reasons add up to the records read."""

import json

import numpy as np
import pytest

from encore_jax.data import Message, RatedResponse, SkipCounter, severity_comparisons
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.outside import Sources
from encore_jax.recipes.stages import records
from encore_jax.recipes.stages.benchmark_data import BenchmarkData, read_benchmark
from encore_jax.recipes.stages.ingest import ingest
from tests.experiments import tiny_run


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


def counts_of(config, folder) -> dict:
    folder.mkdir()
    ingest(Sources(config.data), config.seed).save(folder)
    return json.loads((folder / "counts.json").read_text())


@pytest.mark.parametrize("limit", [0, 1, 7, 79, 80, 500])
def test_a_limit_on_comparisons_is_counted(files, tmp_path, limit):
    config = tiny_run.config(files, limit=limit)
    counts = counts_of(config, tmp_path / "ingest")
    used = min(limit, 80) if limit else 80
    skipped = counts["comparison_rows_skipped"]
    assert counts["comparisons"] == used and used + sum(skipped.values()) == 80
    assert [f"data.limit={limit}" in reason for reason in skipped] == [True] * (used < 80)
    assert f"80 rows: {used} kept, {80 - used} skipped" in counts["comparison_rows"]


def test_a_limit_on_the_pairs_of_a_prompt_is_counted(monkeypatch):
    rng, rule = np.random.default_rng(0), "violence"
    rated = [
        RatedResponse((Message("user", f"prompt {i % 3}"),), f"answer {i}", tiny_run.POOL.names,
                      rng.permutation(5)[:3].astype(np.float32) / 4, np.ones(3, bool), id=f"r{i}")
        for i in range(21)
    ]  # fmt: skip
    monkeypatch.setattr(records, "source_files", lambda config: {"wheel": None})
    monkeypatch.setattr(records, "read_pyrit", lambda path, pool, skips: iter(rated))
    monkeypatch.setattr(
        records, "severity_comparisons", lambda rated, **options: severity_comparisons(rated, rules=(rule,), **options)
    )
    everything = list(severity_comparisons(rated, rules=(rule,), seed=0))
    for most in (0, 2, 5, 1000):
        config = DataConfig(source="pyrit", most_per_prompt=most)
        made = records.read_records(config, 0, tiny_run.POOL, True)
        left_out = len(everything) - len(made.comparisons)
        assert len(made.comparisons) == made.comparison_skips.kept and made.comparison_skips.skipped == left_out
        assert (left_out > 0) == (most in (2, 5))
        assert all(f"most_per_prompt={most}" in reason for reason in made.comparison_skips.reasons)


@pytest.mark.parametrize("limit", [0, 3, 10, 11])
def test_a_limit_on_a_benchmark_is_counted(tmp_path, limit):
    rows = [{"prompt": f"Question {i}", "chosen": "Yes.", "rejected": "No."} for i in range(10)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = read_benchmark(BenchmarkData(str(tmp_path / "pairs.jsonl"), "", True), "pairs", limit).counts
    assert counts["comparisons"] + sum(counts["skipped"].values()) == 10
    assert all(f"limit={limit}" in reason for reason in counts["skipped"]) and bool(counts["skipped"]) == (limit == 3)


def test_what_is_left_out_is_taken_from_what_was_kept():
    skips = SkipCounter()
    skips.kept += 5
    skips.leave_out("beyond the limit", 3, "f")
    skips.leave_out("beyond nothing", 0, "f")
    assert (skips.kept, skips.reasons) == (2, {"beyond the limit": 3})
    assert str(skips) == "5 rows: 2 kept, 3 skipped (3 beyond the limit, first at f)"
