"""The project's own formats: fixtures, exact round trips, and errors that name file, line and field."""

import json
import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from encore_jax.data import (
    Comparison,
    Message,
    RatedResponse,
    iter_comparisons,
    iter_rated,
    parse_prompt,
    read_comparisons,
    write_comparisons,
    write_rated,
)
from encore_jax.errors import InputError
from encore_jax.rules.rule import Rule, RulePool

SUFFIXES = [".jsonl", ".jsonl.gz", ".parquet"]


def test_comparison_fixture(fixtures, pool):
    kettle, tea, name = iter_comparisons(fixtures / "encore" / "comparisons.jsonl", pool=pool)
    assert kettle.prompt == (Message("system", "Be brief."), Message("user", "How do I descale a kettle?"))
    assert (kettle.id, kettle.preferred, kettle.subset, kettle.source) == ("kettle", 0, "home", "handmade")
    assert kettle.extra == {"gap": 1} and kettle.rules == ("helpful", "rude")
    np.testing.assert_array_equal(kettle.ratings, np.float32([[0.9, 0.9], [0.2, 0.25]]))  # rude is turned
    assert kettle.mask.all()

    assert (tea.id, tea.preferred, len(tea.responses)) == ("comparisons.jsonl:2", None, 3)
    np.testing.assert_array_equal(tea.ratings, np.float32([[0, 1], [0, 0], [0, 0.75]]))
    np.testing.assert_array_equal(tea.mask, [[False, True], [False, False], [False, True]])

    assert name.ratings is None and name.rules == () and name.preferred == 1
    assert name.prompt == parse_prompt("Wie heißt du? 🫖")


def test_rated_fixture(fixtures, pool):
    first, second = iter_rated(fixtures / "encore" / "rated.jsonl", pool=pool)
    np.testing.assert_array_equal(first.ratings, np.float32([0.7, 0.7]))
    assert first.id == "r1" and first.source == "handmade"
    assert not second.mask.any() and second.prompt[-1] == Message("user", "Bye")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_writing_a_file_again_gives_the_judges_numbers(fixtures, pool, tmp_path, suffix):
    source = fixtures / "encore" / "comparisons.jsonl"
    read = list(iter_comparisons(source, pool=pool))
    target = tmp_path / f"copy{suffix}"
    assert write_comparisons(target, read, pool=pool) == 3
    assert list(iter_comparisons(target, pool=pool)) == read
    if suffix == ".jsonl":
        originals, copies = (
            [json.loads(line).get("ratings") or {} for line in path.read_text(encoding="utf-8").splitlines()]
            for path in (source, target)
        )
        for original, copy in zip(originals, copies, strict=True):
            assert {name: copy[name] for name in original} == original


def test_reading_in_every_file_format_is_the_same(fixtures, pool, as_format):
    source = fixtures / "encore" / "comparisons.jsonl"
    expected = [c.ratings for c in iter_comparisons(source, pool=pool)]
    for suffix in SUFFIXES:
        found = [c.ratings for c in iter_comparisons(as_format(source, suffix), pool=pool)]
        for a, b in zip(expected, found, strict=True):
            np.testing.assert_array_equal(a, b)


POOL = RulePool(tuple(Rule(f"rule_{k}", "Some text.", direction=1 - 2 * (k % 2)) for k in range(3)))
SCALE = (-1.0, 3.0)
TEXT = st.text(min_size=1, max_size=20)
ANSWER = TEXT.filter(lambda text: text.strip())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
LABELS = st.fixed_dictionaries({"subset": TEXT, "source": TEXT, "id": TEXT, "extra": st.dictionaries(TEXT, JSON)})
# any float32 a file can hold on this scale: multiples of 2**-22, which low + high - rating keeps exact
RATING = st.integers(-(2**22), 3 * 2**22).map(lambda i: i / 2**22)


@st.composite
def prompts(draw):
    before = draw(st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), TEXT), max_size=3))
    return (*before, Message("user", draw(TEXT)))


