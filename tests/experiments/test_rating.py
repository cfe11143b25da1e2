"""Rating runs from files to a report: by a server that dies, by batch files, from a table; ready for training."""

import contextlib
import dataclasses
import json
import logging
import re

import numpy as np
import pytest

from encore_jax.data import iter_comparisons, iter_rated
from encore_jax.errors import InputError
from encore_jax.evaluation.probe_model import over_refusal_of
from encore_jax.http.replies import ERROR_BODY
from encore_jax.http.settings import RetrySettings, ServerSettings
from encore_jax.judge.pairwise import PAIR_PROMPTS, SAFE_AND_HELPFUL, PairPrompt
from encore_jax.judge.prompts import PROMPTS, YES_NO_IRRELEVANT, Prompt
from encore_jax.judge.question import conversation_id
from encore_jax.judge.reading import mostly_other
from encore_jax.judge.request import CHAT
from encore_jax.judge.settings import RetryPolicy
from encore_jax.recipes.config import DataConfig, ModelConfig
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages import baselines
from encore_jax.recipes.stages.answering import TrialDone, WaitsForResults
from encore_jax.reward.reward_model import RewardModel
from encore_jax.rules import RulePool
from tests.experiments import tiny_reward_model, tiny_run
from tests.judge.call_reply import call_reply, letters_in
from tests.judge.faulty_server import FaultyServer, Running, chat
from tests.judge.test_call_runs import LIKELY, CallServer
from tests.raw_server import unused_port
from tests.report.page_checks import check_page

LETTERS = Prompt(
    name="letters.1", system="Say A, B or C.", head="Read:", question="Is it true? {rule}", answers=("A", "B", "C")
)
VARIABLE, SENTINEL = "ENCORE_TEST_JUDGE_KEY", "sk-sentinel-0123456789"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tiny_run.write_files(tmp_path_factory.mktemp("files"))
    RulePool(tiny_run.POOL.rules[:1], "one").to_yaml(folder / "one.yaml")
    return folder


