"""What `encore reliability` reads of a file, `encore fit` reads too: every documented shape in every kind of file."""

import csv
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from encore_jax.cli import reliability
from encore_jax.cli.main import _at_home
from encore_jax.data.named_rules import named_rules
from encore_jax.data.scored_rows import read_scored_rows
from encore_jax.errors import InputError
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.sources import rule_pool
from encore_jax.recipes.stages.records import read_records

RULES = ("harm", "kind")
RATINGS = np.random.default_rng(0).integers(1, 6, (12, 2, 2)).astype(float)
RATINGS[:2] = [[[1, 5], [5, 1]], [[3, 2], [1, 4]]]


def _texts(i):
    return f"question {i}", (f"answer {i} a", f"answer {i} b")


def _sides(i, sides, preferred=None):
    prompt, answers = _texts(i)
    named = sides if sides[0] == "chosen" else [f"response_{side}" for side in sides]
    row = {"prompt": prompt} | dict(zip(named, answers, strict=True)) | (preferred or {})
    return row | {f"{rule}_{side}": RATINGS[i, j, k] for k, rule in enumerate(RULES) for j, side in enumerate(sides)}


def _wide(i, j):
    return {"prompt": _texts(i)[0], "response": _texts(i)[1][j]} | dict(zip(RULES, RATINGS[i, j].tolist(), strict=True))


def _own(i, j):
    row = _wide(i, j)
    return {name: row[name] for name in ("prompt", "response")} | {"ratings": {rule: row[rule] for rule in RULES}}


EACH = [(i, j) for i in range(12) for j in range(2)]
SHAPES = {
    "chosen": [_sides(i, ("chosen", "rejected")) for i in range(12)],
    "sides": [_sides(i, ("a", "b"), {"preferred": "a"}) for i in range(12)],
    "wide": [_wide(*at) for at in EACH],
    "long": [
        {"prompt": row["prompt"], "response": row["response"], "rule": rule, "rating": row[rule]}
        for row in (_wide(*at) for at in EACH) for rule in RULES
    ],
    "own responses": [_own(*at) for at in EACH],
    "own comparisons": [
        {"prompt": _texts(i)[0], "responses": list(_texts(i)[1]), "preferred": 0,
         "ratings": {rule: RATINGS[i, :, k].tolist() for k, rule in enumerate(RULES)}} for i in range(12)
    ],
}  # fmt: skip
PAIRS = ("chosen", "sides", "own comparisons")
KINDS = (".csv", ".json", ".jsonl", ".parquet")
SPELLED = ("as documented", "capitals", "first row lacks a field")


def _lacking(rows, shape):
    """The first row without its first rule's rating, or the ratings, as JSON Lines and data frames leave out nulls."""
    first = {name: value for name, value in rows[0].items() if name not in ("harm", "harm_chosen", "harm_a")}
    if shape == "own comparisons":
        first.pop("ratings")
    elif shape == "own responses":
        first["ratings"] = {"kind": first["ratings"]["kind"]}
    return [first, *rows[1:]]


def write(path, rows):
    names = list(dict.fromkeys(name for row in rows[::-1] for name in row))
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _cases():
    for shape in SHAPES:
        for kind in KINDS:
            for spelled in SPELLED:
                own = shape.startswith("own")
                if not (own and (kind == ".csv" or spelled == "capitals")) and not (
                    shape == "long" and spelled == "first row lacks a field"
                ):
                    yield pytest.param(shape, kind, spelled, id=f"{shape}{kind}, {spelled}")