@st.composite
def rated(draw, shape):
    size = int(np.prod(shape))
    ratings = draw(st.lists(RATING, min_size=size, max_size=size))
    mask = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    return {
        "rules": POOL.names,
        "ratings": np.float32(ratings).reshape(shape),
        "mask": np.array(mask, bool).reshape(shape),
    }


@st.composite
def comparisons(draw):
    responses = tuple(draw(st.lists(ANSWER, min_size=2, max_size=4)))
    n = len(responses)
    preferred = draw(st.none() | st.integers(0, n - 1))
    ratings = draw(st.just({}) | rated((n, len(POOL))))
    return Comparison(draw(prompts()), responses, preferred, **ratings, **draw(LABELS))


@st.composite
def rated_responses(draw):
    return RatedResponse(draw(prompts()), draw(ANSWER), **draw(rated((len(POOL),))), **draw(LABELS))


QUICK = hypothesis.settings(
    max_examples=40, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("suffix", SUFFIXES)
@QUICK
@hypothesis.given(records=st.lists(comparisons(), max_size=3))
def test_comparisons_round_trip_exactly(tmp_path, suffix, records):
    path = tmp_path / f"a{suffix}"
    assert write_comparisons(path, records, pool=POOL, scale=SCALE) == len(records)
    assert list(iter_comparisons(path, pool=POOL, scale=SCALE)) == records


@pytest.mark.parametrize("suffix", SUFFIXES)
@QUICK
@hypothesis.given(records=st.lists(rated_responses(), max_size=3))
def test_rated_responses_round_trip_exactly(tmp_path, suffix, records):
    path = tmp_path / f"a{suffix}"
    assert write_rated(path, records, pool=POOL, scale=SCALE) == len(records)
    assert list(iter_rated(path, pool=POOL, scale=SCALE)) == records


@pytest.mark.parametrize(
    ("changes", "field", "problem"),
    [
        ({"prompt": ...}, "prompt", "missing field"),
        ({"prompt": None}, "prompt", "string or a list"),
        ({"prompt": []}, "prompt", "no message"),
        ({"responses": ...}, "responses", "missing field"),
        ({"responses": "one"}, "responses", "expected a list"),
        ({"responses": ["one"], "ratings": None}, "responses", "at least 2"),
        ({"responses": ["one", ""]}, "responses[1]", "blank"),
        ({"preferred": 5}, "preferred", "index 5 of 2"),
        ({"preferred": "0"}, "preferred", "expected a whole number or null, found '0'"),
        ({"preferred": True}, "preferred", "expected a whole number or null, found 'True'"),
        ({"preferred": 0.5}, "preferred", "expected a whole number or null, found '0.5'"),
        ({"prefered": 0}, "prefered", "write 'preferred'"),
        ({"colour": 0}, "colour", "under 'extra'"),
        ({"ratings": {"polite": [1, 0]}}, "ratings['polite']", "rude|helpful"),
        ({"ratings": {"rude": [1, 1.25]}}, "ratings['rude']", "1.25 is not on the scale from 0 to 1"),
        ({"ratings": {"rude": [1, -0.25]}}, "ratings['rude']", "scale="),
        ({"ratings": {"rude": [1]}}, "ratings['rude']", "list of 2 ratings"),
        ({"ratings": {"rude": 1}}, "ratings['rude']", "found int"),
        ({"ratings": {"rude": [1, "0"]}}, "ratings['rude']", "number or null"),
        ({"ratings": [0, 1]}, "ratings", "object of rule names"),
        ({"id": [7]}, "id", "expected text or a number, found list"),
        ({"scores": [1, 2]}, "scores", "under 'extra'"),
        ({"system": "Be brief."}, "system", "put it into the prompt, as a message"),
        ({"extra": [7]}, "extra", "mapping"),
        ({"extra": "{"}, "extra", "not valid JSON"),
    ],
)
def test_bad_comparisons_name_file_line_and_field(fixtures, pool, edited, changes, field, problem):
    path = edited(fixtures / "encore" / "comparisons.jsonl", **changes)
    with pytest.raises(InputError, match=problem) as caught:
        list(iter_comparisons(path, pool=pool))
    assert caught.value.where == f"{path}:1, field '{field}'"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"response": ...}, "response"),
        ({"response": " "}, "response"),
        ({"ratings": ...}, "ratings"),
        ({"ratings": {"rude": [0.5]}}, "ratings['rude']"),
        ({"ratings": {"rude": 2}}, "ratings['rude']"),
        ({"responses": ["a", "b"]}, "responses"),
    ],
)
def test_bad_rated_responses_name_file_line_and_field(fixtures, pool, edited, changes, field):
    path = edited(fixtures / "encore" / "rated.jsonl", **changes)
    with pytest.raises(InputError) as caught:
        list(iter_rated(path, pool=pool))
    assert caught.value.where == f"{path}:1, field '{field}'"


