"""Every way into an experiment gives the same records: two files, one rated file, a prepared data set."""

import dataclasses

import numpy as np
import pytest

from encore_jax.data import Comparison, RatedResponse, parse_prompt, write_comparisons, write_rated
from encore_jax.data.rated_comparisons import CONFIGS, prepare
from encore_jax.errors import InputError
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.outside import Sources
from encore_jax.recipes.sources import rule_pool, source_hashes
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.recipes.stages.records import read_records
from tests.experiments.tiny_run import POOL


@pytest.fixture(scope="module")
def comparisons():
    rng = np.random.default_rng(0)
    made = []
    for i in range(12):
        ratings, mask = rng.integers(0, 5, (2, 3)) / 4, rng.random((2, 3)) < 0.8
        texts = (f"answer {i} a", f"answer {i} b")
        made.append(
            Comparison(parse_prompt(f"question {i}"), texts, i % 2, POOL.names, ratings, mask, id=f"c{i}", source="x")
        )
    return made


@pytest.fixture(scope="module")
def files(tmp_path_factory, comparisons):
    folder = tmp_path_factory.mktemp("files")
    write_comparisons(folder / "rated.jsonl", comparisons, pool=POOL)
    POOL.to_yaml(folder / "pool.yaml")
    rated = [
        RatedResponse(c.prompt, r, c.rules, c.ratings[0], np.ones(3, bool)) for c in comparisons for r in c.responses
    ]
    write_rated(folder / "own.jsonl", rated, pool=POOL)
    return folder


def config(files, **data) -> DataConfig:
    return DataConfig(pool=str(files / "pool.yaml"), **{"source": "files", "path": str(files / "rated.jsonl")} | data)


def records(config, need_rated=True):
    return read_records(config, 0, rule_pool(config), need_rated)


def test_comparisons_that_carry_ratings_are_rated_responses_too(files, comparisons):
    read = records(config(files))
    assert read.comparisons == comparisons
    rated = {(r.prompt, r.response): r for r in read.rated}
    for comparison in comparisons:
        for i, response in enumerate(comparison.responses):
            if not comparison.mask[i].any():
                assert (comparison.prompt, response) not in rated
                continue
            found = rated[comparison.prompt, response]
            np.testing.assert_array_equal(found.ratings, comparison.ratings[i])
            np.testing.assert_array_equal(found.mask, comparison.mask[i])
    assert not records(config(files), need_rated=False).rated


def test_a_file_of_ratings_goes_before_the_comparisons_own(files, comparisons):
    other = records(config(files)).rated[:1]
    write_rated(files / "other.jsonl", other, pool=POOL)
    read = records(config(files, ratings_path=str(files / "other.jsonl"), ratings_format="encore"))
    assert read.rated == other and read.comparisons == comparisons


@pytest.fixture(scope="module")
def prepared(files):
    made = dataclasses.replace(CONFIGS["files"], path=str(files / "rated.jsonl"), pool=POOL, test_fraction=0.4)
    return prepare(made, files / "tfds").data_dir


def test_a_prepared_data_set_holds_the_same_as_its_file(files, prepared, tmp_path):
    """Its own pool counts, not the configured one, and all its splits are read."""
    source = DataConfig(source="tfds", path=str(prepared))
    assert rule_pool(source).digest == POOL.digest
    (tmp_path / "data").mkdir(), (tmp_path / "file").mkdir()
    (_, rated, comparisons, *_), (_, of_file, in_file, *_) = (
        ingest(Sources(source), 0),
        ingest(Sources(config(files)), 0),
    )

    def key(record):
        return record.id

    assert sorted(comparisons, key=key) == sorted(in_file, key=key)
    assert sorted(rated, key=key) == sorted(of_file, key=key)
    assert set(source_hashes(source)) == {"data set", "pool"}


def test_without_a_preference_a_comparison_counts_for_its_ratings(files, comparisons, tmp_path):
    undecided = [dataclasses.replace(c, preferred=None) if i < 3 else c for i, c in enumerate(comparisons)]
    write_comparisons(tmp_path / "rated.jsonl", undecided, pool=POOL)
    read = records(config(files, path=str(tmp_path / "rated.jsonl")))
    assert read.comparisons == comparisons[3:] and len(read.rated) == len(records(config(files)).rated)
    assert (read.comparison_skips.kept, read.comparison_skips.skipped) == (9, 3)
    elsewhere = records(config(files, path=str(tmp_path / "rated.jsonl"), ratings_path=str(files / "own.jsonl")))
    for other in (elsewhere, records(config(files, path=str(tmp_path / "rated.jsonl")), need_rated=False)):
        assert other.comparisons == comparisons[3:] and other.comparison_skips.kept == 9
        assert other.comparison_skips.reasons == {"with no preference": 3}
        assert str(other.comparison_skips) == "12 rows: 9 kept, 3 skipped (3 with no preference, first at c0)"


def test_comparisons_without_ratings_need_a_file_of_ratings(files, comparisons, tmp_path):
    bare = [dataclasses.replace(c, rules=(), ratings=None, mask=None) for c in comparisons]
    write_comparisons(tmp_path / "bare.jsonl", bare)
    with pytest.raises(InputError, match="none of its 12 comparisons carries ratings.*ratings_path"):
        ingest(Sources(config(files, path=str(tmp_path / "bare.jsonl"))), 0)


def test_what_is_no_prepared_data_set_is_named(files, tmp_path):
    with pytest.raises(InputError, match="no prepared data set"):
        source_hashes(DataConfig(source="tfds", path=str(tmp_path)))
