"""The local judge says what asking every question alone says, whatever is asked beside it and on how many devices."""

import copy
import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.judge.devices.local import TOO_LONG, LocalJudge, root_tokens
from encore_jax.judge.prompts import NUMERIC, YES_NO_IRRELEVANT, Prompt
from encore_jax.judge.question import NOT_ASKED, Key, Question, Status, conversation_id
from encore_jax.judge.reading import answer_tokens, mostly_other
from encore_jax.model.decoder import Backbone, lm_logits
from encore_jax.model.params import logical_axes
from encore_jax.parallel.mesh import BATCH, MeshSettings, activate, make_mesh, sharding
from encore_jax.rules import Rule, RulePool
from encore_jax.text.rendering import render
from tests.experiments import tiny_model
from tests.reward.conftest import smollm2  # noqa: F401

CFG = dataclasses.replace(tiny_model.decoder_config(), max_positions=1024)
PARAMS = tiny_model.draw()
TOKENIZER = tiny_model.tokenizer()
PROMPT = Prompt(
    name="tiny.1", system="Say A, B or C.", head="Read:", question="Is it true? {rule}", answers=("A", "B", "C")
)
RULES = [
    Rule("kind", "It is kind."),
    Rule("short", "It says little, and says it well."),
    Rule("safe", "It harms nobody at all.", -1),
    Rule("umlaut", "Es gefährdet niemanden."),
]
TEXTS = [
    ([Message("user", "Hi")], "Hello!"),
    ([Message("user", "Hi")], "Go away."),
    ([Message("system", "Be brief."), Message("user", "Why?")], "Because it is so, and so it has always been."),
    ([Message("user", "One"), Message("assistant", "Two"), Message("user", "Three 🙂")], "Four"),
    ([Message("user", "x" * 90)], "y" * 40),
    ([Message("user", "?")], "!"),
]


def questions(texts=TEXTS, rules=RULES):
    return [
        Question(Key(conversation_id(prompt, [response]), 0, rule.name), tuple(prompt), response, rule)
        for prompt, response in texts
        for rule in rules
    ]


def judge(**changes):
    usual = dict(model="tiny", buckets=(64, 128, 256), tokens_per_step=512, most_other=1.0)
    return LocalJudge(CFG, PARAMS, TOKENIZER, PROMPT, **(usual | changes))


def tokenizer_with(template):
    tokenizer = copy.copy(TOKENIZER)
    tokenizer.chat_template = template
    return tokenizer


@functools.cache
def reference():
    @jax.jit
    def compute(params, tokens):
        position = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
        hidden = Backbone(CFG).apply({"params": params}, tokens, tokens * 0 + 1, tokens * 0, position)
        return jax.nn.log_softmax(lm_logits(CFG, params, hidden[0]))

    return compute


def alone(question):
    """Log-probabilities of all tokens after one question."""
    ids = render(TOKENIZER, PROMPT.messages(question.prompt, question.response, question.rule))
    padded = np.zeros((1, 512), np.int32)
    padded[0, : len(ids)] = ids  # what comes after does not matter to a causal model
    return np.asarray(reference()(PARAMS, padded))[len(ids) - 1]


def check(answers, expected_count):
    assert len(answers) == expected_count and len({q.key for q, _ in answers}) == expected_count
    tokens = answer_tokens(TOKENIZER, PROMPT.answers)
    for question, answer in answers:
        logprobs = alone(question)
        p = [np.exp(logprobs[tokens.ids[tokens.answer == i]]).sum() for i in range(3)]
        assert answer.status is Status.OK and not answer.problem
        assert answer.rating == pytest.approx(p[0] - p[1], abs=1e-5)
        assert answer.relevance == pytest.approx(1 - p[2], abs=1e-5)
        np.testing.assert_allclose([x for _, x in answer.evidence["logprobs"]], logprobs[tokens.ids], atol=1e-4)
        assert answer.evidence["other"] == pytest.approx(1 - sum(p), abs=1e-5)


def test_every_question_alone():
    asked = questions()
    check(list(judge().answers(iter(asked))), len(asked))


@pytest.mark.parametrize(
    "options",
    [
        {"window": 5},
        *(pytest.param(more, marks=pytest.mark.slow) for more in ({"tokens_per_step": 1}, {"buckets": (512,)})),
    ],
    ids=str,
)
def test_however_it_is_batched(options):
    asked = questions()
    chosen = [asked[i] for i in np.random.default_rng(0).permutation(len(asked))[:17]]
    check(list(judge(**options).answers(chosen)), 17)


