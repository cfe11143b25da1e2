"""Which columns of a table are rules: every command decides alike, says what is doubtful, and can be told otherwise."""

import csv
import json
import shlex

import numpy as np
import pandas as pd
import pytest

import encore_jax as enc
from encore_jax.cli import halo, reliability
from encore_jax.cli.list_values import list_items
from encore_jax.data.rating_source import read_rating_table
from encore_jax.data.rule_names import RuleNames
from encore_jax.data.scored_rows import read_scored_rows
from encore_jax.errors import InputError
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.sources import columns_told, rule_pool

RULES = ("harm", "kind", "true")
N = 24
RNG = np.random.default_rng(0)
GRADES = np.clip(np.round(3 + RNG.normal(size=(N, 2, 1)) + RNG.normal(size=(N, 2, 3))), 1, 5).astype(int)
LENGTHS = RNG.permutation(np.repeat(np.arange(31, 31 + N), 2)).reshape(N, 2) * 7


def wide(**columns):
    """Rows of single responses; a column is a function of prompt and side."""
    rows = []
    for i in range(N):
        for j in range(2):
            row = {"prompt": f"question {i}", "response": f"answer {i} {'ab'[j]}"}
            row |= dict(zip(RULES, GRADES[i, j].tolist(), strict=True))
            rows.append(row | {name.replace("__", " "): make(i, j) for name, make in columns.items()})
    return rows


def pairs(**columns):
    """Rows of two responses; a column is a function of prompt and side, too."""
    rows = []
    for i in range(N):
        row = {"prompt": f"question {i}", "response_a": f"answer {i} a", "response_b": f"answer {i} b",
               "preferred": "ab"[i % 2]}  # fmt: skip
        for j, side in enumerate("ab"):
            row |= {f"{rule}_{side}": int(GRADES[i, j, k]) for k, rule in enumerate(RULES)}
            row |= {f"{name}_{side}": make(i, j) for name, make in columns.items()}
        rows.append(row)
    return rows


