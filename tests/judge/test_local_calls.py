"""Several rules in a call of the local judge: what the whole text so far, run alone, says of every answer."""

import functools

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import encore_jax as enc
from encore_jax.data.comparison import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.judge.calls import prompts as call_prompts
from encore_jax.judge.calls.call import letter
from encore_jax.judge.calls.prompts import NUMERIC_CALL, CallPrompt
from encore_jax.judge.devices.local import TOO_LONG
from encore_jax.judge.devices.local_calls import LocalCallJudge
from encore_jax.judge.journal import Journal
from encore_jax.judge.prompts import PROMPTS
from encore_jax.judge.question import NOT_ASKED, Status, rating_questions
from encore_jax.judge.reading import answer_tokens
from encore_jax.parallel.mesh import BATCH, MeshSettings, activate, make_mesh
from encore_jax.rules import RulePool
from encore_jax.text.rendering import render
from tests.experiments import tiny_model
from tests.judge.test_local import CFG, PARAMS, RULES, TEXTS, TOKENIZER, questions, reference, tokenizer_with
from tests.judge.test_local import PROMPT as ONE

PROMPT = CallPrompt(name="tiny_call.1", system="Say A, B or C.", head="Read:", question="Which are true?\n{rules}",
                    answers=("A", "B", "C"))  # fmt: skip


def asked(texts=TEXTS, rules=RULES):
    return [question._replace(call=tuple(rules)) for question in questions(texts, rules)]


def judge(tokenizer=TOKENIZER, **changes):
    usual = dict(model="tiny", buckets=(128, 256, 512), tokens_per_step=1024, most_other=1.0)
    return LocalCallJudge(CFG, PARAMS, tokenizer, PROMPT, **(usual | changes))


@functools.cache
def alone(question):
    """Log-probabilities of all tokens where the question's answer begins, after the likeliest answers before it."""
    ids = render(TOKENIZER, PROMPT.ask(question))
    tokens = answer_tokens(TOKENIZER, PROMPT.answers)
    for i, rule in enumerate(question.call):
        ids = ids + TOKENIZER(('{"' if not i else '", "') + f'{letter(i)}": "', add_special_tokens=False)["input_ids"]
        padded = np.zeros((1, 1024), np.int32)
        padded[0, : len(ids)] = ids
        logprobs = np.asarray(reference()(PARAMS, padded))[len(ids) - 1]
        if rule.name == question.rule.name:
            return logprobs
        best = np.argmax([np.exp(logprobs[tokens.ids[tokens.answer == a]]).sum() for a in range(3)])
        ids = ids + TOKENIZER(PROMPT.answers[best], add_special_tokens=False)["input_ids"]


def check(answers, count):
    assert len(answers) == count == len({question.key for question, _ in answers})
    tokens = answer_tokens(TOKENIZER, PROMPT.answers)
    for question, answer in answers:
        logprobs = alone(question)
        p = [np.exp(logprobs[tokens.ids[tokens.answer == i]]).sum() for i in range(3)]
        assert answer.status is Status.OK and answer.rating == pytest.approx(p[0] - p[1], abs=1e-5)
        assert answer.relevance == pytest.approx(1 - p[2], abs=1e-5)
        np.testing.assert_allclose([x for _, x in answer.evidence["logprobs"]], logprobs[tokens.ids], atol=1e-4)


def test_every_answer_is_that_of_the_whole_text_so_far():
    check(list(judge().answers(asked())), len(TEXTS) * len(RULES))


def test_a_call_is_one_reply_and_what_is_known_need_not_be_asked():
    some = [question for i, question in enumerate(asked()) if i % 4 in (1, 3)]
    replies = list(judge(tokens_per_step=1).replies(iter(some)))
    assert sorted(map(len, replies)) == [2] * len(TEXTS)
    check([pair for reply in replies for pair in reply], 2 * len(TEXTS))


def test_the_other_rules_and_their_order_matter_and_are_told_apart():
    one = {q.rule.name: a.rating for q, a in judge().answers(asked(TEXTS[:1]))}
    other = list(judge().answers(asked(TEXTS[:1], RULES[::-1])))
    check(other, 4)
    assert all(one[q.rule.name] != a.rating for q, a in other)
    assert judge(rules_per_call=2).identity.digest != judge().identity.digest
    assert judge().identity.rules_per_call == 0


def test_eight_devices_say_what_one_says():
    mesh = make_mesh(MeshSettings(data=8, fsdp=1))
    rows = NamedSharding(mesh, PartitionSpec(BATCH))
    placed = jax.device_put(PARAMS, NamedSharding(mesh, PartitionSpec()))
    sharded = LocalCallJudge(
        CFG, placed, TOKENIZER, PROMPT, model="tiny", buckets=(512,), most_other=1.0, rows=rows,
        within=lambda: activate(mesh),
    )  # fmt: skip
    check(list(sharded.answers(asked())), len(TEXTS) * len(RULES))


def test_what_is_too_long_or_refused_fails_whole_and_alone():
    long = ([Message("user", "z" * 600)], "...")
    answers = list(judge().answers(asked([TEXTS[0], long])))
    assert [a.problem for q, a in answers if q.response == "..."] == [TOO_LONG] * 4
    check([(q, a) for q, a in answers if q.response != "..."], 4)
    refuses = "{% if 'Go away' in messages[-1]['content'] %}{{ raise_exception('rude') }}{% endif %}"
    made = judge()
    made._tokenizer = tokenizer_with(TOKENIZER.chat_template + refuses)
    answers = list(made.answers(asked(TEXTS[:2])))
    assert [(q.response, a.problem) for q, a in answers if a.problem] == [("Go away.", NOT_ASKED)] * 4


def test_numbers_are_refused():
    with pytest.raises(InputError, match=r"numeric_call\.1.*several tokens"):
        LocalCallJudge(CFG, PARAMS, TOKENIZER, NUMERIC_CALL, model="tiny")


def test_it_rates_as_any_judge_does_and_asks_nothing_twice(tmp_path):
    pairs = [Comparison((Message("user", f"Why {i}?"),), (f"So {i}.", f"No {i}."), 0) for i in range(3)]
    rated = enc.rate(pairs, RulePool(RULES), judge=judge(), journal=tmp_path / "j")
    assert rated.rated == 24 and not rated.problems
    with Journal(tmp_path / "j", judge().identity, RulePool(RULES)) as journal:
        assert not list(journal.pending(rating_questions(pairs, RulePool(RULES), 0)))


def test_it_is_loaded_from_files_by_the_same_call_as_one_rule_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setitem(PROMPTS, "tiny.1", ONE)
    monkeypatch.setitem(call_prompts._CALL_PROMPTS, "tiny.1", PROMPT)
    model = str(tiny_model.write(tmp_path / "model"))
    options = {"prompt": "tiny.1", "most_other": 1.0, "buckets": (512,)}
    together = enc.judges.local(model, rules_per_call=0, **options)
    alone = enc.judges.local(model, **options)
    assert isinstance(together, LocalCallJudge) and together.identity.rules_per_call == 0
    assert alone.identity.rules_per_call == 1 and alone.identity.digest != together.identity.digest
