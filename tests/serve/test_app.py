"""The served model without sockets: every dialect gives the right scores, and every refusal has its status."""

import asyncio
import dataclasses
import json
import math
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.reward.scorer import Scorer
from encore_jax.serve.app import App
from encore_jax.serve.metrics import Metrics
from encore_jax.serve.service import Service
from encore_jax.text.rendered import normalize, read_template
from tests.experiments import tiny_model
from tests.reward.test_intervals import rated
from tests.serve.asgi import request
from tests.serve.conftest import ANSWERS, PROMPTS

CLOSE = {"abs": 3e-5}


def ask(app, path, body=None, **options):
    return asyncio.run(request(app.asgi, path, body, **options))


def good(app, path, body, **options):
    reply = ask(app, path, body, **options)
    assert reply.status == 200, reply.body
    return reply.json()


def rendered(prompt, answer, end="<|im_end|>\n"):
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n{answer}{end}"


def test_score_and_explanation(serve, model, expected, rewards):
    items = [{"prompt": prompt, "responses": list(ANSWERS)} for prompt in PROMPTS]
    answer = good(serve(), "/v1/score", {"items": items, "explain": True})
    assert answer["weights"] == pytest.approx(dict(zip(model.rules, model.weights, strict=True)))
    assert len(answer["items"]) == len(PROMPTS)
    for prompt, item in zip(PROMPTS, answer["items"], strict=True):
        right = [rewards[prompt, a] for a in ANSWERS]
        assert item["rewards"] == pytest.approx(right, **CLOSE) and item["best"] == int(np.argmax(right))
        for k, rule in enumerate(model.rules):
            assert item["scores"][rule] == pytest.approx([expected[prompt, a][k] for a in ANSWERS], **CLOSE)
        for reward, parts in zip(item["rewards"], item["explanations"], strict=True):
            assert sum(part["adds"] for part in parts) == pytest.approx(reward, abs=1e-5)
            assert [abs(part["adds"]) for part in parts] == sorted((abs(part["adds"]) for part in parts), reverse=True)
        lead = sorted(item["rewards"])[-1] - sorted(item["rewards"])[-2]
        assert sum(part["adds"] for part in item["decided_by"]) == pytest.approx(lead, abs=1e-5)


def test_what_is_too_long_is_null_in_the_own_dialect(serve, rewards):
    app = serve()
    answer = good(app, "/v1/score", {"prompt": "Hi", "responses": ["No.", "y" * 300]})["items"][0]
    assert answer["rewards"] == [pytest.approx(rewards["Hi", "No."], **CLOSE), None] and answer["best"] is None
    answer = good(app, "/rewards", {"prompts": ["Hi", "Hi"], "completions": ["No.", "y" * 10**6]})
    assert answer["rewards"] == [pytest.approx(rewards["Hi", "No."], **CLOSE), None]
    reply = ask(app, "/classify", {"input": [rendered("Hi", "No."), rendered("Hi", "y" * 300)]})
    assert reply.status == 400 and "text 1" in reply.json()["error"]["where"]


def test_vllm_classify_and_pooling(serve, model, expected, rewards):
    app = serve()
    texts = [rendered(prompt, answer) for prompt in PROMPTS for answer in ANSWERS]
    right = [rewards[prompt, answer] for prompt in PROMPTS for answer in ANSWERS]
    answer = good(app, "/classify", {"model": "tiny", "input": texts, "use_activation": False})
    assert answer["object"] == "list" and answer["id"].startswith("classify-") and answer["model"] == "tiny"
    assert [one["index"] for one in answer["data"]] == list(range(len(texts)))
    assert [one["probs"][-1] for one in answer["data"]] == pytest.approx(right, **CLOSE)
    assert {(one["num_classes"], one["label"]) for one in answer["data"]} == {(1, "reward")}
    tokens = sum(len(tiny_model.tokenizer()(text, add_special_tokens=False)["input_ids"]) for text in texts)
    assert answer["usage"]["prompt_tokens"] == tokens

    one = good(app, "/classify", {"input": texts[0], "use_activation": True})["data"][0]
    assert one["probs"] == pytest.approx([1 / (1 + math.exp(-right[0]))], abs=1e-5)

    messages = [{"role": "user", "content": PROMPTS[1]}, {"role": "assistant", "content": ANSWERS[1]}]
    one = good(app, "/classify", {"model": "tiny/rules", "messages": messages})["data"][0]
    scores = expected[PROMPTS[1], ANSWERS[1]]
    assert one["probs"] == pytest.approx(list(scores), **CLOSE) and one["num_classes"] == 3
    assert one["label"] == model.rules[int(scores.argmax())]

    answer = good(app, "/pooling", {"input": texts[:2]})
    assert answer["id"].startswith("pool-")
    assert [(one["object"], one["data"]) for one in answer["data"]] == [
        ("pooling", pytest.approx([value], **CLOSE)) for value in right[:2]
    ]
    assert good(app, "/pooling", {"messages": messages})["data"][0]["data"] == pytest.approx(
        [rewards[PROMPTS[1], ANSWERS[1]]], **CLOSE
    )


