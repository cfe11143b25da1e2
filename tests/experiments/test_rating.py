"""Rating runs from files to a report: by a server that dies, by batch files, from a table; ready for training."""

import contextlib
import json
import logging
import re

import numpy as np
import pytest

from encore_jax.data import iter_comparisons, iter_rated
from encore_jax.errors import InputError
from encore_jax.evaluation.probe_model import over_refusal_of
from encore_jax.judge.pairwise import SAFE_AND_HELPFUL
from encore_jax.judge.prompts import PROMPTS, Prompt
from encore_jax.judge.request import CHAT
from encore_jax.judge.settings import RetryPolicy
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.rating_config import RatingConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.answering import TrialDone, WaitsForResults
from encore_jax.reward.reward_model import RewardModel
from tests.experiments import tiny_reward_model, tiny_run
from tests.experiments.rating_runs import SENTINEL, VARIABLE, config, questions_in, write_files
from tests.judge.call_reply import call_reply, letters_in
from tests.judge.faulty_server import FaultyServer, Running, chat
from tests.judge.test_call_runs import LIKELY, CallServer
from tests.report.page_checks import check_page

LETTERS = Prompt(
    name="letters.1", system="Say A, B or C.", head="Read:", question="Is it true? {rule}", answers=("A", "B", "C")
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(autouse=True)
def said(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def test_a_server_rates_and_a_dead_one_costs_nothing_that_was_answered(files, tmp_path, said, capsys):
    class Dying(FaultyServer):
        """Refuses everybody after 40 answers."""

        async def answer(self, body):
            if sum(self.answered.values()) >= 40:
                from aiohttp import web

                return web.Response(status=401, text="quota is used up")
            return await super().answer(body)

    server, workdir = Dying(), tmp_path / "run"
    with Running(server) as url, pytest.raises(InputError, match="quota is used up"):
        run_experiment(config(files, url), workdir)
    second = FaultyServer()
    with Running(second) as url:
        run_experiment(config(files, url), workdir)
        pool, pairs, total = questions_in(workdir)
        asked = sum(second.asked.values())
        run_experiment(config(files, url), workdir)
        assert sum(second.asked.values()) == asked, "complete: nothing is asked"
    assert total - 40 - 1 <= asked <= total - 40 + 8
    assert f"to ask: {total} requests" in said.text and "million prompt tokens" in said.text
    results = json.loads((workdir / "results.json").read_text())
    assert results["summary"]["questions"]["ok"] == total and results["summary"]["label"] == "judge-rated"
    assert [rule["name"] for rule in results["rules"]] == list(pool.names)
    rule = results["rules"][0]
    assert rule["n"] == total / len(pool) and rule["entropy"] == pytest.approx(0, abs=1e-6)
    assert rule["accuracy"] == 0.5 and rule["pairs"] == len(pairs), "all rated the same: ties"
    assert any("constant" in warning for warning in results["warnings"])
    assert "| rated |" in capsys.readouterr().out
    assert "<svg" in (workdir / "report.html").read_text()
    check_page((workdir / "report.html").read_text())
    for c in iter_comparisons(workdir / "rate" / "comparisons.jsonl", pool=pool):
        expected = np.where(pool.directions > 0, (0.375 + 1) / 2, 1 - (0.375 + 1) / 2)
        np.testing.assert_allclose(c.ratings, np.broadcast_to(expected, c.ratings.shape), rtol=1e-6)
    assert len(list(iter_rated(workdir / "rate" / "rated.jsonl", pool=pool))) == total / len(pool)


def test_the_key_is_in_nothing_that_a_run_leaves(files, tmp_path, said, capfd, monkeypatch):
    monkeypatch.setenv(VARIABLE, SENTINEL)

    class Parrot(FaultyServer):
        async def answer(self, body):
            from aiohttp import web

            if sum(self.asked.values()) % 4 == 0:
                return web.json_response({"error": f"your key {SENTINEL} is slow"}, status=400)
            return web.json_response(chat({"Yes": 0.6, SENTINEL: 0.1}))

    server = Parrot()
    with Running(server) as url:
        run_experiment(config(files, url, key=VARIABLE), tmp_path / "run")
    assert set(server.headers) == {f"Bearer {SENTINEL}"}
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    shown = capfd.readouterr()
    assert b"HTTP 400" in written and b"[API key]" in written
    assert SENTINEL.encode() not in written and SENTINEL not in said.text + shown.out + shown.err


def test_several_rules_in_a_call_are_asked_about_after_their_halo_is_measured(files, tmp_path, said, capsys):
    class Both(CallServer):
        """Isolated questions get the usual reply."""

        async def answer(self, body):
            return await (super().answer(body) if "response_format" in body else FaultyServer.answer(self, body))

    workdir = tmp_path / "run"
    with Running(server := Both()) as url:
        with_calls = config(files, url, rules_per_call=0, halo_sample=6)
        run_experiment(with_calls, workdir)
        asked = dict(server.asked)
        run_experiment(with_calls, workdir)
        assert server.asked == asked, "complete: nothing is asked"
    pool, pairs, total = questions_in(workdir)
    responses, rules = total // len(pool), len(pool)
    results = json.loads((workdir / "results.json").read_text())
    halo, cost = results["halo"]["halo"], results["halo"]["cost"]
    sampled = halo["responses"]
    assert 6 <= sampled <= 7 and [rule["rule"] for rule in halo["rules"]] == list(pool.names)
    assert sum(asked.values()) == responses + sampled * rules + sampled, "the sample's calls are not asked again"
    assert cost["isolated"]["requests"] == sampled * rules and cost["together"]["requests"] == sampled
    assert cost["together"]["prompt_tokens"] < cost["isolated"]["prompt_tokens"] and cost["reversed"]["seconds"] > 0
    assert halo["trust"] == "open" and halo["sentence"] in capsys.readouterr().out, "few prompts"
    assert results["summary"]["questions"]["ok"] == total
    assert f"to ask: {responses - sampled} requests for {(responses - sampled) * rules} ratings" in said.text
    page = (workdir / "report.html").read_text()
    check_page(page)
    assert "Several rules in one call" in page


def test_batch_files_of_calls_go_out_and_results_come_back(files, tmp_path, capsys):
    workdir, batch = tmp_path / "run", config(files, kind="batch", rules_per_call=0)
    with pytest.raises(WaitsForResults):
        run_experiment(batch, workdir)
    (requests,) = (workdir / "batch").glob("requests-*.jsonl")
    rows = [json.loads(line) for line in requests.read_text().splitlines()]
    total = questions_in(workdir)[2]
    assert len(rows) == total / len(tiny_run.POOL) and f"{total:,} questions are in 1 files" in capsys.readouterr().out
    likely = {name: LIKELY[name] for name in letters_in(rows[0]["body"])}
    done = [
        {"custom_id": row["custom_id"], "response": {"status_code": 200, "body": call_reply(likely)}} for row in rows
    ]
    (workdir / "batch/results/a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in done))
    run_experiment(batch, workdir)
    assert json.loads((workdir / "results.json").read_text())["summary"]["questions"]["ok"] == total


def test_batch_files_go_out_and_results_come_back_in_parts(files, tmp_path, capsys):
    workdir, server = tmp_path / "run", FaultyServer()
    with pytest.raises(WaitsForResults) as caught:
        run_experiment(config(files, kind="batch"), workdir)
    assert caught.value.code == 75 and "vllm run-batch" in capsys.readouterr().out
    (requests,) = (workdir / "batch").glob("requests-*.jsonl")
    rows = [json.loads(line) for line in requests.read_text().splitlines()]
    assert len(rows) == questions_in(workdir)[2] and {row["url"] for row in rows} == {CHAT}
    done = [
        {"custom_id": row["custom_id"], "response": {"status_code": 200, "body": server.reply}, "error": None}
        for row in rows
    ]
    results = workdir / "batch" / "results"
    (results / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in done[::2]))
    with pytest.raises(WaitsForResults):
        run_experiment(config(files, kind="batch"), workdir)
    left = [json.loads(line)["custom_id"] for line in requests.read_text().splitlines()]
    assert left == [row["custom_id"] for row in rows[1::2]]
    (results / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in done))
    run_experiment(config(files, kind="batch"), workdir)
    assert json.loads((workdir / "results.json").read_text())["summary"]["questions"]["ok"] == len(rows)
    assert not list((workdir / "batch").glob("requests-*"))


def test_a_table_rates_as_people_did(files, tmp_path):
    workdir = tmp_path / "run"
    run_experiment(config(files, kind="table"), workdir)
    pool, pairs, total = questions_in(workdir)
    given = {(r.prompt, r.response): r for r in iter_rated(files / "rated.jsonl", pool=pool)}
    for c in iter_comparisons(workdir / "rate" / "comparisons.jsonl", pool=pool):
        for i, response in enumerate(c.responses):
            record = given[c.prompt, response]
            np.testing.assert_array_equal(c.mask[i], record.mask)
            np.testing.assert_allclose(c.ratings[i], record.ratings, atol=1e-7)
    results = json.loads((workdir / "results.json").read_text())
    assert results["summary"]["label"] == "human-rated"
    assert sum(results["summary"]["questions"].values()) == total
    assert results["summary"]["problems"].keys() <= {"not in the table"}


def test_a_reward_models_heads_rate_and_are_called_so_and_its_reward_is_probed(files, tmp_path, capsys):
    folder = tiny_reward_model.write(tmp_path / "rm")
    judging = config(files, kind="model", model_path=str(folder), policy=RetryPolicy(failed=1))
    run_experiment(judging, tmp_path / "run")
    pool, pairs, total = questions_in(tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "results.json").read_text())["summary"]
    assert summary["label"] == "model-rated" and summary["questions"]["ok"] == total
    model = RewardModel.from_pretrained(folder)
    found = json.loads((tmp_path / "run" / "results.json").read_text())["over_refusal"]
    assert found == over_refusal_of(model) and found["composed"] == "the model"
    assert [row["name"] for row in found["rules"]] == list(model.rules)
    shown = capsys.readouterr().out
    assert "Over-refusal probe: " in shown and "Over-refusal by rule: violence " in shown
    assert "<h2>Over-refusal</h2>" in (tmp_path / "run" / "report.html").read_text()
    scores = model.scores([c.prompt for c in pairs], [c.responses for c in pairs])
    rated = iter_comparisons(tmp_path / "run" / "rate" / "comparisons.jsonl", pool=pool)
    for c, expected in zip(rated, scores, strict=True):
        np.testing.assert_allclose(c.ratings, np.clip(expected, 0, 1), atol=1e-5)  # both oriented
    with pytest.raises(InputError, match=r"config\.model\.path: is empty"):
        config(files, kind="model", model_path="")


