"""Reliability of tables: the same answer as of the array, with rules and ids from the table."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from encore_jax import reliability
from encore_jax.data import Comparison, Message, write_comparisons, write_rated
from encore_jax.data.comparison import RatedResponse
from encore_jax.errors import InputError
from encore_jax.rules import Rule, RulePool

RNG = np.random.default_rng(0)
N, RULES = 60, ("kind", "true", "brief")
GOOD = RNG.normal(size=(N, 2, 1))
RATINGS = np.clip(np.round(3 + GOOD + 0.7 * RNG.normal(size=(N, 2, 3))), 1, 5)
RATINGS[0], RATINGS[1] = 1, 5  # both ends of the scale
RATINGS[RNG.random(RATINGS.shape) < 0.1] = np.nan
RATINGS[:2] = np.nan_to_num(RATINGS[:2], nan=3)
PREFERRED = (GOOD[:, 1, 0] > GOOD[:, 0, 0]).astype(int)
PROMPT = np.arange(N) // 2
OPTIONS = {"draws": 20, "labels": 3}


def same(found, expected):
    assert [line.rule for line in found.rules] == [line.rule for line in expected.rules]
    assert found.recommended == expected.recommended and found.prompts == expected.prompts
    for name, weights in expected.weights.items():
        np.testing.assert_allclose(found.weights[name], weights, atol=1e-6)
    np.testing.assert_array_equal(found.label_next, expected.label_next)
    assert found.accuracy == pytest.approx(expected.accuracy)
    assert found.single == expected.single


def sources(frame, folder):
    """The table in all the ways that it may be given."""
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    frame.to_json(folder / "t.jsonl", orient="records", lines=True)
    files = [folder / "t.csv", str(folder / "t.parquet"), folder / "t.jsonl"]
    return [*files, frame, pa.Table.from_pandas(frame), frame.to_dict("records")]


def test_tables_of_single_ratings(tmp_path):
    ratings = RATINGS[:, 0]
    quality = np.where(np.arange(N) % 3, GOOD[:, 0, 0] > 0, np.nan).astype(float)
    frame = pd.DataFrame(ratings, columns=RULES).assign(prompt=PROMPT, quality=quality, id=[f"r{i}" for i in range(N)])
    expected = reliability(ratings, where=np.isfinite(ratings), rules=RULES, prompt=PROMPT, quality=quality, **OPTIONS)
    for source in sources(frame, tmp_path):
        found = reliability(source, **OPTIONS)
        same(found, expected)
        assert found.label_ids == tuple(f"r{i}" for i in expected.label_next)
    same(reliability(frame.set_index("id"), **OPTIONS), expected)
    assert (
        reliability(frame.drop(columns="id").set_index(frame["id"].to_numpy()), **OPTIONS).label_ids == found.label_ids
    )
    plain = reliability(ratings, where=np.isfinite(ratings), rules=RULES, **OPTIONS)
    same(reliability(frame[list(RULES)], rules=RULES, **OPTIONS), plain)
    with pytest.raises(InputError, match="^rules: no rule or column is called 'x'"):
        reliability(frame[list(RULES)], rules=["x", "y", "z"], **OPTIONS)
    np.testing.assert_array_equal(reliability(pd.DataFrame(np.nan_to_num(ratings)), **OPTIONS).spread > 0, True)


@pytest.mark.parametrize("texts", [False, True])
def test_tables_of_pairs(tmp_path, texts):
    """With responses beside the ratings, or without."""
    expected = reliability(RATINGS, PREFERRED, where=np.isfinite(RATINGS), rules=RULES, prompt=PROMPT, **OPTIONS)
    sides = {f"{rule}_{side}": RATINGS[:, j, k] for k, rule in enumerate(RULES) for j, side in enumerate("ab")}
    own = {f"response_{side}": [f"{side}{i}" for i in range(N)] for side in "ab"} if texts else {}
    frame = pd.DataFrame(
        {"prompt": [f"Q {i}" for i in PROMPT], **own, "preferred": ["ab"[i] for i in PREFERRED]} | sides
    )
    for source in sources(frame, tmp_path):
        same(reliability(source, **OPTIONS), expected)


def test_tables_with_a_response_a_row_are_compared_within_prompts(tmp_path):
    expected = reliability(RATINGS, PREFERRED, where=np.isfinite(RATINGS), rules=RULES, **OPTIONS)
    flat, prompts = RATINGS.reshape(-1, 3), [f"Q {i // 2}" for i in range(2 * N)]
    wide = pd.DataFrame(flat, columns=RULES).assign(
        prompt=prompts, response=[f"A {i}" for i in range(2 * N)], quality=np.eye(2)[PREFERRED].ravel(), id=range(2 * N)
    )
    for source in sources(wide, tmp_path):
        found = reliability(source, **OPTIONS)
        same(found, expected)
        assert found.label_ids == tuple(str(2 * i) for i in expected.label_next)
    long = wide.melt(["prompt", "response", "quality", "id"], list(RULES), "rule", "rating")
    for source in sources(long, tmp_path):
        same(reliability(source, **OPTIONS), expected)


def test_the_projects_own_files_are_turned_by_the_pool_beside_them(tmp_path):
    """Ratings are in files as judges gave them."""
    pool = RulePool([Rule("kind", "Kind."), Rule("true", "True."), Rule("rude", "Rude.", -1)])
    prompts = [(Message("user", f"Q {i}"),) for i in range(N)]
    mask, full = np.isfinite(RATINGS), np.nan_to_num(RATINGS)
    expected = reliability(RATINGS, PREFERRED, where=mask, rules=pool.names, **OPTIONS)
    records = [Comparison(prompts[i], ("A", "B"), int(PREFERRED[i]), pool.names, full[i], mask[i]) for i in range(N)]
    rated = [RatedResponse(prompts[i], f"A{j}", pool.names, full[i, j], mask[i, j], extra={"quality": int(j == best)})
             for i, best in enumerate(PREFERRED) for j in range(2)]  # fmt: skip
    for suffix in (".jsonl", ".parquet"):
        write_comparisons(tmp_path / f"c{suffix}", records, pool=pool, scale=(1, 5))
        write_rated(tmp_path / f"r{suffix}", rated, pool=pool, scale=(1, 5))
    for path in sorted(tmp_path.iterdir()):
        same(reliability(path, pool=pool, **OPTIONS), expected)
    turned = reliability(tmp_path / "c.jsonl", **OPTIONS)  # without a pool higher is better
    assert [line.loading for line in turned.rules if line.rule == "rude"][0] < 0
    pool.to_yaml(tmp_path / "pool.yaml")
    same(reliability(tmp_path / "c.jsonl", **OPTIONS), expected)
    rows = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    same(reliability(rows, pool=pool, **OPTIONS), expected)
    same(reliability(pd.read_parquet(tmp_path / "r.parquet"), pool=pool, **OPTIONS), expected)
    flat = pd.DataFrame(
        np.where([True, True, False], RATINGS[:, 0], 6 - RATINGS[:, 0]), columns=["Kind", "TRUE", "rude"]
    )
    alone = reliability(RATINGS[:, 0], where=mask[:, 0], rules=pool.names, **OPTIONS)
    same(reliability(flat, pool=pool, **OPTIONS), alone)


FRAME = pd.DataFrame(RATINGS[:, 0], columns=RULES)


@pytest.mark.parametrize(
    ("source", "options", "problem"),
    [(FRAME.assign(response="A", prompt="Q"), {"ids": PROMPT}, "^ids: the table carries its own"),
     (RATINGS, {"pool": ["It is kind."]}, "^pool: is of a table, and this is none"),
     (FRAME[["kind"]], {}, "1 rule"), (FRAME.iloc[:0], {}, "^the DataFrame: has no rows"),
     (FRAME.assign(kind="good", true="x", brief="z"), {}, "^the DataFrame: no column holds ratings"),
     (FRAME, {"pool": ["It is rude."]}, "^the DataFrame: has no column for rude"),
     (FRAME.assign(kind=["7/10", "3/5"] * (N // 2)), {}, "^row 2: rule 'kind': this rating is out of 5, and others"),
     (FRAME.assign(prompt=None), {}, "^prompt, row 0: None tells no prompt"),
     (FRAME, {"where": np.ones((N, 3))}, "is not finite"), ("none.csv", {}, "^none.csv: is missing"),
     ("t.npz", {}, "^t.npz: the file name does not tell"), ([{"kind": 1}, 3], {}, "^row 2: expected an object"),
     ([{"prompt": "Q", "response": "A", "ratings": [1]}], {}, "^row 1, field 'ratings': expected an object"),
     ([{"prompt": "Q", "response": "A", "ratings": {}}], {}, "^the list: no row names a rule"),
     ([{"prompt": "Q", "response": "A", "ratings": {"K t": 1, "k_t": 2}}], {}, "^the list: the rules 'K t' and 'k_t'"),
     ([{"score:kind": [1.0, 2.0]}], {}, "holds scores of the batch scorer")],
)  # fmt: skip
def test_what_is_no_table_of_ratings_is_refused(source, options, problem):
    with pytest.raises(InputError, match=problem) as caught:
        reliability(source, **options)
    assert "\n" not in str(caught.value) and caught.value.fix


def test_what_is_not_read_is_named(caplog):
    frame = FRAME.assign(length=40 * RATINGS[:, 1, 0], note="x", index_=1)
    frame = frame.rename(columns={"index_": "Unnamed: 0"})
    found = reliability(frame, **OPTIONS)
    assert [line.rule for line in found.rules] == list(RULES) and "'length' (a measurement" in str(found)
    assert "the DataFrame: columns not read: length, note, Unnamed: 0" in caplog.text


@pytest.mark.parametrize("name", ["ratings.csv", "ratings.jsonl", "ratings.parquet"])
def test_of_a_missing_file_the_one_of_nearly_its_name_is_told(tmp_path, name):
    (tmp_path / name).write_text("kind,true,safe\n1,2,3\n")
    with pytest.raises(InputError) as refused:
        reliability(tmp_path / name.replace("ratings", "rating"))
    assert refused.value.fix == f"did you mean {tmp_path / name}?"
    with pytest.raises(InputError) as refused:
        reliability(tmp_path / "none.csv")
    assert refused.value.fix == "correct the path"