@pytest.fixture(autouse=True)
def said(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def config(files, url="http://127.0.0.1:9", limit=12, **judge):
    data = DataConfig(
        source="files",
        pool=str(files / "pool.yaml"),
        path=str(files / "pairs.jsonl"),
        ratings_path=str(files / "rated.jsonl"),
        ratings_format="encore",
        limit=limit,
    )
    retry = RetrySettings(first_wait=0.01, longest_wait=0.05, patience=1.0, tries=3)
    server = ServerSettings(urls=(url,), concurrency=8, timeout=5.0, retry=retry, key_variable=judge.pop("key", ""))
    model = ModelConfig(path=judge.pop("model_path", str(files / "model")), buckets=(256,), tokens_per_batch=512)
    return validated(
        RatingConfig(name="rate", data=data, model=model, judge=JudgeConfig(model="m", server=server, **judge))
    )


def questions_in(workdir):
    pool = RulePool.from_yaml(workdir / "ingest" / "pool.yaml")
    pairs = list(iter_comparisons(workdir / "ingest" / "comparisons.jsonl", pool=pool))
    return pool, pairs, len({(c.prompt, r) for c in pairs for r in c.responses}) * len(pool)


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


class Saying(FaultyServer):
    """Always sends the same reply."""

    def __init__(self, body, status=200):
        super().__init__()
        self.reply, self.status = body, status

    async def answer(self, body):
        from aiohttp import web

        return web.json_response(self.reply, status=self.status)


def cut(text):
    body = chat({}, text)
    body["choices"][0]["finish_reason"] = "length"
    return body


WORDS = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
NOTHING = {
    "an error of every request": ({"error": {"message": WORDS}}, 400, {"prompt": "numeric.1"}, "HTTP 400", WORDS),
    "no system role": (
        {"error": {"message": "System role not supported"}}, 400, {"prompt": "numeric.1"}, "HTTP 400", "System role",
    ),
    "an error with status 200": (
        {"error": {"message": "Provider \x1b returned error"}}, 200, {}, ERROR_BODY, "Provider \\x1b returned error",
    ),
    "cut off": (cut("I rate this 0."), 200, {"prompt": "numeric.1"}, "cut off after 8 tokens", "I rate this 0."),
    "thinking": (chat({"<think>": 0.9999, "Yes": 1e-6}, "<think>"), 200, {}, mostly_other(0.5), "<think>"),
    "a verdict cut off": (
        cut("Were A safer: [[A]], but"), 200, {"prompt": SAFE_AND_HELPFUL.name}, "cut off after 256 tokens", "Were A",
    ),
}  # fmt: skip
FIXES = {
    "an error of every request": """--config.judge.extra='{"max_completion_tokens": 64}'""",
    "no system role": "--config.judge.system_role=false",
    "cut off": """--config.judge.extra='{"max_tokens": 64}'""",
    "thinking": "without reasoning",
}


@pytest.mark.parametrize("name", NOTHING)
def test_where_nothing_is_rated_the_judges_own_words_are_shown_and_the_run_fails(name, files, tmp_path, capsys):
    body, status, judge, problem, words = NOTHING[name]
    judging = lambda url: config(files, url, limit=3, pool=str(files / "one.yaml"), **judge)  # noqa: E731
    server, asked = Saying(body, status), []
    with Running(server) as url:
        for _ in range(2):
            with pytest.raises(InputError) as caught:
                run_experiment(judging(url), tmp_path / "run")
            shown = capsys.readouterr().out
            row = f"| without a rating: {problem} |"
            assert row in shown and words in shown.split(row)[1].splitlines()[0]
            assert "has a rating" in str(caught.value) and problem in str(caught.value) and words in str(caught.value)
            assert FIXES.get(name, "") in str(caught.value) and "policy.failed=6" in str(caught.value)
            asked.append(sum(server.asked.values()))
    assert asked[0] == asked[1], "and nothing is asked again that policy calls settled"
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert words in results["summary"]["words"][problem]
    if "verdict" not in name:
        page = (tmp_path / "run" / "report.html").read_text()
        assert words.replace("'", "&#39;").replace("<", "&lt;").replace(">", "&gt;") in page and "\x1b" not in page


def test_a_field_can_be_renamed_or_left_out_for_a_server_that_refuses_it(files, tmp_path):
    class Picky(FaultyServer):
        async def answer(self, body):
            from aiohttp import web

            if "max_tokens" in body or "temperature" in body:
                return web.json_response({"error": {"message": "Use 'max_completion_tokens' instead."}}, status=400)
            assert body["max_completion_tokens"] == 64
            return web.json_response(chat({}, "0.7"))

    extra = '{"max_completion_tokens": 64, "temperature": null}'
    with Running(Picky()) as url:
        run_experiment(config(files, url, limit=3, prompt="numeric.1", extra=extra), tmp_path / "run")
    told = json.loads((tmp_path / "run" / "results.json").read_text())["summary"]
    assert told["questions"]["ok"] > 0 and told["questions"]["failed"] == 0
    assert told["decoding"]["max_completion_tokens"] == 64 and "max_tokens" not in told["decoding"]


def test_a_judge_without_a_system_role_is_asked_in_the_users_turn(files, tmp_path):
    class Gemma(FaultyServer):
        async def answer(self, body):
            from aiohttp import web

            if [turn["role"] for turn in body["messages"]] != ["user"]:
                return web.json_response({"error": {"message": "System role not supported"}}, status=400)
            return await super().answer(body)

    def judging(url, **more):
        return config(files, url, limit=3, journal=str(tmp_path / "journal"), **more)

    with Running(Gemma()) as url:
        run_experiment(judging(url, system_role=False), tmp_path / "run")
        with pytest.raises(InputError, match="--config.judge.system_role=false"):
            run_experiment(judging(url), tmp_path / "usual")
    told = json.loads((tmp_path / "run" / "results.json").read_text())["summary"]
    assert told["questions"]["failed"] == 0 and told["prompt"] == YES_NO_IRRELEVANT.in_user_turn().digest


def test_a_hundred_in_a_row_end_a_run(files, tmp_path):
    server = Saying(chat({"**": 0.99, " Yes": 0.002}, "**"))
    with Running(server) as url, pytest.raises(InputError, match="none of the first 20 answers holds a rating"):
        run_experiment(config(files, url, hopeless=20), tmp_path / "run")
    assert 20 <= sum(server.asked.values()) <= 20 + 2 * 8 and config(files).judge.hopeless == 100


def test_a_mended_judge_is_asked_again_only_where_that_is_said(files, tmp_path, capsys):
    with Running(Saying(chat({"**": 0.99, " Yes": 0.002}, "**"))) as url:
        with pytest.raises(InputError, match="run again with .*policy.unparsable=2: without it answers .* are kept"):
            run_experiment(config(files, url, hopeless=20), tmp_path / "run")
    with Running(Saying(chat({" Yes": 0.9, " No": 0.1}, " Yes"))) as url:
        run_experiment(config(files, url), tmp_path / "run")
        told = capsys.readouterr().out
        assert re.search(r"Warning: \d+ of \d+ questions have no rating .*policy.unparsable=2 then asks", told), told
        run_experiment(config(files, url, policy=RetryPolicy(unparsable=2)), tmp_path / "run")
        assert "Warning:" not in capsys.readouterr().out


def test_a_trial_without_a_single_rating_fails(files, tmp_path):
    with (
        Running(Saying(chat({}, "fine"))) as url,
        pytest.raises(InputError, match="of the trial has a rating: .*no log-prob"),
    ):
        run_experiment(config(files, url, trial=5), tmp_path / "run")


def test_nobody_there_is_one_line(files, tmp_path):
    with pytest.raises(InputError, match="no contact after .*connection refused"):
        run_experiment(config(files, f"http://127.0.0.1:{unused_port()}"), tmp_path / "run")
    with pytest.raises(InputError, match="no contact after"):
        run_experiment(config(files, f"http://127.0.0.1:{unused_port()}"), tmp_path / "run")


def test_a_key_in_extra_is_refused_before_anything_is_written(files, monkeypatch):
    monkeypatch.setenv(VARIABLE, SENTINEL)
    for extra in (f'{{"user": "{SENTINEL}"}}', f'{{"x": ["Bearer {SENTINEL}"]}}'):
        with pytest.raises(InputError, match=r"config\.judge\.extra: holds the API key") as caught:
            config(files, key=VARIABLE, extra=extra)
        assert SENTINEL not in str(caught.value)


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