@pytest.mark.parametrize("pool", ["auto", "given"])
@pytest.mark.parametrize("shape, kind, spelled", list(_cases()))
def test_reliability_and_fit_read_the_same_comparisons_and_ratings(shape, kind, spelled, pool, tmp_path):
    rows = _lacking(SHAPES[shape], shape) if spelled == "first row lacks a field" else SHAPES[shape]
    if spelled == "capitals":
        rows = [{name.title(): value for name, value in row.items()} for row in rows]
    path, pairs = tmp_path / f"rated{kind}", tmp_path / "pairs.jsonl"
    write(path, rows)
    rules = ""
    if pool == "given":
        rules = str(tmp_path / "rules.yaml")
        text = "".join(f"  - {{name: {rule}, text: It is {rule}.}}\n" for rule in RULES)
        (tmp_path / "rules.yaml").write_text(f"rules:\n{text}")
    write(pairs, [{"prompt": _texts(i)[0], "chosen": _texts(i)[1][0], "rejected": _texts(i)[1][1]} for i in range(12)])

    told = read_scored_rows(path, rules, None)
    order = [[rule.lower() for rule in told.rules].index(rule) for rule in RULES]
    read = told.values[:, order]

    files = {"path": str(path)} if shape in PAIRS else {"path": str(pairs), "ratings_path": str(path)}
    config = DataConfig(source="files", pool=rules or "auto", **files)
    names = rule_pool(config).names
    records = read_records(config, 0, rule_pool(config), True)
    assert [c.responses for c in records.comparisons] == [_texts(i)[1] for i in range(12)]
    assert {c.preferred for c in records.comparisons} == {0}
    assert tuple(records.scale) == tuple(told.scale) == (1.0, 5.0)
    at = [names.index(rule) for rule in RULES]
    by = {one.response: np.where(one.mask, 1 + 4 * one.ratings, np.nan)[at] for one in records.rated}
    expected = RATINGS.copy()
    if spelled == "first row lacks a field":
        expected[0, :, :] = np.nan if shape == "own comparisons" else expected[0]
        expected[0, 0, 0] = np.nan
    nothing = np.full(2, np.nan)
    found = np.array([[by.get(answer, nothing) for answer in _texts(i)[1]] for i in range(12)])
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(read.reshape(12, 2, 2), expected)


def _advice(tmp_path, rows, *flags):
    path = tmp_path / "rated.jsonl"
    write(path, rows)
    given = reliability.parse([str(path), "--draws=20", *flags])
    return reliability.first(reliability.measured(given), path)


@pytest.mark.parametrize(
    "names, told",
    [
        (("有害", "kind"), "first rename 有害:"),
        (("1", "kind"), "first rename 1:"),
        (("Harm", "harm!"), "first rename all but one of Harm, harm!"),
    ],
)
def test_names_that_fit_cannot_take_are_told_before_it_is_advised(tmp_path, names, told):
    renamed = dict(zip(RULES, names, strict=True)) | {"other": "other"}
    rows = [row | {"other": (7 * i) % 5 + 1} for i, row in enumerate(SHAPES["wide"])]
    said = _advice(tmp_path, [{renamed.get(name, name): value for name, value in row.items()} for row in rows])
    assert told in said and "encore fit" not in said


def test_groups_of_three_are_no_pairs_to_judge_a_model_by(tmp_path):
    rng = np.random.default_rng(1)
    rows = [
        {"prompt": f"q{i}", "responses": [f"{i} a", f"{i} b", f"{i} c"],
         "ratings": {rule: rng.integers(1, 6, 3).tolist() for rule in ("harm", "kind", "brief")}} for i in range(30)
    ]  # fmt: skip
    said = _advice(tmp_path, rows)
    assert "three responses or more" in said and "encore fit" not in said


def test_a_link_to_no_pool_is_an_error_by_name_in_every_reading(tmp_path):
    path = tmp_path / "rated.jsonl"
    write(path, SHAPES["wide"])
    (tmp_path / "pool.yaml").symlink_to(tmp_path / "gone.yaml")
    for read in (lambda: read_scored_rows(path, "", None), lambda: named_rules(path, "--pool")):
        with pytest.raises(InputError, match=r"pool\.yaml"):
            read()


def test_a_pipe_is_refused_by_name(tmp_path):
    os.mkfifo(tmp_path / "ratings.csv")
    with pytest.raises(InputError, match="is a pipe or a device"):
        reliability.main(reliability.parse([str(tmp_path / "ratings.csv")]))


def test_a_home_folder_is_found_and_the_pool_beside_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "rated.jsonl", [row | {"brief": (7 * i) % 5 + 1} for i, row in enumerate(SHAPES["wide"])])
    text = "".join(f"  - {{name: {rule}, text: It is {rule}.}}\n" for rule in (*RULES, "brief"))
    (tmp_path / "pool.yaml").write_text(f"rules:\n{text}")
    again = ["~/rated.jsonl", "--out=~/page.html", "--draws=20"]
    reliability.main(reliability.parse(again))
    assert (tmp_path / "page.html").is_file()
    (tmp_path / "pool.yaml").unlink()
    with pytest.raises(InputError, match=r"page\.html"):
        reliability.main(reliability.parse(again))


def test_a_flag_of_any_command_may_name_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    words = ["~/a.csv", "--out=~/b.html", "--config.name=a~/b", "--pool=safety_10"]
    assert [*map(_at_home, words)] == ["/home/me/a.csv", "--out=/home/me/b.html", *words[2:]]
