"""ArmoRM in the scorer, the batch scorer and the server: the reference's rewards, scores and weights."""

import asyncio
import json

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from encore_jax.cli import score
from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.model.decoder import Backbone
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.scorer import Scorer
from encore_jax.reward.sequences import token_sequences
from encore_jax.serve.app import App
from encore_jax.serve.metrics import Metrics
from encore_jax.serve.service import Service
from tests.goldens import armorm, tiny
from tests.serve.asgi import request

BEGIN = "<|im_start|>assistant\n"
CLOSE = {"abs": 1e-4}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return RewardModel.from_pretrained(armorm.save(tmp_path_factory.mktemp("gated") / "rm"))


@pytest.fixture(scope="module")
def golden():
    """What torch says: heads, gate, reward; and the weights of the plain scores that follow from the gate."""
    stored = dict(np.load(tiny.FOLDER / "armorm.npz"))
    return stored | {"weights": stored["gate"] @ armorm.weights()["reward_transform_matrix"].T}


def alone(model, texts):
    """Scores and weights, each text in a row of its own; the gate in NumPy, from where the last answer begins."""
    drawn, pattern = armorm.weights(), armorm.pattern()
    apply, pairs = jax.jit(Backbone(model.cfg).apply), []
    for tokens in token_sequences(model.tokenizer, texts, "last", None):
        row, size = np.zeros((3, 1, 256), np.int32), len(tokens)
        row[0, 0, :size], row[1, 0, :size], row[2, 0] = tokens, 1, np.arange(256)
        states = np.asarray(apply({"params": model.params}, row[0], row[1], 0 * row[1], row[2]))[0]
        at = max(i for i in range(size) if tokens[i : i + len(pattern)].tolist() == pattern)
        x = states[at]
        for i in range(armorm.HIDDEN + 1):
            x = drawn[f"gating.layers.{i}.weight"] @ x + drawn[f"gating.layers.{i}.bias"]
            x = np.maximum(x, 0) if i < armorm.HIDDEN else x
        gate = np.exp(x / armorm.TEMPERATURE - np.max(x / armorm.TEMPERATURE))
        gate *= drawn["gating.logit_scale"][0] / gate.sum()
        pairs.append((drawn["regression_layer.weight"] @ states[size - 1], drawn["reward_transform_matrix"] @ gate))
    return tuple(map(np.stack, zip(*pairs, strict=True)))


@pytest.mark.parametrize("devices", [1, 8])
def test_however_texts_are_packed_the_gate_reads_their_own_prompt(model, devices):
    answers = ["No.", "Sure: turn it.", f"He said: {BEGIN}No.", f"{BEGIN}{BEGIN}", ""]
    texts = [((Message("user", f"Question {i}?"),), answer) for i in range(4) for answer in answers]
    scorer = Scorer(model, tokens_per_batch=1024, devices=jax.devices()[:devices])
    got, (scores, weights) = scorer.scored(scorer.run_texts(texts)), alone(model, texts)
    np.testing.assert_allclose(got.scores, scores, atol=1e-4)
    np.testing.assert_allclose(got.weights, weights, atol=1e-4)
    np.testing.assert_allclose(got.rewards, (scores * weights).sum(1), atol=1e-4)
    per_prompt = got.weights.reshape(4, 5, -1)
    np.testing.assert_allclose(per_prompt[:, [0, 1, 4]], per_prompt[:, :1].repeat(3, 1), atol=1e-6)
    assert np.abs(per_prompt[:, 2] - per_prompt[:, 0]).max() > 0.01  # an answer that begins anew is read anew


def test_nothing_is_compiled_after_warming_up(model):
    scorer = Scorer(model, tokens_per_batch=256, devices=jax.devices()[:1])
    scorer.warm_up()
    compiled = scorer._program.values._cache_size()
    assert compiled >= len(scorer.shapes)
    scorer.run_texts([((Message("user", "Hi"),), "No.")])
    assert scorer._program.values._cache_size() == compiled


