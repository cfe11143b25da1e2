"""Tables as people have them: read rightly, or refused in one line that says what to type; by every command alike."""

import csv
import json
import shlex
import subprocess

import numpy as np
import pytest

from encore_jax.cli import halo, reliability
from encore_jax.errors import InputError
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.sources import rule_pool
from encore_jax.recipes.stages.records import read_records

RULES = ("harm", "kind", "true")
N = 12
GRADES = np.random.default_rng(1).integers(1, 6, (N, 2, 3)).tolist()
EACH = [(i, j) for i in range(N) for j in range(2)]


def wide(change=lambda row, k: row):
    rows = ({"prompt": f"question {i}", "response": f"answer {i} {j}"} | dict(zip(RULES, GRADES[i][j], strict=True))
            for i, j in EACH)  # fmt: skip
    return [change(row, k) for k, row in enumerate(rows)]


def long(prompt, response, rule, rating):
    return [{prompt: row["prompt"], response: row["response"], rule: name, rating: row[name]}
            for row in wide() for name in RULES]  # fmt: skip


def pairs(change=lambda row, k: row):
    rows = ({"prompt": f"question {i}", "response_a": f"answer {i} 0", "response_b": f"answer {i} 1", "preferred": "a"}
            | {f"{rule}_{side}": GRADES[i][j][k] for k, rule in enumerate(RULES) for j, side in enumerate("ab")}
            for i in range(N))  # fmt: skip
    return [change(row, k) for k, row in enumerate(rows)]


def own(fields, names=RULES):
    prompt, response, ratings = fields
    return [{prompt: row["prompt"], response: row["response"],
             ratings: dict(zip(names, (row[rule] for rule in RULES), strict=True))} for row in wide()]  # fmt: skip


def renamed(**names):
    return lambda row, k: {names.get(name, name): value for name, value in row.items()}


CASES = {
    "criterion, points": ("csv", long("prompt", "response", "criterion", "points"), RULES),
    "dimension, value": ("csv", long("question", "answer", "dimension", "value"), RULES),
    "aspect, mark": ("jsonl", long("Input", "Output", "Aspect", "Mark"), RULES),
    "topic, mark": ("csv", long("prompt", "response", "topic", "mark"),
                    "if every row is one rating, rename 'topic' to 'rule': sed -i.bak"),
    "topic, mark in JSON": ("jsonl", long("prompt", "response", "topic", "mark"),
                            "Fix: .*rename 'topic' to 'rule'$"),
    "no name known": ("csv", long("what was asked", "said", "area", "stars"),
                      "'stars' to 'rating' and 'area' to 'rule' and 'said' to 'response' and 'what was asked' to "),
    "value beside other rules": ("csv", wide(renamed(harm="value", kind="aspect")), ("value", "aspect", "true")),
    "no prompt": ("csv", wide(renamed(prompt="ask")), "rename 'ask' to 'prompt': sed -i.bak '1s/ask/prompt/'"),
    "fields in capitals": ("jsonl", own(("Prompt", "Response", "RATINGS")),
                           "rename 'Prompt' to 'prompt', 'Response' to 'response', 'RATINGS' to 'ratings': sed -i.bak"),
    "ratings in capitals": ("jsonl", own(("prompt", "response", "Ratings")), "rename 'Ratings' to 'ratings'"),
    "rules with spaces": ("jsonl", own(("prompt", "response", "ratings"), ("Is Honest", "Kind", "true!")),
                          ("is_honest", "kind", "true")),
    "rules alike but for capitals": ("jsonl", own(("prompt", "response", "ratings"), ("Kind", "kind", "true")),
                                     "'Kind' and 'kind' differ in capitals and signs alone. Fix: rename one"),
    "a rule without letters": ("jsonl", own(("prompt", "response", "ratings"), ("有害", "kind", "true")),
                               "rule '有害'"),
    "columns in capitals": ("parquet", wide(lambda row, k: {name.upper(): row[name] for name in row}), RULES),
}  # fmt: skip


def more(**columns):
    """More columns, as functions of the row's number."""
    return lambda row, k: row | {name.replace("__", ": "): make(k) for name, make in columns.items()}


def without(row, *names):
    return {name: value for name, value in row.items() if name not in names}


def changed(name, make):
    return lambda row, k: row | {name: make(row[name], k)}


def text_of(rows, *last, delimiter=","):
    lines = [list(rows[0]), *(row.values() for row in rows), *last]
    return "".join(delimiter.join(map(str, line)) + "\n" for line in lines)


