"""Labels that are written where the list of comparisons to label says so are read by the same command."""

import csv
import dataclasses
import json
import random
import re

import numpy as np
import pytest
from aiohttp import web

from encore_jax.cli import reliability
from encore_jax.evaluation.label_next import LabelPlace, openings, place_in_run, where_to_label
from encore_jax.recipes.run import run_experiment
from encore_jax.report.label_next import label_context, label_lines
from encore_jax.rules import Rule, RulePool
from tests.experiments.rating_runs import config
from tests.judge.faulty_server import FaultyServer, Running, chat

RULES = ("safe", "honest", "kind", "coin")
N = 150


def ratings():
    rng = np.random.default_rng(0)
    quality = rng.normal(size=(N, 2, 1))
    return np.clip(np.round(3 + quality * [1, 1, 1, 0] + 1.3 * rng.normal(size=(N, 2, 4))), 1, 5)


def pairs_csv():
    names = [f"{rule}_{side}" for rule in RULES for side in "ab"]
    rows = [["prompt", "response_a", "response_b", "preferred", *names]]
    rows += [[f"Question {i}", f"Yes {i}", f"No {i}", "", *own.T.ravel()] for i, own in enumerate(ratings())]
    return rows, lambda row: row.__setitem__(3, "b")


def responses_csv():
    rows = [["prompt", "response", "quality", *RULES]]
    rows += [[f"Question {i}", text, "", *own[j]] for i, own in enumerate(ratings()) for j, text in enumerate("ab")]
    return rows, lambda row: row.__setitem__(2, 1 if row[1] == "a" else 0)


def comparisons():
    rows = [{"prompt": f"Question {i}", "responses": [f"Yes {i}", f"No {i}"], "preferred": None,
             "ratings": dict(zip(RULES, own.T.tolist(), strict=True))} for i, own in enumerate(ratings())]  # fmt: skip
    return rows, lambda row: row.update(preferred=1)


def rated():
    rows = [{"prompt": f"Question {i}", "response": text, "ratings": dict(zip(RULES, own[j].tolist(), strict=True))}
            for i, own in enumerate(ratings()) for j, text in enumerate("ab")]  # fmt: skip
    return rows, lambda row: row.update(extra={"quality": 1 if row["response"] == "a" else 0})


def write(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(
    ("make", "name", "field"),
    [
        (pairs_csv, "pairs.csv", 'in a column "preferred"'),
        (responses_csv, "responses.csv", 'in a column "quality", for every response of the prompt'),
        (comparisons, "pairs.jsonl", 'as "preferred"'),
        (rated, "rated.jsonl", 'as "extra": {"quality": NUMBER}, for every response of the prompt'),
    ],
)
def test_labels_written_as_told_are_read_by_the_same_command(tmp_path, make, name, field):
    rows, label = make()
    path = tmp_path / name
    write(path, rows)
    given = reliability.parse([str(path), "--draws=20", "--scale=1,5", "--labels=6"])
    found = reliability.measure(given)
    assert where_to_label(found.label_place).startswith(f"Write each label into {path}, {field}")
    assert len(found.label_texts) == 6 and not found.single
    asked = {texts[0] for texts in found.label_texts}
    for row in rows[1:] if path.suffix == ".csv" else rows:
        if (row[0] if path.suffix == ".csv" else row["prompt"]) in asked:
            label(row)
    write(path, rows)
    again = reliability.measure(given)
    assert {line.labels for line in again.rules} == {6}
    assert not asked & {texts[0] for texts in again.label_texts}


def test_a_runs_own_file_is_to_be_copied_or_the_users_own_file_to_be_labelled(tmp_path):
    for data, told in (
        ({"source": "files", "path": "my/pairs.csv"}, "Write each label into my/pairs.csv, in a column"),
        ({"source": "files", "path": "my/pairs.jsonl"}, 'Write each label into my/pairs.jsonl, as "preferred"'),
        ({"source": "pyrit", "path": ""}, "Copy RUN/rate/comparisons.jsonl, and pool.yaml beside it, to a folder"),
    ):
        assert where_to_label(place_in_run(data, "RUN")).startswith(told)


def test_texts_are_escaped_and_short():
    names, begins = ["a|b"], openings([["<b>\x1b[31m\nhi | there", "x" * 500]])
    assert "\x1b" not in begins[0][0] and "\n" not in begins[0][0] and len(begins[0][1]) == 160
    lines = label_lines(names, begins, LabelPlace())
    assert "hi \\| there" in "\n".join(lines)
    assert label_context(names, begins, LabelPlace())["rows"][0][1] == begins[0][0]
    assert label_lines([], [], LabelPlace()) == [] and label_context([], [], LabelPlace()) is None


class Noisy(FaultyServer):
    """Rates a response by what its text says, with noise by the whole question."""

    async def answer(self, body):
        text = json.dumps(body)
        quality = int(re.findall(r"worth (\d+)", text)[-1]) / 10
        noise = random.Random(text).random()
        likely = min(max(0.5 * quality + 0.5 * noise, 0.02), 0.98)
        return web.json_response(chat({"Yes": likely, "No": 1 - likely}))


def test_a_rating_run_says_where_labels_go_and_asks_nothing_again_once_they_are_there(tmp_path, capsys):
    files, rng = tmp_path, random.Random(0)
    rows = [{"prompt": f"Question {i}", "responses": [f"{side}{i} worth {rng.randint(0, 9)}" for side in "ab"],
             "preferred": None} for i in range(60)]  # fmt: skip
    write(files / "pairs.jsonl", rows)
    RulePool([Rule(name, f"It is {name}.") for name in RULES]).to_yaml(files / "pool.yaml")
    server = Noisy()
    with Running(server) as url:
        given = config(files, url, limit=0)
        given = dataclasses.replace(given, data=dataclasses.replace(given.data, ratings_path=""))
        run_experiment(given, tmp_path / "run")
        asked, printed = sum(server.asked.values()), capsys.readouterr().out
        told = json.loads((tmp_path / "run" / "results.json").read_text())["advice"]
        listed = {texts[0] for texts in told["label_texts"]}
        assert listed and all(f"| {own[0]} | {own[1]} | {own[2]} |" in printed for own in told["label_texts"])
        assert f'Write each label into {files}/pairs.jsonl, as "preferred"' in printed
        page = (tmp_path / "run" / "report.html").read_text()
        assert all(f">{prompt}<" in page for prompt in listed) and f"into {files}/pairs.jsonl" in page
        write(files / "pairs.jsonl", [row | {"preferred": 0 if row["prompt"] in listed else None} for row in rows])
        run_experiment(given, tmp_path / "run")
    assert sum(server.asked.values()) == asked, "the judge is not asked again"
    again = json.loads((tmp_path / "run" / "results.json").read_text())["advice"]
    assert not listed & {texts[0] for texts in again["label_texts"]} and again["labelled_prompts"] == len(listed)
