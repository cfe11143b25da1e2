"""A reward model as judge: its scores, as any judge would give them, and never unlabelled."""

import numpy as np
import pytest

from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.judge.devices.model import NO_HEAD, TOO_LONG, ModelJudge
from encore_jax.judge.question import Key, Question, Status
from encore_jax.reward.passport import Passport
from encore_jax.reward.reward_model import RewardModel
from encore_jax.rules import Rule
from encore_jax.text.tokenizer import template_digest
from tests.experiments import tiny_model

RULES = [Rule("kind", "It is kind."), Rule("rude", "It is rude.", -1), Rule("short", "It is short.")]
TEXTS = [((Message("user", "Hi"),), "Hello!"), ((Message("user", "Hi"),), "No."), ((Message("user", "Why?"),), "So.")]


def reward_model(bias=0.5, scale=0.1):
    tokenizer, cfg = tiny_model.tokenizer(), tiny_model.decoder_config()
    passport = Passport(
        model="tiny", model_sha256="a" * 64, template_sha256=template_digest(tokenizer), bos="chat template",
        pooling="last", pad_id=tokenizer.pad_token_id, dtype="float32", max_length=128,
        rules=("kind", "rude"), pool_sha256="c" * 64, data_revision="d" * 64, weights=(0.5, 0.5),
    )  # fmt: skip
    kernel = np.float32(scale) * np.random.default_rng(0).standard_normal((cfg.width, 2)).astype(np.float32)
    offset = np.full(2, bias, np.float32)
    return RewardModel(cfg, tiny_model.draw(), tokenizer, kernel, offset, passport, buckets=(64, 128))


def questions(texts=TEXTS, rules=RULES[:2]):
    return [
        Question(Key(f"{i:032x}", 0, rule.name), prompt, response, rule)
        for rule in rules
        for i, (prompt, response) in enumerate(texts)
    ]


@pytest.mark.parametrize("window", [4, 4096])
def test_ratings_are_the_heads_scores_turned_as_the_rule_says(window):
    model = reward_model()
    answers = list(ModelJudge(model, "tiny", window=window).answers(questions()))
    scores = np.concatenate(model.scores([p for p, _ in TEXTS], [[r] for _, r in TEXTS]))
    assert len(answers) == 6
    for question, answer in answers:
        i, k = int(question.key.conversation, 16), model.rules.index(question.rule.name)
        assert answer.evidence["score"] == pytest.approx(scores[i, k], abs=1e-5)
        oriented = np.clip(scores[i, k], 0, 1)
        assert answer.rating == pytest.approx(oriented if k == 0 else 1 - oriented, abs=1e-5)
        assert answer.status is Status.OK and answer.relevance is None


def test_what_cannot_be_rated_fails_by_kind():
    long = ((Message("user", "x" * 200),), "y")
    found = {
        (q.response, q.rule.name): a
        for q, a in ModelJudge(reward_model(), "tiny").answers(questions([*TEXTS, long], RULES))
    }
    assert {a.problem for (response, _), a in found.items() if response == "y"} == {TOO_LONG}
    assert {a.problem for (response, rule), a in found.items() if response != "y" and rule == "short"} == {NO_HEAD}
    assert len(found) == 12
    with pytest.raises(InputError, match="not finite"):
        next(ModelJudge(reward_model(scale=1e38), "tiny").answers(questions()))


def test_it_is_always_called_model_rated_and_known_by_its_heads():
    one, other = ModelJudge(reward_model(), "tiny").identity, ModelJudge(reward_model(0.4), "tiny").identity
    assert one.label == "model-rated" and one.kind == "model" and one != other
    assert one.model.startswith("tiny@") and one.scale == (0.0, 1.0), "heads rate from 0 to 1"
    assert one == ModelJudge(reward_model(), "tiny").identity