def test_the_batch_scorer_writes_rewards_scores_and_weights(model, golden, tmp_path):
    rows = [{"prompt": p, "responses": r} for p, r in zip(armorm.PROMPTS, armorm.RESPONSES, strict=True)]
    rows[1]["responses"] = ["x" * 5000, *rows[1]["responses"]]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    counts = score.score_file(model, tmp_path / "rows.jsonl", tmp_path / "out.parquet")
    assert (counts["responses"], counts["too_long"]) == (4, 1)
    table = pq.read_table(tmp_path / "out.parquet").to_pydict()

    def column(name):
        (first, second), (long, third) = table[name]
        assert long is None
        return [first, second, third]

    np.testing.assert_allclose(column("rewards"), golden["reward"], atol=1e-4)
    for k, rule in enumerate(model.rules):
        np.testing.assert_allclose(column(f"score:{rule}"), golden["heads"][:, k], atol=1e-4)
        np.testing.assert_allclose(column(f"weight:{rule}"), golden["weights"][:, k], atol=1e-4)
    assert table["best"] == [int(golden["reward"][:2].argmax()), None]


@pytest.fixture
def app(model):
    service = Service(Scorer(model, tokens_per_batch=512, devices=jax.devices()[:1]), "armo", 100_000)
    service.batcher.start()
    yield App(service, Metrics())
    service.close()


def test_the_server_serves_it_in_every_dialect(app, model, golden):
    def ask(path, body, status=200):
        reply = asyncio.run(request(app.asgi, path, body, method="GET" if body is None else "POST"))
        assert reply.status == status, reply.body
        return reply.json()

    pairs = [(p, r) for p, group in zip(armorm.PROMPTS, armorm.RESPONSES, strict=True) for r in group]
    rewards, rules = golden["reward"].tolist(), model.rules
    texts = [f"<|im_start|>user\n{p}<|im_end|>\n{BEGIN}{r}<|im_end|>\n" for p, r in pairs]
    body = {"prompts": [p for p, _ in pairs], "completions": [r for _, r in pairs]}
    assert ask("/rewards", body)["rewards"] == pytest.approx(rewards, **CLOSE)
    assert [one["probs"] for one in ask("/classify", {"input": texts})["data"]] == [
        pytest.approx([r], **CLOSE) for r in rewards
    ]
    by_rule = ask("/pooling", {"input": texts, "model": "armo/rules"})["data"]
    np.testing.assert_allclose([one["data"] for one in by_rule], golden["heads"], atol=1e-4)
    assert ask("/get_reward", {"query": texts, "prompts": texts})["rewards"] == pytest.approx(rewards, **CLOSE)

    items = [{"prompt": p, "responses": r} for p, r in zip(armorm.PROMPTS, armorm.RESPONSES, strict=True)]
    answer = ask("/v1/score", {"items": items, "explain": True})
    assert answer["weights"] is None
    assert [value for item in answer["items"] for value in item["rewards"]] == pytest.approx(rewards, **CLOSE)
    weights = [item["weights"][rules[3]] for item in answer["items"]]
    assert [value for group in weights for value in group] == pytest.approx(golden["weights"][:, 3].tolist(), **CLOSE)
    for row, parts in enumerate(part for item in answer["items"] for part in item["explanations"]):
        assert sum(part["adds"] for part in parts) == pytest.approx(rewards[row], **CLOSE)
        for part in parts:
            assert part["weight"] == pytest.approx(golden["weights"][row, rules.index(part["rule"])], **CLOSE)
            assert part["adds"] == pytest.approx(part["weight"] * part["score"], abs=1e-5)
    lead = sum(part["adds"] for part in answer["items"][0]["decided_by"])
    assert lead == pytest.approx(abs(rewards[0] - rewards[1]), abs=2e-4)
    about = ask("/v1/models", None)["data"][0]
    assert tuple(about["rules"]) == rules and about["weights"] is None and about["passport"]["rules"] == list(rules)


def test_a_conversation_whose_answer_begins_unread_is_refused_alone(model):
    """As where a tokenizer joins the header's last newline to the answer's first."""
    scorer = Scorer(model, tokens_per_batch=512, devices=jax.devices()[:1])
    with pytest.raises(InputError, match=r"text 1: no answer begins in it.*chat template"):
        scorer.check(armorm.conversations()[0][:5], "text 1")
