"""Two rating scales of one rule are refused by every reader of ratings, where they stand; one scale is taken."""

import json

import numpy as np
import pytest

import encore_jax as enc
from encore_jax.data import SkipCounter
from encore_jax.data.mixed_scales import SeveralScales, two_scales
from encore_jax.errors import InputError
from encore_jax.evaluation.rating_tables import table_arguments
from encore_jax.judge.table import read_rated
from encore_jax.recipes.data_config import DataConfig
from encore_jax.recipes.stages.records import read_ratings, read_records
from encore_jax.reward.calibration import HELD_OUT, Calibration
from encore_jax.reward.rated_rows import rated_rows
from encore_jax.reward.same_scale import check_same_scale
from encore_jax.rules import RulePool
from tests.data.test_stray import RULES, grades, lines, long_table, wide_table

POOL = RulePool.from_sentences({name: f"It is {name}." for name in RULES})
MIXED = "lie on the scale from 0 to 1, and .* on that from 1 to 5"


def mixed(n=120, share=0.3, seed=0):
    """Grades from 1 to 5, of rule 'true' some as fractions; and the number of the first fraction."""
    values = grades(n, seed).astype(object)
    rows = np.sort(np.random.default_rng(seed).permutation(n)[: int(share * n)])
    values[rows, 1] = np.round((values[rows, 1].astype(float) - 0.5) / 5, 2)
    return values, int(rows[0])


def compared(path, values):
    """Labelled comparisons of two responses."""
    rows = [
        {"prompt": f"p{i}", "responses": [f"a{i}", f"b{i}"], "preferred": i % 2,
         "ratings": {rule: [float(values[2 * i, k]), float(values[2 * i + 1, k])] for k, rule in enumerate(RULES)}}
        for i in range(len(values) // 2)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def reliability_of(write, name):
    def read(folder, values):
        found = table_arguments(write(folder / name, values), None, {})
        enc.reliability(**found, draws=2)

    return read


def comparisons(folder, values):
    return list(enc.read_comparisons(compared(folder / "held_out.jsonl", values), pool=POOL))


def a_run(folder, values):
    return read_records(
        DataConfig(source="files", path=str(compared(folder / "held_out.jsonl", values))), 0, POOL, need_rated=True
    )


def rated_file(folder, values):
    config = DataConfig(source="files", ratings_path=str(lines(folder / "rated.jsonl", values)))
    return read_ratings(config, POOL, SkipCounter())


def judged(folder, values):
    return read_rated(lines(folder / "rated.jsonl", values), POOL)


def arrays(folder, values):
    return enc.reliability(values.astype(float), rules=RULES, draws=2)


def records(folder, values):
    """Records that somebody made: `encore_jax.fit`, `coverage` and `calibrated` take them so."""
    made = [enc.RatedResponse((enc.Message("user", f"p{i}"),), f"r{i}", RULES, row, np.ones(3, bool), id=f"row {i}")
            for i, row in enumerate(values.astype(np.float32))]  # fmt: skip
    return rated_rows(made)


READERS = {
    "reliability, long": reliability_of(long_table, "long.csv"),
    "reliability, wide": reliability_of(wide_table, "wide.csv"),
    "reliability, jsonl": reliability_of(lines, "rated.jsonl"),
    "arrays": arrays,
    "comparisons": comparisons,
    "a run's comparisons": a_run,
    "a run's ratings": rated_file,
    "ratings that exist": judged,
    "records": records,
}


@pytest.mark.parametrize("reader", READERS)
def test_one_rule_on_two_scales_is_refused_where_it_stands(tmp_path, reader):
    values, first = mixed()
    with pytest.raises(InputError, match=MIXED) as refused:
        READERS[reader](tmp_path, values)
    said = str(refused.value)
    assert "rule 'true'" in said and f"this rating is {values[first, 1]:g}" in said, said
    line = {"reliability, long": 2 + 3 * first + 1, "reliability, wide": first + 2, "reliability, jsonl": first + 1,
            "comparisons": first // 2 + 1, "a run's comparisons": first // 2 + 1, "a run's ratings": first + 1,
            "ratings that exist": first + 1}.get(reader)  # fmt: skip
    assert (f":{line}," if line else str(first)) in said, said


@pytest.mark.parametrize("reader", READERS)
def test_one_scale_is_taken(tmp_path, reader):
    READERS[reader](tmp_path, grades())


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("grades and fractions", [1, 2, 3, 4, 5, 0.2, 0.4, 0.9], True),
        ("percent and fractions", [20, 35, 80, 100, 0.2, 0.4, 0.9], True),
        ("grades and percent", [1, 2, 3, 4, 5, 20, 35, 80, 100], True),
        ("half steps", np.arange(0, 5.5, 0.5), False),
        ("means of grades", np.random.default_rng(0).uniform(0, 5, 200), False),
        ("0 and 1 among grades", [0, 1, 1, 0, 2, 3, 4, 5], False),
        ("low grades on 1 to 10", [1, 2, 3, 4, 5, 6, 7, 8, 10], False),
        ("percent with small ones", [0, 1, 2, 3, 5, 7, 10, 50, 85, 98, 100], False),
        ("probabilities", np.linspace(0, 1, 50), False),
        ("a single fraction", [1, 2, 3, 4, 5] * 20 + [0.5], False),
        ("from -1 to 1", [-1, -0.5, 0, 0.5, 1], False),
        ("no rating", [], False),
        ("equal ones", [3.0] * 9, False),
    ],
)
def test_what_is_taken_for_two_scales(name, values, expected):
    found = two_scales(
        np.random.default_rng(0).permutation(np.tile(np.array(values, float), 9 if len(values) < 20 else 1))
    )
    assert (found is not None) == expected


