"""Rating runs that cannot go on: what a judge says, which field mends it, and what is refused at once."""

import json
import re

import pytest

from encore_jax.errors import InputError
from encore_jax.http.replies import ERROR_BODY
from encore_jax.judge.pairwise import SAFE_AND_HELPFUL
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.reading import mostly_other
from encore_jax.judge.settings import RetryPolicy
from encore_jax.recipes.run import run_experiment
from tests.experiments.rating_runs import SENTINEL, VARIABLE, Saying, config, write_files
from tests.judge.faulty_server import FaultyServer, Running, chat
from tests.raw_server import unused_port


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("files"))


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
        run_experiment(config(files, f"http://127.0.0.1:{unused_port()}", patience=1.0), tmp_path / "run")
    with pytest.raises(InputError, match="no contact after"):
        run_experiment(config(files, f"http://127.0.0.1:{unused_port()}", patience=1.0), tmp_path / "run")


def test_a_key_in_extra_is_refused_before_anything_is_written(files, monkeypatch):
    monkeypatch.setenv(VARIABLE, SENTINEL)
    for extra in (f'{{"user": "{SENTINEL}"}}', f'{{"x": ["Bearer {SENTINEL}"]}}'):
        with pytest.raises(InputError, match=r"config\.judge\.extra: holds the API key") as caught:
            config(files, key=VARIABLE, extra=extra)
        assert SENTINEL not in str(caught.value)