@pytest.mark.parametrize("end", ["", "<|im_end|>", "<|im_end|>\n", "<|im_end|><|im_end|>"])
@pytest.mark.parametrize("padding", ["", "<|im_end|><|im_end|>"])
def test_openrlhf_queries_in_whatever_state_they_come(serve, model, expected, rewards, end, padding):
    pairs = [(prompt, answer) for prompt in PROMPTS[:2] for answer in ANSWERS]
    body = {
        "query": [padding + rendered(*pair, end) for pair in pairs],
        "prompts": [rendered(prompt, "", "") for prompt, _ in pairs],
        "labels": [""] * len(pairs),
    }
    answer = good(serve(), "/get_reward", body)
    assert answer["rewards"] == answer["scores"] == pytest.approx([rewards[pair] for pair in pairs], **CLOSE)
    for k, rule in enumerate(model.rules):  # what OpenRLHF logs, by name
        right = [expected[pair][k] for pair in pairs]
        assert answer["extra_logs"][f"rule/{rule}"] == pytest.approx(right, **CLOSE)


def test_openrlhf_without_a_chat_template(serve, rewards):
    app, pairs = serve(), [(prompt, answer) for prompt in PROMPTS for answer in ANSWERS[:2]]
    body = {"query": [prompt + answer for prompt, answer in pairs], "prompts": [prompt for prompt, _ in pairs]}
    reply = ask(app, "/get_reward", body)  # a plain text is no conversation in the model's template
    assert reply.status == 400 and "chat template" in reply.json()["error"]["message"]
    answer = good(app, "/get_reward", body, query=b"prompts=plain")
    assert answer["rewards"] == pytest.approx([rewards[pair] for pair in pairs], **CLOSE)


def test_the_signature_of_reward_functions_and_each_rules_scores(serve, model, expected, rewards):
    as_messages = [{"role": "user", "content": PROMPTS[0]}], [{"role": "assistant", "content": ANSWERS[0]}]
    body = {"prompts": [PROMPTS[1], as_messages[0]], "completions": [ANSWERS[1], as_messages[1]]}
    right = [rewards[PROMPTS[1], ANSWERS[1]], rewards[PROMPTS[0], ANSWERS[0]]]
    app = serve()
    assert good(app, "/rewards", body) == {"rewards": pytest.approx(right, **CLOSE)}
    body["completions"][1] = "y" * 300
    answer = good(app, "/rewards", body | {"rules": True})
    for k, rule in enumerate(model.rules):
        one = expected[PROMPTS[1], ANSWERS[1]][k]
        assert answer["scores"][rule] == [pytest.approx(one, **CLOSE), None]
        assert answer["weights"][rule] == pytest.approx([model.weights[k]] * 2)