def test_nan_from_a_table_is_refused(tmp_path, pool):
    import pyarrow
    import pyarrow.parquet

    row = {"prompt": "Hi", "responses": ["a", "b"], "ratings": {"rude": [0.5, float("nan")]}}
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    with pytest.raises(InputError, match="write null") as caught:
        list(iter_comparisons(path, pool=pool))
    assert caught.value.where == f"{path}, row 1, field 'ratings['rude']'"


def test_ratings_need_a_pool_and_a_scale(fixtures, pool, tmp_path):
    path = fixtures / "encore" / "comparisons.jsonl"
    with pytest.raises(InputError, match="pool="):
        list(iter_comparisons(path))
    read = list(iter_comparisons(path, pool=pool))
    with pytest.raises(InputError, match="pool="):
        write_comparisons(tmp_path / "a.jsonl", read)
    with pytest.raises(InputError, match=re.escape("record 0 (kettle), field 'ratings['helpful']'")):
        write_comparisons(tmp_path / "a.jsonl", read, pool=pool, scale=(2, 3))
    with pytest.raises(InputError, match="not a scale"):
        list(iter_comparisons(path, pool=pool, scale=(1, 0)))
    assert list(tmp_path.iterdir()) == []


def test_extra_must_be_json(tmp_path):
    for extra in ({"x": {1, 2}}, {"x": float("nan")}, {"x": np.float32(1)}):
        record = Comparison(parse_prompt("Hi"), ("a", "b"), extra=extra)
        with pytest.raises(InputError, match="JSON"):
            write_comparisons(tmp_path / "a.jsonl", [record])


@pytest.mark.parametrize(("ratings", "scale"), [
    ([[1, 5], [4, 2]], (1, 5)), ([[0, 1], [1, 0]], (0, 1)), ([[0.25, 0.5], [1, 0]], (0, 1)), ([[7, 2], [1, 3]], (1, 7)),
    ([[70, 0], [10, 30]], (0, 100)),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["file", "rows", "two files"])
def test_the_scale_of_ratings_is_inferred_and_said(tmp_path, caplog, ratings, scale, kind):
    rated = {"kind": ratings[0], "rude": ratings[1]}
    rows = [{"prompt": "Hi", "responses": ["a", "b"], "preferred": 0, "ratings": rated}]
    pool = RulePool((Rule("kind", "Is it kind?"), Rule("rude", "Is it rude?", direction=-1)), "two")
    paths = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for path in paths:
        path.write_text(json.dumps(rows[0]) + "\n")
    source = {"file": paths[0], "rows": rows, "two files": paths}[kind]
    caplog.set_level("INFO")
    for found in read_comparisons(source, pool=pool):
        assert found.ratings[:, 0].tolist() == pytest.approx(ratings[0])
        assert found.ratings[:, 1].tolist() == pytest.approx([sum(scale) - rating for rating in ratings[1]])
    told = f"scale {scale[0]} to {scale[1]}, inferred"
    assert told in caplog.text
    if max(map(max, ratings)) > 1:
        with pytest.raises(InputError, match="is not on the scale from 0 to 1"):
            list(read_comparisons(source, pool=pool, scale=(0, 1)))
