"""Agreement with people, run on the fixture: every answer kept, resumed after a kill, numbers as independent ones."""

import json
import math
from argparse import Namespace

import numpy as np
import pytest
import sklearn.metrics

from encore_jax.cli import judge_agreement
from encore_jax.errors import InputError
from encore_jax.judge.question import Answer, Identity, Status
from encore_jax.rules import RulePool

pytestmark = pytest.mark.filterwarnings("ignore::encore_jax.RatingsWarning")  # so few responses are rated oddly


class Fake:
    """Answers by the letters of rule and response; counts what it is asked."""

    def __init__(self, model="fake"):
        self.identity, self.asked = Identity("local", model, "p" * 64, scale=(-1.0, 1.0)), []

    def answers(self, questions):
        for question in questions:
            self.asked.append(question.key)
            rating = (len(question.response) * len(question.rule.name) % 7) / 3.5 - 1
            failed = question.rule.name == "apology"
            answer = Answer(Status.FAILED, problem="silent") if failed else Answer(Status.OK, rating, 1.0)
            yield question, answer


@pytest.fixture
def given(fixtures, tmp_path):
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text((fixtures / "openai_rbr" / "rows.jsonl").read_text())
    return Namespace(
        data=str(tmp_path),
        out=str(tmp_path / "out"),
        model="",
        prompt="yes_no_irrelevant.1",
        limit=None,
        most_other=1.0,
        overwrite=False,
    )


def run(given, monkeypatch, judge):
    monkeypatch.setattr(judge_agreement, "load_local_judge", lambda model, prompt, **options: judge)
    judge_agreement.main(given)
    return json.loads((judge_agreement.Path(given.out) / "agreement.json").read_text())


def test_numbers_per_rule_and_a_table(given, monkeypatch):
    pool, judge = RulePool.shipped("openai_rbr_23"), Fake()
    result = run(given, monkeypatch, judge)
    assert len(judge.asked) == len(set(judge.asked))
    assert result["answers"]["failed"] == len({key.conversation for key in judge.asked})
    assert list(result["problems"]) == ["silent"] and [rule["rule"] for rule in result["rules"]] == list(pool.names)
    rows, _ = judge_agreement.read(judge_agreement.Path(given.data), pool)
    for k, rule in enumerate(result["rules"]):
        if rule["rule"] == "apology":
            assert rule["n"] == 0 and math.isnan(rule["auc"])
            continue
        labelled = [r for r in rows if r.mask[k]]
        label = [bool(r.ratings[k]) == (pool[k].direction == 1) for r in labelled]
        score = [(len(r.response) * len(rule["rule"]) % 7) / 3.5 - 1 for r in labelled]
        assert rule["n"] == len(labelled) and rule["true"] == sum(label) and sum(rule["histogram"]) == len(rows)
        if 0 < sum(label) < len(labelled):
            assert rule["auc"] == pytest.approx(sklearn.metrics.roc_auc_score(label, score))
    table = (judge_agreement.Path(given.out) / "agreement.md").read_text()
    assert table.count("\n| ") == 23 + 3 and "judge-rated against human-rated" in table


def test_what_a_limit_leaves_out_is_counted_and_answers_about_it_are_not(given, monkeypatch):
    whole = run(given, monkeypatch, Fake())
    blank = {"with a blank response": 2}  # of the two files
    assert whole["skipped"] == blank
    given.limit = 2
    limited = run(given, monkeypatch, judge := Fake())
    assert not judge.asked and limited["responses"] == 2
    left_out = {"left out by --limit=2, which takes the first": whole["responses"] - 2}
    assert limited["skipped"] == blank | left_out and sum(limited["answers"].values()) == 2 * len(limited["rules"])
    assert "left out by --limit=2" in (judge_agreement.Path(given.out) / "agreement.md").read_text()
    given.limit = whole["responses"]
    assert run(given, monkeypatch, Fake())["skipped"] == blank


def test_a_killed_run_asks_only_what_is_missing(given, monkeypatch):
    whole = run(given, monkeypatch, Fake())
    path = judge_agreement.Path(given.out) / "answers.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:8]) + lines[8][:20])
    again = Fake()
    resumed = run(given, monkeypatch, again)
    np.testing.assert_equal(resumed, whole)
    assert len(again.asked) == len(lines) - 8
    with pytest.raises(InputError, match="answers of another judge"):
        run(given, monkeypatch, Fake("another"))