CASES = {
    "not JSON": ("/v1/score", b"{", 400),
    "nothing": ("/v1/score", b"", 400),
    "not UTF-8": ("/v1/score", b'{"prompt": "\xff"}', 400),
    "too deep": ("/v1/score", b"[" * 100_000, 400),
    "huge number": ("/v1/score", b'{"prompt": ' + b"9" * 5000 + b"}", 400),
    "a list": ("/v1/score", [], 400),
    "no responses": ("/v1/score", {"prompt": "Hi"}, 400),
    "empty responses": ("/v1/score", {"prompt": "Hi", "responses": []}, 400),
    "number as response": ("/v1/score", {"prompt": "Hi", "responses": [3]}, 400),
    "lone surrogate": ("/v1/score", b'{"prompt": "Hi", "responses": ["\\ud800"]}', 400),
    "lone surrogate in a text": ("/classify", b'{"input": "\\ud800"}', 400),
    "explain is text": ("/v1/score", {"prompt": "Hi", "responses": ["a"], "explain": "yes"}, 400),
    "unknown role": ("/v1/score", {"prompt": [{"role": "god", "content": "Hi"}], "responses": ["a"]}, 400),
    "ends with an answer": ("/v1/score", {"prompt": [{"role": "assistant", "content": "Hi"}], "responses": ["a"]}, 400),
    "too many texts": ("/v1/score", {"prompt": "Hi", "responses": ["a"] * 101}, 413),
    "another model": ("/classify", {"model": "gpt", "input": "Hi"}, 400),
    "model is a list": ("/classify", {"model": ["tiny"], "input": "Hi"}, 400),
    "no input": ("/classify", {"input": []}, 400),
    "token ids": ("/classify", {"input": [1, 2, 3]}, 400),
    "truncation": ("/classify", {"input": rendered("Hi", "No."), "truncate_prompt_tokens": 5}, 400),
    "another task": ("/pooling", {"input": rendered("Hi", "No."), "task": "embed"}, 400),
    "no answer in it": ("/classify", {"input": "<|im_start|>user\nHi<|im_end|>\n"}, 400),
    "messages without an answer": ("/classify", {"messages": [{"role": "user", "content": "Hi"}]}, 400),
    "fewer completions": ("/rewards", {"prompts": ["a", "b"], "completions": ["c"]}, 400),
    "no such page": ("/v2/score", {}, 404),
}


def test_bad_requests_get_a_reason_and_harm_nobody(serve, rewards):
    app = serve(texts=100)
    for name, (path, body, status) in CASES.items():
        reply = ask(app, path, body)
        assert reply.status == status, (name, reply)
        assert reply.json()["error"]["message"], name
    reply = ask(app, "/v1/score", method="GET")
    assert reply.status == 405 and "POST to /v1/score" in reply.json()["error"]["fix"]
    answer = good(app, "/v1/score", {"prompt": "Hi", "responses": ["No."]})
    assert answer["items"][0]["rewards"] == pytest.approx([rewards["Hi", "No."]], **CLOSE)


def test_size_limits(serve):
    app = serve(body_bytes=1000, max_waiting_tokens=300)
    big = {"prompt": "Hi", "responses": ["a" * 1000]}
    assert ask(app, "/v1/score", big).status == 413
    assert ask(app, "/v1/score", big, headers={"Content-Length": "1000000"}).status == 413
    assert ask(app, "/v1/score", b"", headers={"Content-Length": "x" * 50}).status == 400
    many = {"prompt": "Hi", "responses": ["a" * 90, "b" * 90, "c" * 90]}
    reply = ask(app, "/v1/score", many)
    assert reply.status == 413 and "tokens" in reply.json()["error"]["message"]