def test_a_stated_scale_is_believed(tmp_path):
    values, _ = mixed()
    found = list(enc.read_comparisons(compared(tmp_path / "a.jsonl", values), pool=POOL, scale=(0, 5)))
    assert len(found) == 60
    table_arguments(lines(tmp_path / "b.jsonl", values), None, {}, (0, 5))


def test_files_of_one_rule_on_two_scales_are_refused_when_they_are_read_together(tmp_path):
    first, second = compared(tmp_path / "a.jsonl", grades()), compared(tmp_path / "b.jsonl", (grades(seed=1) - 1) / 4)
    match = r"b\.jsonl, rule 'kind': its ratings are on the scale from 0 to 1, and in .*a\.jsonl from 1 to 5"
    with pytest.raises(InputError, match=match):
        enc.read_comparisons([first, second], pool=POOL)
    for path in (first, second):
        assert len(list(enc.read_comparisons(path, pool=POOL))) == 60


def test_files_whose_scales_are_near_are_read_by_the_one_that_holds_both(tmp_path):
    """Alone, 1 to 5 in one and 1 to 10 in the other would have been two kinds of numbers."""
    tens = np.random.default_rng(2).integers(1, 11, (120, 3))
    paths = [compared(tmp_path / "a.jsonl", grades()), compared(tmp_path / "b.jsonl", tens)]
    skips = SkipCounter()
    found = list(enc.read_comparisons(paths, pool=POOL, skips=skips))
    expected = np.concatenate([grades(), tens]).astype(np.float32)
    np.testing.assert_array_equal(np.concatenate([one.ratings for one in found]), expected)
    assert any("1 to 10" in note for note in skips.notes)


def test_rules_on_scales_of_their_own_come_out_alike_from_every_file(tmp_path):
    """One file has but one of the rules: its ratings are from 0 to 1, too."""
    two = grades().astype(float)
    two[:, 2] *= 20
    paths = [compared(tmp_path / "a.jsonl", two), tmp_path / "b.jsonl"]
    row = {"prompt": "p", "responses": ["a", "b"], "preferred": 0, "ratings": {"kind": [5, 3]}}
    paths[1].write_text(json.dumps(row) + "\n")
    found = list(enc.read_comparisons(paths, pool=POOL))
    np.testing.assert_allclose(found[0].ratings[:, 0], (two[:2, 0] - 1) / 4)
    np.testing.assert_allclose(found[0].ratings[:, 2], two[:2, 2] / 100)
    np.testing.assert_allclose(found[-1].ratings[:, 0], [1.0, 0.5])


# Held out beside a calibration


def calibration(ratings):
    ratings = np.asarray(ratings, np.float32)
    scores = np.random.default_rng(3).normal(size=ratings.shape)
    return Calibration(scores, ratings, np.arange(len(ratings)), HELD_OUT)


def unit(n, seed):
    return np.random.default_rng(seed).random((n, 3))


@pytest.mark.parametrize(
    ("mine", "theirs", "refused"),
    [
        (unit(60, 0), grades(40), True),
        (grades(60), unit(40, 0), True),
        (grades(60) * 20.0, grades(40, 1), True),
        (grades(60) * 20.0, unit(40, 0), True),
        (unit(60, 0), unit(40, 1), False),
        (unit(60, 0), unit(40, 1) * 2 - 0.5, False),
        (grades(60), grades(40, 1), False),
        (grades(60), np.ones((40, 3)), False),
        (grades(60), grades(40, 1) * 2, False),
        (grades(60), np.full((40, 3), np.nan), False),
        (np.zeros((60, 3)), unit(40, 0), False),
    ],
)
def test_held_out_ratings_are_on_the_scale_of_the_calibration(mine, theirs, refused):
    made, prompt = calibration(mine), np.arange(len(theirs))
    if not refused:
        check_same_scale(made, theirs, prompt, RULES)
        return
    with pytest.raises(SeveralScales, match=r"rated, rule 'kind': its ratings lie between .* they are on two scales"):
        check_same_scale(made, theirs, prompt, RULES)


def test_few_ratings_do_not_say_that_they_are_on_another_scale():
    check_same_scale(calibration(grades(60)), unit(2, 0), np.arange(2), RULES)
