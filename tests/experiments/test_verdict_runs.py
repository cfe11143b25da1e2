"""Verdict runs from files to a report: a server's, a local model's, by batch files; and other seeds."""

import dataclasses
import json

import numpy as np
import pytest

from encore_jax.data import iter_comparisons
from encore_jax.judge.pairwise import PAIR_PROMPTS, SAFE_AND_HELPFUL, PairPrompt
from encore_jax.judge.question import conversation_id
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages import baselines
from encore_jax.recipes.stages.answering import WaitsForResults
from tests.experiments import tiny_run
from tests.experiments.rating_runs import Saying, config, questions_in, write_files
from tests.judge.faulty_server import FaultyServer, Running, chat


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


def test_verdicts_on_pairs_stand_beside_heuristics(files, tmp_path, capsys):
    class Longer(FaultyServer):
        async def answer(self, body):
            from aiohttp import web

            a, b = body["messages"][-1]["content"].split("--- response A ---")[1].split("--- response B ---")
            b = b.split("--- end ---")[0]
            return web.json_response(chat({}, "[[A]]" if len(a.strip()) > len(b.strip()) else "[[B]]"))

    workdir, server = tmp_path / "run", Longer()
    with Running(server) as url:
        run_experiment(config(files, url, prompt=SAFE_AND_HELPFUL.name, both_orders=True), workdir)
        _, pairs, _ = questions_in(workdir)
        assert sum(server.asked.values()) == 2 * len(pairs)
    results = json.loads((workdir / "results.json").read_text())
    methods = {method["name"]: method for method in results["agreement"]["methods"]}
    lengths = [(len(c.responses[c.preferred]), len(c.responses[1 - c.preferred])) for c in pairs]
    credit = np.mean([1.0 if a > b else 0.0 if a < b else 0.5 for a, b in lengths])
    assert methods["LLM-as-a-judge"]["accuracy"]["value"] == pytest.approx(credit)
    assert len(methods) > 1 and "| LLM-as-a-judge |" in capsys.readouterr().out


TINY_LETTERS = PairPrompt(name="tiny_letters.1", system="Compare.", question="A or B?", answers=("A", "B"))


def test_a_local_models_verdicts_are_a_baseline_of_another_run(files, tmp_path, monkeypatch):
    monkeypatch.setitem(PAIR_PROMPTS, TINY_LETTERS.name, TINY_LETTERS)
    workdir = tmp_path / "run"
    judging = config(files, limit=0, kind="local", prompt=TINY_LETTERS.name, both_orders=True, most_other=1.0)
    run_experiment(judging, workdir)
    results = json.loads((workdir / "results.json").read_text())
    told = results["summary"]["verdicts"]
    assert told["without_verdict"] == 0 and "model" in results["summary"]["model"]
    assert told["for_the_first"] + told["for_the_second"] == 2 * told["comparisons"] > 20
    composing = tiny_run.config(files)
    composing.baselines.verdicts = str(workdir / "rate" / "verdicts.jsonl")
    composing.baselines.gate.steps, composing.baselines.penalties = 0, ()
    run_experiment(validated(composing), tmp_path / "composed", until="baselines")
    rewards = baselines.Baselines.load(tmp_path / "composed" / "baselines").made[baselines.JUDGE].rewards
    compared = list(iter_comparisons(tmp_path / "composed" / "ingest" / "comparisons.jsonl"))
    assert rewards.shape == (told["comparisons"], 2) and len(compared) == len(rewards)
    lines = [json.loads(line) for line in (workdir / "rate" / "verdicts.jsonl").read_text().splitlines()]
    for c, reward in zip(compared, rewards, strict=True):
        name = conversation_id(c.prompt, c.responses)
        for_first = [(row["verdict"] == "A") == (row["first"] == 0) for row in lines if row["conversation"] == name]
        assert len(for_first) == 2 and reward[0] == np.mean(for_first) and reward.sum() == 1


def test_verdicts_by_batch_files(files, tmp_path):
    workdir, judging = tmp_path / "run", config(files, kind="batch", prompt=SAFE_AND_HELPFUL.name)
    with pytest.raises(WaitsForResults):
        run_experiment(judging, workdir)
    (requests,) = (workdir / "batch").glob("requests-*.jsonl")
    rows = [json.loads(line) for line in requests.read_text().splitlines()]
    body = chat({}, "Both are fine. [[C]]")
    done = [{"custom_id": row["custom_id"], "response": {"status_code": 200, "body": body}} for row in rows]
    (workdir / "batch" / "results" / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in done))
    run_experiment(judging, workdir)
    told = json.loads((workdir / "results.json").read_text())["summary"]["verdicts"]
    assert told["undecided"] == told["comparisons"] == len(rows) and told["without_verdict"] == 0


def test_another_seed_asks_in_other_orders_and_asks_nothing_twice(files, tmp_path):
    """The seed is among what the stage depends on: another one gives other verdicts, not those of the first run."""

    def verdicts(seed):
        judging = dataclasses.replace(config(files, url, limit=0, prompt=SAFE_AND_HELPFUL.name), seed=seed)
        run_experiment(validated(judging), tmp_path / "run")
        rows = map(json.loads, (tmp_path / "run" / "rate" / "verdicts.jsonl").read_text().splitlines())
        return {row["conversation"]: row["first"] for row in rows}

    server = Saying(chat({}, "[[A]]"))
    with Running(server) as url:
        first = verdicts(0)
        asked = sum(server.asked.values())
        other = verdicts(1)
        differ = sum(first[name] != other[name] for name in first)
        assert first.keys() == other.keys() and 0 < differ == sum(server.asked.values()) - asked
        assert verdicts(0) == first and sum(server.asked.values()) == asked + differ