def halved(row, k):
    """Half grades with decimal commas."""
    return row | {rule: f"{row[rule] - 0.5 * (row[rule] > 1)}".replace(".", ",") for rule in RULES}


def summed(row, k):
    every = [row[rule] for rule in RULES]
    return row | {"total": sum(every), "average": sum(every) / 3}


PLAIN = wide(lambda row, k: {"item": f"i{k}"} | without(row, "prompt", "response"))
TWENTIETHS = [[[20 * v if k == 0 else v for k, v in enumerate(own)] for own in both] for both in GRADES]
HALVES = (np.array(GRADES) - 0.5 * (np.array(GRADES) > 1)).tolist()
CASES |= {
    "an empty column of Excel": ("csv", wide(more(Unnamed__7=lambda k: "")), RULES),
    "delimiters at the ends": ("csv", text_of(wide(more(a=lambda k: ""))).replace(",a\n", ",\n"), RULES),
    "a remark under no name": ("csv", wide(more(Unnamed__7=lambda k: "see mail" if k == 3 else "")), RULES),
    "total of texts": ("csv", text_of(wide(), ["Total", "", 70, 71, 72]), RULES, "Left out, because it sums up others"),
    "average of texts": ("csv", text_of(wide(), ["Average:", "Average", 3.1, 2.9, 3.0]), RULES, "it sums up others"),
    "totals of numbers": ("csv", text_of(PLAIN, ["Total", 70, 71, 72], ["Mean", 3.1, 2.9, 3]), RULES, "sums up others"),
    "comments": ("csv", wide(more(comments=lambda k: ("", "N/A", "too long", "good")[k % 4])), RULES),
    "one number among comments": ("csv", wide(more(remarks=lambda k: "" if k else 5)), (*RULES, "remarks"),
                                  "'remarks' (it holds 1 rating where others hold 24)"),
    "dates": ("csv", wide(more(when=lambda k: f"2024-03-{k + 1}", day=lambda k: 20240301 + k)), RULES, "'day' ("),
    "dates as Excel's numbers": ("csv", wide(more(date=lambda k: 45352 + k % 9)), RULES, "'date' ("),
    "columns of one name": ("csv", "prompt,response,kind,kind,harm\nHi,A,5,4,1\n", "csv:1: has two columns 'kind'"),
    "percent": ("csv", wide(changed("harm", lambda value, k: f"{20 * value} %")), RULES, None, TWENTIETHS),
    "an error of Excel": ("csv", wide(changed("kind", lambda value, k: value if k else "#DIV/0!")),
                          "csv:2, column 'kind': '#DIV/0!' is no rating"),
    "labels 0 and 1": ("csv", wide(more(label=lambda k: k % 2)), (*RULES, "label"), "'label' (by its name"),
    "labels in words": ("csv", wide(more(label=lambda k: ("good", "bad")[k % 2])), RULES, "Not read: column 'label'"),
    "winner": ("csv", pairs(renamed(preferred="winner")), RULES),
    "winner, named in full": ("csv", pairs(lambda row, k: without(row, "preferred") | {"winner": "response_a"}), RULES),
    "label 0 of pairs": ("csv", pairs(more(label=lambda k: 0)), RULES,
                         "Not read: column 'label'. If it says which response people prefer, write a or b"),
    "preferred by another name": ("csv", pairs(changed("preferred", lambda value, k: "Model A")),
                                  "csv:2, column 'preferred': 'Model A' is none of the responses"),
    "decimal commas": ("csv", text_of(wide(halved), delimiter=";"), RULES, None, HALVES),
    "decimal commas in quotes": ("csv", wide(halved), RULES, None, HALVES),
    "levels in words": ("csv", wide(more(tone=lambda k: ("low", "high")[k % 2])), RULES, "'tone' holds 'low'"),
    "stars": ("csv", wide(more(tone=lambda k: "*" * (k % 5 + 1))), RULES, "Not read, because these are no ratings"),
    "sums and means": ("csv", wide(summed), RULES, "'total' ("),
}  # fmt: skip


def sided(form, sides="ab", choice="preferred", answers="response"):
    """Pairs whose columns are named by side in another way, and whose choice stands in another column."""
    name = dict(zip("ab", sides, strict=True))

    def change(row, k):
        found = {"prompt": row["prompt"], choice: name[row["preferred"]]}
        parts = [(key.rpartition("_"), value) for key, value in row.items() if key not in ("prompt", "preferred")]
        return found | {form.format((answers if word == "response" else word).title(), name[side]): value
                        for (word, _, side), value in parts}  # fmt: skip

    return pairs(change)