def write(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    elif path.suffix == ".parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


OUT = {
    "annotator_id": lambda i, j: i % 5 + 1,  # on the scale of the rules
    "rater": lambda i, j: i % 3 + 1,
    "year": lambda i, j: 2019 + i % 5,
    "born": lambda i, j: 1950 + 7 * i % 40,  # years, whatever the name
    "timestamp": lambda i, j: 1_700_000_000 + 61 * i,
    "prompt_id": lambda i, j: i,
    "row__number": lambda i, j: 2 * i + j + 1,
    "nothing": lambda i, j: 2 * i + j,  # row numbers, whatever the name
    "token": lambda i, j: 900 + 5 * (2 * i + j) * 7 % 997,
    "code": lambda i, j: int(10_007 * (2 * i + j + 3) % 99_991),  # ids, whatever the name
    "word_count": lambda i, j: int(LENGTHS[i, j]),
    "responseLength": lambda i, j: int(LENGTHS[i, j]),
    "price": lambda i, j: round(1.37 + 0.91 * ((2 * i + j) % 30), 2),
    "fold": lambda i, j: i % 5,
    "seed": lambda i, j: i % 3 + 1,
}
"""Columns that are no rules, by name or by values."""
DOUBTFUL = {
    "length": lambda i, j: (3 * i + 2 * j) % 5 + 1,
    "appropriate_length": lambda i, j: (3 * i + 2 * j) % 5 + 1,
    "year": lambda i, j: (i + 3 * j) % 5 + 1,
    "personal_id": lambda i, j: (i + 3 * j) % 5 + 1,
    "label": lambda i, j: (i + j) % 2,
    "odd": lambda i, j: 10 * ((3 * i + j) % 40) + 120,
}
"""Columns that may be rules: counted, and said."""
CERTAIN = {
    "year-appropriate": lambda i, j: (i + 3 * j) % 5 + 1,
    "lengthy": lambda i, j: (i + 3 * j) % 5 + 1,
    "safe": lambda i, j: (7 * i + 30 * j) % 100,  # beside grades
    "length": lambda i, j: f"{(i + 3 * j) % 5 + 1}/5",  # says its scale
    "judge": lambda i, j: ("yes", "no")[(i + j) % 2],
}
"""Rules without a doubt."""
CASES = [
    *((name, make, "out") for name, make in OUT.items()),
    *((name, make, "doubt") for name, make in DOUBTFUL.items()),
    *((name, make, "rule") for name, make in CERTAIN.items()),
]


@pytest.mark.parametrize("form", ["wide.csv", "wide.parquet", "wide.jsonl", "pairs.csv", "plain.csv"])
@pytest.mark.parametrize("name, make, kind", CASES, ids=[f"{name}: {kind}" for name, _, kind in CASES])
def test_every_command_decides_alike_and_says_so(name, make, kind, form, tmp_path):
    own = name.replace("__", " ")
    if form == "pairs.csv" and "__" in name:
        return
    rows = pairs(**{name: make}) if form == "pairs.csv" else wide(**{name: make})
    if form == "plain.csv":
        rows = [{field: row[field] for field in row if field not in ("prompt", "response")} for row in rows]
    path = write(tmp_path / form, rows)
    expected = RULES if kind == "out" else (*RULES, own)
    given = reliability.parse([str(path), "--draws=20"])
    found = reliability.measured(given).reliability
    assert tuple(line.rule for line in found.rules) == expected
    text = reliability.reliability_text(found)
    if kind == "rule":
        assert not found.columns
    else:
        (line,) = found.columns
        head, sign = ("Left out, because it is no rule", "+") if kind == "out" else ("Counted as a rule, but", "-")
        assert line.startswith(f"{head}") and f"{own!r} (" in line and text.startswith(line)
        if name == "timestamp":
            return  # too far from 0 for float32: refused
        other = shlex.split(line.rpartition(": ")[2])
        again = reliability.measured(reliability.parse([str(path), "--draws=20", *other])).reliability
        changed = {line.rule for line in again.rules}
        assert changed == ({*RULES, own} if sign == "+" else set(RULES)) and not again.columns
    of_table = enc.reliability(path, draws=20)
    assert [line.rule for line in of_table.rules] == list(expected) and len(of_table.columns) == len(found.columns)
    if form != "plain.csv":
        config = DataConfig(source="files", pool="auto", path=str(path))
        plain = "_".join(own.lower().replace("-", " ").split())
        assert rule_pool(config).names == (RULES if kind == "out" else (*RULES, plain))
        told = columns_told(config)
        assert [line.replace("--config.data.rules=", "--rules=") for line in told] == list(found.columns)
        if "-" not in own:
            way = halo.read_way(str(path), "", None, RuleNames((), "--rules="))
            assert way.read.names == expected and way.columns == found.columns


def test_all_rules_may_be_named_and_nothing_is_doubted(tmp_path):
    path = write(
        tmp_path / "t.csv", wide(year=OUT["year"], length=DOUBTFUL["length"], **{"Is__honest": CERTAIN["lengthy"]})
    )
    for names in (["kind", "true", "year"], ["Kind", "true", "YEAR"]):
        found = enc.reliability(path, rules=names, draws=20)
        assert [line.rule for line in found.rules] == ["kind", "true", "year"] and not found.columns
    rows = read_scored_rows(path, "", None, "--", RuleNames(("is_honest", "kind", "harm")))
    assert set(rows.rules) == {"Is honest", "kind", "harm"}
    config = DataConfig(source="files", pool="auto", path=str(path), rules=("is honest", "kind"))
    assert set(rule_pool(config).names) == {"is_honest", "kind"} and columns_told(config) == ()
    long = [{"prompt": row["prompt"], "response": row["response"], "rule": rule, "rating": row[rule]}
            for row in wide(brief=CERTAIN["lengthy"]) for rule in (*RULES, "brief")]  # fmt: skip
    assert read_rating_table(long, rules=RuleNames(("-harm",))).rules == ("kind", "true", "brief")


@pytest.mark.parametrize(
    "names, told",
    [
        (["kynd"], "no rule or column is called 'kynd'. Fix: did you mean kind"),
        (["kind", "+year"], "'kind' is a name and '\\+year' a change"),
        (["+year", "-year"], "'year' is taken in and left out"),
        (["+note", "kind"], "is a name and"),
        (["+note"], "column 'note': 'fine' is no rating"),
        (["empty", "kind", "true"], "column 'empty' holds no rating"),
        ("kind", "is a str, no list of names"),
        ([1], "is a list, no list of names"),
    ],
)
def test_names_that_make_no_sense_are_refused(names, told):
    rows = [row | {"note": "fine", "empty": "", "year": 2019} for row in wide()]
    with pytest.raises(InputError, match=told):
        enc.reliability(rows, rules=names, draws=20)


def test_rules_are_named_for_tables_without_a_pool_alone(tmp_path):
    path = write(tmp_path / "t.csv", wide())
    with pytest.raises(InputError, match="--rules: has no effect where a pool names the rules"):
        read_scored_rows(path, "safety_10", None, "--", RuleNames(("kind",), "--rules="))
    own = write(tmp_path / "own.jsonl", [
        {"prompt": row["prompt"], "response": row["response"], "ratings": {rule: row[rule] for rule in RULES}}
        for row in wide()
    ])  # fmt: skip
    for read in (
        lambda asked: read_scored_rows(own, "", None, "--", asked),
        lambda asked: halo.read_way(str(own), "", None, asked),
    ):
        with pytest.raises(InputError, match="--rules: is about tables"):
            read(RuleNames(("kind",), "--rules="))
    with pytest.raises(InputError, match="config.data.rules"):
        DataConfig(source="files", pool="safety_10", path=str(path), rules=("kind",)).check()
    config = DataConfig(source="files", pool="auto", path=str(own), rules=("kind",))
    with pytest.raises(InputError, match="--config.data.rules: is about tables"):
        rule_pool(config)


def test_what_is_typed_is_read_back():
    names = ["a b", "c,d", "e;f", "it's", "-g"]
    (word,) = shlex.split(RuleNames((), "--rules=").typed("+", names))
    assert list_items(word.removeprefix("--rules=")) == [f"+{name}" for name in names]


def test_a_cell_of_a_rule_that_is_no_rating_is_refused_with_the_way_to_leave_the_column_out(tmp_path):
    rows = wide()
    rows[3]["kind"] = "good"
    with pytest.raises(
        InputError, match=r"t.csv:5, column 'kind': 'good' is no rating.*leave the column out: --rules=-kind"
    ):
        read_scored_rows(write(tmp_path / "t.csv", rows), "", None, "--", RuleNames((), "--rules="))
    left = read_scored_rows(tmp_path / "t.csv", "", None, "--", RuleNames(("-kind",), "--rules="))
    assert left.rules == ("harm", "true")


def test_pairs_beside_which_only_lengths_stand_are_read_without_ratings():
    rows = [
        {"prompt": "Hi", "chosen": f"A{i}", "rejected": "B", "id_chosen": i, "id_rejected": i + 3} for i in range(9)
    ]
    found = list(enc.read_comparisons(rows))
    assert len(found) == 9 and all(one.ratings is None for one in found)