@pytest.mark.parametrize(
    "mesh",
    [MeshSettings(data=4, fsdp=2), pytest.param(MeshSettings(data=2, fsdp=2, tensor=2), marks=pytest.mark.slow)],
    ids=str,
)
def test_eight_devices_say_what_one_says(mesh):
    mesh = make_mesh(mesh)
    axes = logical_axes(CFG)
    if mesh.shape["tensor"] > 1:  # the one key-value head stays whole
        axes["layers"] |= {name: PartitionSpec("layers", "embed") for name in "kv"}
    placed = jax.tree.map(lambda x, named: jax.device_put(x, sharding(mesh, named)), PARAMS, axes)
    rows = NamedSharding(mesh, PartitionSpec(BATCH))
    sharded = LocalJudge(
        CFG, placed, TOKENIZER, PROMPT, model="tiny", buckets=(64, 128, 256), tokens_per_step=2048, most_other=1.0,
        rows=rows, within=lambda: activate(mesh),
    )  # fmt: skip
    check(list(sharded.answers(questions())), len(questions()))


def test_what_is_too_long_fails_whole_and_alone():
    long = ([Message("user", "z" * 300)], "...")
    answers = list(judge().answers(questions([TEXTS[0], long, TEXTS[1]])))
    failed = [(q, a) for q, a in answers if a.status is not Status.OK]
    assert [q.rule.name for q, _ in failed] == [rule.name for rule in RULES]
    assert all(a.status is Status.FAILED and a.problem == TOO_LONG and a.rating is None for _, a in failed)
    assert all(q.response == "..." for q, _ in failed)
    check([(q, a) for q, a in answers if a.status is Status.OK], 8)
    short = LocalJudge(dataclasses.replace(CFG, max_positions=100), PARAMS, TOKENIZER, PROMPT, model="tiny")
    assert {a.problem for _, a in short.answers(questions([long]))} == {TOO_LONG}


def test_programs_are_compiled_once():
    tried = judge()
    list(tried.answers(questions()))
    compiled = tried._compute._cache_size()
    list(tried.answers(questions()))
    list(tried.answers(questions(TEXTS[::-1])))
    assert tried._compute._cache_size() == compiled


def test_nothing_asked_nothing_answered():
    assert list(judge().answers([])) == []


def test_the_root_holds_the_instructions():
    text = TOKENIZER.decode(root_tokens(TOKENIZER, PROMPT))
    assert PROMPT.system in text and text.endswith(f"{PROMPT.head}\n\n")


def test_identity_says_what_the_answers_depend_on():
    identity = judge().identity
    assert identity.kind == "local" and identity.prompt == PROMPT.digest and identity.scale == (-1.0, 1.0)
    assert identity.decoding["dtype"] == "float32" and judge(dtype=jnp.bfloat16).identity != identity


def test_an_answer_that_is_mostly_no_offered_one_is_unparsable():
    answers = {q.key: a for q, a in judge().answers(questions())}
    limit = float(np.median([a.evidence["other"] for a in answers.values()]))
    strict = judge(most_other=limit)
    for question, answer in strict.answers(questions()):
        usual = answers[question.key]
        if usual.evidence["other"] > limit:
            assert answer.status is Status.UNPARSABLE and answer.problem == mostly_other(limit)
            assert answer.rating is None and set(json.loads(answer.evidence["raw"])) == {"A", "B", "C"}
        else:
            assert answer == usual
    assert strict.identity.digest != judge().identity.digest, "told apart in the journal"