def test_token(serve):
    app, body = serve(token="secret"), {"prompt": "Hi", "responses": ["No."]}
    for headers in (
        {},
        {"Authorization": "secret"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer \xe9"},
    ):
        for path, method in (("/v1/score", "POST"), ("/metrics", "GET"), ("/v1/models", "GET")):
            assert ask(app, path, body, method=method, headers=headers).status == 401
    assert ask(app, "/v1/score", body, headers={"Authorization": "Bearer secret"}).status == 200
    assert ask(app, "/health", method="GET").status == 200


def test_health_models_and_metrics(serve):
    app = serve()
    good(app, "/v1/score", {"prompt": "Hi", "responses": ["No.", "Yes."]})
    ask(app, "/v1/score", b"{")
    assert ask(app, "/health", method="GET").json() == {"status": "ok", "model": "tiny"}
    assert ask(app, "/live", method="GET").json() == {"status": "alive"}
    assert [ask(serve(start=False), path, method="GET").status for path in ("/health", "/live")] == [500, 500]
    models = ask(app, "/v1/models", method="GET").json()["data"]
    assert [one["id"] for one in models] == ["tiny", "tiny/rules"]
    page = ask(app, "/metrics", method="GET").body.decode()
    lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert lines['encore_requests_total{path="/v1/score",status="200"}'] == "1.0"
    assert lines['encore_requests_total{path="/v1/score",status="400"}'] == "1.0"
    assert lines["encore_texts_total"] == "2.0" and lines["encore_requests_running"] == "0.0"
    assert float(lines["encore_tokens_useful_total"]) < float(lines["encore_tokens_processed_total"]) == 128


def test_too_much_waiting_is_refused_and_forgotten_work_makes_room(serve):
    app = serve(start=False, max_waiting_tokens=400, seconds=5)
    body = {"prompt": "Hi", "responses": ["a" * 90, "b" * 90]}

    async def scenario():
        waits = asyncio.create_task(request(app.asgi, "/v1/score", body, leave=0.5))
        await asyncio.sleep(0.2)
        full = await request(app.asgi, "/v1/score", body)
        assert full.status == 429 and int(full.headers["retry-after"]) >= 1
        assert (await waits).status == 499
        assert app.service.batcher.waiting_tokens == 0  # the client left, and its work with it
        app.service.batcher.start()
        assert (await request(app.asgi, "/v1/score", body)).status == 200

    asyncio.run(scenario())
    app.service.close()


def test_what_takes_too_long_is_given_up(serve):
    app = serve(start=False, seconds=0.2)
    reply = ask(app, "/v1/score", {"prompt": "Hi", "responses": ["No."]})
    assert reply.status == 504 and app.service.batcher.waiting_tokens == 0


def test_draining_finishes_what_was_accepted_and_refuses_the_rest(serve, rewards):
    app, body = serve(start=False), {"prompt": "Hi", "responses": ["No."]}

    async def scenario():
        accepted = asyncio.create_task(request(app.asgi, "/v1/score", body))
        await asyncio.sleep(0.1)
        drained = asyncio.create_task(app.drain())
        await asyncio.sleep(0.05)
        assert (await request(app.asgi, "/v1/score", body)).status == 503
        assert (await request(app.asgi, "/health", method="GET")).status == 503
        assert (await request(app.asgi, "/live", method="GET")).status == 200  # not worth a restart
        assert not drained.done()
        app.service.batcher.start()
        answer = (await accepted).json()
        assert answer["items"][0]["rewards"] == pytest.approx([rewards["Hi", "No."]], **CLOSE)
        await asyncio.wait_for(drained, 5)

    asyncio.run(scenario())
    app.service.close()


def test_a_failing_model_fails_its_requests_and_no_others(serve, scorer, monkeypatch, rewards):
    app, body = serve(), {"prompt": "Hi", "responses": ["No."]}
    with monkeypatch.context() as broken:
        broken.setattr(type(scorer), "dispatch", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
        assert ask(app, "/v1/score", body).status == 500
    answer = good(app, "/v1/score", body)
    assert answer["items"][0]["rewards"] == pytest.approx([rewards["Hi", "No."]], **CLOSE)


class Panic(BaseException):
    """As the tokenizers' own: no `Exception`."""


@pytest.mark.parametrize("kind", [MemoryError, KeyboardInterrupt, SystemExit, StopIteration, GeneratorExit, Panic])
def test_whatever_fails_in_either_thread_is_a_500_and_no_hang(serve, scorer, monkeypatch, rewards, kind):
    app, body = serve(seconds=20, remember=0), {"prompt": "Hi", "responses": ["No."]}

    def fail(*_):
        raise kind("injected")

    for owner, name in ((app.service, "_one"), (app.service, "_tokenized"), (type(scorer), "dispatch")):
        with monkeypatch.context() as broken:
            broken.setattr(owner, name, fail)
            assert ask(app, "/v1/score", body).status == 500
        assert app.open == 0 and good(app, "/v1/score", body)
    assert ask(app, "/health", method="GET").status == 200


@pytest.mark.parametrize("spoilt", ["scores", "weights"])
def test_rewards_that_are_no_numbers_are_a_500_that_says_so(model, monkeypatch, spoilt):
    kernel = np.full_like(model.kernel, 3e38 if spoilt == "scores" else 3e38 / model.kernel.shape[0])
    spoilt_model = dataclasses.replace(model, kernel=kernel)
    if spoilt == "weights":
        passport = dataclasses.replace(model.passport, weights=(3e38,) * len(model.rules), entropy=())
        spoilt_model = dataclasses.replace(spoilt_model, passport=passport)
    service = Service(Scorer(spoilt_model, tokens_per_batch=1, devices=jax.devices()[:1]), "tiny", 1000)
    service.batcher.start()
    for path, body in (
        ("/v1/score", {"prompt": "Hi", "responses": ["No.", "Yes."]}),
        ("/rewards", {"prompts": ["Hi"], "completions": ["No."]}),
    ):
        reply = ask(SimpleNamespace(asgi=App(service, Metrics()).asgi), path, body)
        assert reply.status == 500 and "not finite" in reply.json()["error"]["message"]
    service.close()


def test_equal_texts_get_one_score_in_a_request_and_later(serve):
    texts = ["No.", "Yes.", "No.", "Certainly, " * 5, "No."] * 6
    app = serve()
    first = good(app, "/v1/score", {"prompt": "Hi", "responses": texts})["items"][0]["rewards"]
    assert len(set(first)) == 3
    body = {"prompts": ["Hi"] * 40, "completions": [f"{i} " * 9 for i in range(38)] + ["No.", "Yes."]}
    assert good(app, "/rewards", body)["rewards"][-2:] == first[:2]
    assert good(app, "/classify", {"input": rendered("Hi", "No.")})["data"][0]["probs"] == first[:1]


def test_what_the_template_prints_is_found_out():
    template = read_template(tiny_model.tokenizer())
    assert template == ("", "<|im_start|>assistant\n", "<|im_end|>\n", ("<|im_end|>",))
    with_bos = tiny_model.tokenizer()
    with_bos.bos_token, with_bos.chat_template = "<|im_start|>", "{{ bos_token }}" + tiny_model.TEMPLATE
    assert normalize("<|im_start|>assistant\nNo.", read_template(with_bos))[0].startswith("<|im_start|>")
    with_bos.chat_template = "{% for message in messages %}{{ message['content'] | upper }}{% endfor %}"
    with pytest.raises(InputError, match="as they are"):
        read_template(with_bos)


def test_answers_are_json(serve):
    answer = ask(serve(), "/v1/score", {"prompt": "Hi", "responses": ["No."], "explain": True})
    json.loads(answer.body, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_intervals_are_the_models_and_come_only_when_asked_for(serve, model):
    calibrated = model.calibrated(rated())
    app = serve(scorer=Scorer(calibrated, tokens_per_batch=256, devices=jax.devices()[:1]))
    body = {"prompt": "Hi", "responses": ["No.", "Sure.", "y" * 300]}
    answer = good(app, "/v1/score", body | {"intervals": True})
    item, plain = answer["items"][0], good(app, "/v1/score", body)
    right = calibrated.rewards(["Hi"], [["No.", "Sure."]], intervals=True)[0]
    by_rule = calibrated.scores(["Hi"], [["No.", "Sure."]], intervals=True)[0]
    for end in ("lower", "upper"):
        assert item[end] == [*(pytest.approx(value, **CLOSE) for value in getattr(right, end).tolist()), None]
        for k, rule in enumerate(model.rules):
            expected = pytest.approx(getattr(by_rule, end)[:, k].tolist(), **CLOSE)
            assert item[f"scores_{end}"][rule][:2] == expected and item[f"scores_{end}"][rule][2] is None
    assert answer["coverage"] == 0.9 and answer["notes"] == []
    assert item["rewards"] == plain["items"][0]["rewards"] and not {"lower", "scores_lower"} & plain["items"][0].keys()
    asked = {"prompts": ["Hi"], "completions": ["No."]}
    reply = good(app, "/rewards", asked | {"intervals": True})
    assert reply["lower"] == [pytest.approx(item["lower"][0], **CLOSE)] and "scores_lower" not in reply
    assert good(app, "/rewards", asked | {"intervals": True, "rules": True})["scores_upper"].keys() == set(model.rules)
    assert good(app, "/rewards", asked).keys() == {"rewards"}
    [facts, _] = [one["intervals"] for one in ask(app, "/v1/models", method="GET").json()["data"]]
    assert facts == json.loads(json.dumps(calibrated.intervals.facts()))


def test_ends_at_infinity_are_null_and_a_model_without_intervals_says_so(serve, model):
    few = model.calibrated(list(rated())[:4])
    app = serve(scorer=Scorer(few, tokens_per_batch=256, devices=jax.devices()[:1]))
    answer = good(app, "/v1/score", {"prompt": "Hi", "responses": ["No."], "intervals": True})
    assert answer["items"][0]["lower"] == answer["items"][0]["upper"] == [None] and "9 are needed" in answer["notes"][0]
    for path, body in (("/v1/score", {"prompt": "Hi", "responses": ["No."]}),
                       ("/rewards", {"prompts": ["Hi"], "completions": ["No."]})):  # fmt: skip
        reply = ask(serve(), path, body | {"intervals": True})
        assert reply.status == 400 and reply.json()["error"]["where"] == "intervals"
        assert "nobody has calibrated it" in reply.json()["error"]["message"]
        assert ask(serve(), path, body | {"intervals": "yes"}).status == 400