def test_a_local_model_rates_on_all_devices_and_says_what_no_answer_had(files, tmp_path, monkeypatch, said):
    monkeypatch.setitem(PROMPTS, LETTERS.name, LETTERS)  # a byte-level tokenizer has no token for "Yes"
    workdir = tmp_path / "run"
    judging = config(files, kind="local", prompt=LETTERS.name, pool=str(files / "one.yaml"), most_other=1.0)
    run_experiment(judging, workdir)
    _, pairs, _ = questions_in(workdir)
    results = json.loads((workdir / "results.json").read_text())
    told, total = results["summary"], len({(c.prompt, r) for c in pairs for r in c.responses})
    assert told["questions"]["ok"] == total and told["label"] == "judge-rated" and told["identity"]["kind"] == "local"
    assert 0 < told["other"]["mean"] < told["other"]["largest"] < 1 and told["unlisted"] is None
    assert "none of the offered answers" in (workdir / "report.html").read_text()
    assert f"to ask: {total} requests" in said.text and "± 0.000 million prompt tokens" in said.text


def test_other_rules_than_the_datas_and_a_changed_policy_ask_no_more_than_they_must(files, tmp_path):
    server, workdir = FaultyServer(), tmp_path / "run"
    with Running(server) as url:
        run_experiment(config(files, url, pool="safety_10"), workdir)
        asked = sum(server.asked.values())
        assert asked == questions_in(workdir)[2] / 3 * 10
        written = (workdir / "rate" / "manifest.json").stat().st_mtime_ns
        run_experiment(config(files, url, pool="safety_10", prices=(1.0, 1.0), hopeless=7, trial=3), workdir)
        assert (workdir / "rate" / "manifest.json").stat().st_mtime_ns == written, "those change no answer"
        run_experiment(config(files, url, pool="safety_10", policy=RetryPolicy(failed=4)), workdir)
        assert (workdir / "rate" / "manifest.json").stat().st_mtime_ns > written
        assert sum(server.asked.values()) == asked, "a stage that runs again asks the journal first"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "oracle"}, "judge.kind"),
        ({"prompt": "ask.9"}, "judge.prompt"),
        ({"prompt": "numeric.1", "kind": "local"}, "judge.prompt"),
        ({"api": "grpc"}, "judge.api"),
        ({"top": 21}, "judge.top"),
        ({"most_rules": 0}, "judge.most_rules"),
        ({"trial": -1}, "judge.trial"),
        ({"kind": "batch", "trial": 1}, "judge.trial"),
        ({"kind": "table", "prompt": SAFE_AND_HELPFUL.name}, "judge.kind"),
        ({"kind": "local", "prompt": SAFE_AND_HELPFUL.name}, "judge.prompt"),
        ({"prompt": SAFE_AND_HELPFUL.name, "rules_of": "runs/adapter"}, "judge.rules_of"),
        ({"extra": "[1]"}, "judge.extra"),
        ({"extra": "{"}, "judge.extra"),
        ({"extra": "[" * 5000}, "judge.extra"),
        ({"extra": '{"messages": []}'}, "judge.extra, field 'messages'"),
        ({"extra": '{"max_tokens": "many"}'}, "judge.extra, field 'max_tokens'"),
        ({"extra": '{"seed": NaN}'}, "judge.extra"),
        ({"most_other": 0.0}, "judge.most_other"),
        ({"most_other": 1.1}, "judge.most_other"),
        ({"hopeless": -1}, "judge.hopeless"),
        ({"prices": (-1.0, 0.0)}, "judge.prices"),
        ({"rules_per_call": -1}, "judge.rules_per_call"),
        ({"rules_per_call": 0, "prompt": SAFE_AND_HELPFUL.name}, "judge.rules_per_call"),
        ({"rules_per_call": 0, "rules_of": "runs/adapter"}, "judge.rules_per_call"),
        ({"structured": "xml"}, "judge.structured"),
        ({"halo_sample": 50}, "judge.halo_sample"),
        ({"halo_sample": -1, "rules_per_call": 0}, "judge.halo_sample"),
        ({"halo_sample": 50, "rules_per_call": 0, "kind": "batch"}, "judge.halo_sample"),
        ({"key": "sk-abc"}, "judge.server.key_variable"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_field(change, field, files):
    with pytest.raises(InputError, match=rf"config\.{field}: .*Fix: "):
        config(files, **change)
    with contextlib.suppress(InputError):
        validated(RatingConfig(data=DataConfig(source="files", path="x")))
        pytest.fail("a server needs a model's name")


@pytest.mark.parametrize("kind", ["server", "local"])
def test_a_trial_says_how_long_all_will_take_and_its_answers_are_kept(kind, files, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(PROMPTS, LETTERS.name, LETTERS)
    server, workdir = FaultyServer(), tmp_path / "run"
    settings = dict(kind=kind, prompt=LETTERS.name, limit=4, most_other=1.0) if kind == "local" else {}
    with Running(server) as url:
        with pytest.raises(TrialDone) as ended:
            run_experiment(config(files, url, trial=10, **settings), workdir)
        assert ended.value.code == 0
        _, _, total = questions_in(workdir)
        told = re.search(
            r"(\d+) questions answered, ([\d.,]+) per second; the other (\d+) will take about ([\d:]+)",
            capsys.readouterr().out,
        )
        assert int(told[1]) == 12 and int(told[3]) == total - 12, "whole conversations, of three rules each"
        minutes, seconds = map(int, told[4].split(":"))
        assert 60 * minutes + seconds == pytest.approx((total - 12) / float(told[2].replace(",", "")), abs=1.5)
        run_experiment(config(files, url, **settings), workdir)
    if kind == "server":
        assert sum(server.asked.values()) == total, "nothing is asked twice"
    assert json.loads((workdir / "results.json").read_text())["summary"]["questions"]["ok"] == total