TURN = "<{{ m['role'] }}>{{ m['content'] }}"
START = "{% if add_generation_prompt %}<model>{% endif %}"
REFUSES = "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
TEMPLATES = {
    "refuses": f"{{% for m in messages %}}{REFUSES}{TURN}{{% endfor %}}{START}",
    "leaves out": f"{{% for m in messages %}}{{% if m['role'] != 'system' %}}{TURN}{{% endif %}}{{% endfor %}}{START}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_instructions_go_into_the_users_turn_where_the_template_has_no_system_role(name):
    tokenizer = tokenizer_with(TEMPLATES[name])
    made = LocalJudge(CFG, PARAMS, tokenizer, PROMPT, model="tiny", buckets=(256,), tokens_per_step=512, most_other=1.0)
    assert made.identity.prompt == PROMPT.in_user_turn().digest != PROMPT.digest
    assert tokenizer.decode(root_tokens(tokenizer, PROMPT.in_user_turn())).startswith(f"<user>{PROMPT.system}\n\n")
    if name == "refuses":
        answers = list(made.answers(questions(TEXTS[:1], RULES[:2])))
        assert len(answers) == 2 and all(a.status is Status.OK for _, a in answers)
        kept = LocalJudge(CFG, PARAMS, TOKENIZER, PROMPT, model="tiny")
        assert kept.identity.prompt == PROMPT.digest, "with a system role nothing changes"


def test_a_question_that_the_template_refuses_fails_alone_with_the_reason():
    refuses = "{% if 'Go away' in messages[-1]['content'] %}{{ raise_exception('rude') }}{% endif %}"
    made = judge()
    made._tokenizer = tokenizer_with(TOKENIZER.chat_template + refuses)
    answers = list(made.answers(questions(TEXTS[:3])))
    failed = [(q, a) for q, a in answers if a.status is Status.FAILED]
    assert len(answers) == 12 and [q.response for q, _ in failed] == ["Go away."] * 4
    assert all(a.problem == NOT_ASKED and "rude" in a.evidence["words"] for _, a in failed)


# Refusals


def test_a_prompt_for_numbers_is_refused():
    with pytest.raises(InputError, match=r"numeric\.1.*several tokens.*yes_no_irrelevant"):
        LocalJudge(CFG, PARAMS, TOKENIZER, NUMERIC, model="tiny")


def test_answers_that_begin_alike_are_refused():
    with pytest.raises(InputError, match="no token begins 'a' and nothing else"):
        answer_tokens(TOKENIZER, ("A", "a"))
    with pytest.raises(InputError, match="no token begins 'Yes'"):
        answer_tokens(TOKENIZER, ("Yes", "No"))  # one letter says too little


def test_a_model_without_an_lm_head_is_refused():
    with pytest.raises(InputError, match="no LM head"):
        LocalJudge(dataclasses.replace(CFG, tie_embeddings=False), PARAMS, TOKENIZER, PROMPT, model="tiny")


@pytest.mark.slow
def test_smollm2_answers_as_if_asked_alone(smollm2):  # noqa: F811
    from encore_jax.checkpoints.huggingface import load_backbone
    from encore_jax.text.tokenizer import load_tokenizer

    cfg, params, _ = load_backbone(smollm2)
    tokenizer = load_tokenizer(smollm2)
    tried = LocalJudge(cfg, params, tokenizer, YES_NO_IRRELEVANT, model="smollm2", most_other=1.0)
    answers = list(tried.answers(questions(TEXTS[:4], RulePool.shipped("safety_10"))))
    tokens = answer_tokens(tokenizer, YES_NO_IRRELEVANT.answers)

    @jax.jit
    def compute(params, tokens):
        position = jnp.arange(tokens.shape[1], dtype=jnp.int32)[None]
        hidden = Backbone(cfg).apply({"params": params}, tokens, tokens * 0 + 1, tokens * 0, position)
        return hidden

    for question, answer in answers[::7]:
        ids = render(tokenizer, YES_NO_IRRELEVANT.messages(question.prompt, question.response, question.rule))
        padded = np.zeros((1, 512), np.int32)
        padded[0, : len(ids)] = ids
        logprobs = jax.nn.log_softmax(lm_logits(cfg, params, compute(params, padded)[:, len(ids) - 1]))[0]
        np.testing.assert_allclose([x for _, x in answer.evidence["logprobs"]], logprobs[tokens.ids], atol=1e-4)


def test_questions_of_equal_tokens_are_run_once_and_answered_alike():
    """As both orders of a pair of equal responses are: of another key, but the same text."""
    local, steps = judge(), []
    step = local.step
    local.step = lambda rows, shape: steps.append(int((rows.branch > 0).sum())) or step(rows, shape)
    once = list(local.answers(questions(TEXTS[:3])))
    tokens, asked = sum(steps), questions(TEXTS[:3])
    again = [q._replace(key=q.key._replace(response=r)) for r in range(3) for q in asked]
    steps.clear()
    answered = list(local.answers(again))
    assert sum(steps) == tokens and sorted(q.key for q, _ in answered) == sorted(q.key for q in again)
    of = {q.key: answer for q, answer in once}
    for question, answer in answered:
        other = of[question.key._replace(response=0)]
        assert (answer.rating, answer.evidence) == (other.rating, other.evidence)
    long = [([Message("user", "x" * 2000)], "y")] * 2
    answers = [
        a
        for _, a in local.answers(
            [q._replace(key=q.key._replace(response=r)) for r in (0, 1) for q in questions(long)[:4]]
        )
    ]
    assert len(answers) == 8 and all(answer.problem == TOO_LONG for answer in answers)
