"""Comparisons as TFDS examples: whatever they hold comes back exactly, in memory and through files."""

import functools

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from encore_jax.data import (
    Comparison,
    Message,
    prompt_key,
    write_comparisons,
)
from encore_jax.data.rated_comparisons import DatasetConfig, prepare
from encore_jax.data.rated_comparisons.examples import features, from_example, to_example
from encore_jax.data.split import is_test
from tests.data.prepared import POOL, read_all

TEXT = st.text(max_size=12)
ANSWER = TEXT.filter(lambda text: text.strip())
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def comparisons(draw, names, rating=FLOATS):
    """Comparisons of 2 to 4 responses, rated on the named rules (with a mask or without one) or not rated."""
    before = draw(st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=3))
    responses = tuple(draw(st.lists(ANSWER, min_size=2, max_size=4)))
    shape = (len(responses), len(names))
    rated = {}
    if draw(st.booleans()):
        ratings = draw(st.lists(rating, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        mask = draw(st.none() | st.lists(st.booleans(), min_size=len(ratings), max_size=len(ratings)))
        rated = {
            "rules": names,
            "ratings": np.array(ratings, np.float32).reshape(shape),
            "mask": None if mask is None else np.array(mask, bool).reshape(shape),
        }
    labels = draw(st.fixed_dictionaries({name: TEXT for name in ("subset", "source", "id")}))
    return Comparison(
        (*before, Message("user", draw(TEXT))),
        responses,
        draw(st.none() | st.integers(0, len(responses) - 1)),
        **rated,
        **labels,
        extra=draw(st.dictionaries(TEXT, JSON, max_size=3)),
    )


@functools.cache
def features_of(rules: int):
    return features(rules)


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(data=st.data(), rules=st.integers(0, 5))
def test_examples_round_trip_exactly(data, rules):
    names = tuple(f"rule_{k}" for k in range(rules))
    comparison = data.draw(comparisons(names))
    record = features_of(rules).serialize_example(to_example(comparison, names))
    again = from_example(features_of(rules).deserialize_example_np(record), names)
    assert again == comparison
    if comparison.ratings is not None:
        assert again.ratings.dtype == np.float32 and again.mask.dtype == bool
        np.testing.assert_array_equal(again.ratings, comparison.ratings, strict=True)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@hypothesis.settings(
    max_examples=8, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    records=st.lists(
        # ratings that the file's scale holds exactly
        comparisons(POOL.names, st.integers(-(2**22), 3 * 2**22).map(lambda i: i / 2**22)),
        min_size=1,
        max_size=8,
    ),
    seed=st.integers(0, 3),
)
def test_a_file_comes_back_exactly_and_in_order(tmp_path_factory, suffix, records, seed):
    folder = tmp_path_factory.mktemp("files")
    write_comparisons(folder / f"a{suffix}", records, pool=POOL, scale=(-1, 3))
    settings = {"test_fraction": 0.3, "validation_fraction": 0.3, "seed": seed}
    config = DatasetConfig(path=folder / f"a{suffix}", pool=POOL, scale=(-1, 3), **settings)
    found = read_all(prepare(config, folder))
    keys = [prompt_key(record.prompt) for record in records]
    test, held = is_test(keys, 0.3, seed), is_test(keys, 0.6, seed)
    expected = {"train": ~held, "validation": held & ~test, "test": test}
    for split, chosen in expected.items():
        assert found.get(split, []) == [record for record, mine in zip(records, chosen, strict=True) if mine]