CASES |= {
    "sides in brackets": ("csv", sided("{} ({})", "AB"), RULES),
    "sides in front": ("csv", sided("{1}: {0}", "AB", "winner"), RULES),
    "sides in front, numbers": ("csv", sided("{1}. {0}", "12", "Better answer", "answer"), RULES),
    "sides with spaces": ("jsonl", sided("{} - {}", "12", "Which do you prefer?"), RULES),
    "sides in square brackets": ("csv", sided("{}[{}]", "AB", "best"), RULES),
    "letters for numbers": ("csv", [row | {"preferred": "a"} for row in sided("{} {}", "12")], RULES),
    "numbers as texts": ("csv", sided("{} {}", "12", "Chosen answer", "answer"), RULES),
    "two columns of one side": ("csv", pairs(lambda row, k: row | {"kind (a)": 3}),
                                "columns 'kind_a' and 'kind \\(a\\)' may both be the ratings of 'a' by kind"),
    "two responses of one side": ("csv", pairs(lambda row, k: row | {"answer_a": "other"}),
                                  "columns 'response_a' and 'answer_a' may both be the response 'a'"),
}  # fmt: skip


def write(path, rows):
    if isinstance(rows, str):
        path.write_text(rows, encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    elif path.suffix == ".parquet":
        import pandas as pd

        pd.DataFrame(rows).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def by_reliability(path):
    found = reliability.measured(reliability.parse([str(path), "--draws=20"]))
    return [line.rule for line in found.reliability.rules], found.reliability.columns


def by_fit(path):
    beside = write(path.with_name("pairs.jsonl"), [
        {"prompt": f"question {i}", "chosen": f"answer {i} 0", "rejected": f"answer {i} 1"} for i in range(N)
    ])  # fmt: skip
    files = (
        {"path": str(path)} if path.name.startswith("pairs of") else {"path": str(beside), "ratings_path": str(path)}
    )
    config = DataConfig(source="files", pool="auto", **files)
    pool = rule_pool(config)
    records = read_records(config, 0, pool, True)
    assert [one.preferred for one in records.comparisons] == [0] * N
    return pool.names, {one.response: np.where(one.mask, one.ratings, np.nan) for one in records.rated}


def by_halo(path):
    way = halo.read_way(str(path), "", None)
    return way.read.names, {one.response: np.where(one.mask, one.ratings, np.nan) for one in way.rated}


@pytest.mark.parametrize("name", CASES)
def test_what_people_have_is_read_or_refused_by_every_command(name, tmp_path):
    suffix, rows, expected = CASES[name][:3]
    kind = "t" if isinstance(rows, str) or not len(rows) == N else "pairs of"
    path = write(tmp_path / f"{kind} {name}.{suffix}".replace(", ", "-"), rows)
    if isinstance(expected, str):
        for read in (by_reliability, by_fit, by_halo):
            with pytest.raises(InputError, match=expected) as caught:
                read(path)
            assert "\n" not in str(caught.value) and path.name in str(caught.value)
        return
    plain = ["_".join(rule.lower().split()) for rule in expected]
    rules, columns = by_reliability(path)
    assert [rule.lower() for rule in rules] == plain
    told = CASES[name][3] if len(CASES[name]) > 3 else None
    assert any(told in line for line in columns) if told else not columns
    if name == "totals of numbers":
        return  # no model is trained on numbers alone
    values = np.array(CASES[name][4] if len(CASES[name]) > 4 else GRADES, float).reshape(len(EACH), -1)
    for read in (by_fit, by_halo):
        if read is by_halo and any(rule not in plain for rule in rules):
            continue  # whose rules are called as columns are
        names, read_values = read(path)
        assert list(names) == plain
        got = np.array([read_values.get(f"answer {i} {j}", np.full(len(plain), np.nan)) for i, j in EACH])
        expected = (values - 1) / 4
        expected[:, 0] = values[:, 0] / 100 if name == "percent" else expected[:, 0]
        np.testing.assert_allclose(got[:, : len(RULES)], expected, atol=1e-6)  # another has a test of its own


@pytest.mark.parametrize("name", ["topic, mark", "no name known", "no prompt", "fields in capitals"])
def test_the_advised_command_makes_the_file_readable(name, tmp_path):
    suffix, rows, _ = CASES[name]
    path = write(tmp_path / f"t.{suffix}", rows)
    with pytest.raises(InputError) as caught:
        by_reliability(path)
    command = shlex.split("sed " + caught.value.fix.partition("sed ")[2].partition("; or name")[0])
    subprocess.run(command, check=True)
    rules, columns = by_reliability(path)
    assert tuple(rules) == RULES and not columns
