"""A reward model under a rule graph: one reward everywhere, what decided it, and what cannot say it."""

import dataclasses
import json

import numpy as np
import pytest

from encore_jax.cli.score_rows import Item
from encore_jax.cli.score_table import schema_of, score_items
from encore_jax.composition.rule_graph import compile_graph, decide
from encore_jax.data.comparison import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.evaluation.audit import graph_parts, whole_margin
from encore_jax.evaluation.held_out import evaluate
from encore_jax.reward.nnx_reward import NnxReward
from encore_jax.reward.passport import Passport
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.rule_rewards import remote_reward_functions, reward_functions
from encore_jax.reward.scored import Scored
from encore_jax.reward.trainers import verl_compute_score
from encore_jax.rules import Rule, RulePool
from encore_jax.rules.graph import Prerequisite, RuleGraph, Veto
from encore_jax.serve.dialects import Served, get_reward, rewards, score
from tests.experiments import tiny_reward_model
from tests.raw_server import RawServer, reply

PROMPTS, ANSWERS = ["Hi", "Hi", "Hi", "What is a lock?"], ["No.", "Sure, why not?", "x" * 40, ""]
RULES = tiny_reward_model.RULES


@pytest.fixture(scope="module")
def plain():
    return tiny_reward_model.in_memory()


@pytest.fixture(scope="module")
def scores(plain):
    return plain.scorer.scored(
        plain.scorer.run_texts([((Message("user", p),), a) for p, a in zip(PROMPTS, ANSWERS, strict=True)])
    ).scores


@pytest.fixture(scope="module")
def graph(scores):
    """One of the four answers is vetoed, and kindness does not count for another; on a scale that holds all scores."""
    violence, privacy = np.sort(scores[:, 0]), np.sort(scores[:, 1])
    middle = float(violence[0] + violence[1]) / 2, float(privacy[1] + privacy[2]) / 2
    return RuleGraph([Veto("violence", middle[0])], [Prerequisite("kindness", "privacy", middle[1])], (-20.0, 20.0))


@pytest.fixture(scope="module")
def model(plain, graph):
    return plain.with_graph(graph)


@pytest.fixture(scope="module")
def right(model, scores, graph):
    return decide(scores, model.weights, compile_graph(graph, RULES))


def test_the_model_rewards_under_its_graph(model, plain, right):
    assert model.rewards(["Hi", "What is a lock?"], [ANSWERS[:3], ANSWERS[3:]])[0] == pytest.approx(
        right.rewards[:3], abs=1e-4
    )
    assert (right.decided_by >= 0).sum() == 1 and right.not_counted.any()
    assert right.rewards.min() == -20
    again = model.with_graph(None)
    assert again.passport.graph is None and again.passport == plain.passport
    with pytest.raises(InputError, match="there is no rule 'rude'"):
        plain.with_graph(RuleGraph([Veto("rude", 0.5)]))
    pool = RulePool(
        [Rule(rule, "Text.", -1 if rule == "privacy" else 1) for rule in RULES], graph=RuleGraph([Veto("privacy", 0.8)])
    )
    assert plain.with_graph(pool).passport.graph.vetoes[0].threshold == pytest.approx(0.2)


def test_it_is_saved_loaded_and_checked_with_the_passport(tmp_path, graph):
    folder = tiny_reward_model.write(tmp_path)
    RewardModel.from_pretrained(folder).with_graph(graph).save(tmp_path / "graphed", str(tmp_path / "backbone"))
    loaded = RewardModel.from_pretrained(tmp_path / "graphed")
    assert loaded.passport.graph == dataclasses.replace(graph)
    values = loaded.passport.to_dict()
    assert Passport.from_dict(json.loads(json.dumps(values))) == loaded.passport
    values["graph"]["vetoes"][0]["rule"] = "unknown"
    with pytest.raises(InputError, match="passport, graph, veto by 'unknown'"):
        Passport.from_dict(values)
    values["graph"] = {"vetoes": "all"}
    with pytest.raises(InputError, match="passport"):
        Passport.from_dict(values)


def test_a_folded_export_is_refused_with_what_to_type_and_the_card_says_what_logits_do_not(tmp_path, model):
    with pytest.raises(InputError, match=r"cannot say its rule graph .*violence.*with_graph\(None\)"):
        model.export(tmp_path / "folded", folded=True)
    assert not (tmp_path / "folded").exists()
    folder = model.export(tmp_path / "heads")
    assert json.loads((folder / "config.json").read_text())["encore_jax"]["graph"]["vetoes"][0]["rule"] == "violence"
    assert "not the weighted sum of these scores alone" in (folder / "README.md").read_text()
    assert RewardModel.from_pretrained(folder).passport.graph == model.passport.graph
    assert model.with_graph(None).export(tmp_path / "folded", folded=True).is_dir()
    with pytest.raises(InputError, match=r"the model has a rule graph .*with_graph\(None\)"):
        NnxReward(model)


def served(model, right, scores, body, dialect):
    weights = np.broadcast_to(model.weights, scores.shape)
    ask = dialect(body, Served("m", RULES, model.weights))
    return ask.answer(Scored(scores, weights, model.scorer.graph), [1] * len(scores))


def test_the_server_says_which_veto_decided(model, scores, right):
    vetoed = [None if k < 0 else RULES[k] for k in right.decided_by]
    body = {
        "items": [{"prompt": "Hi", "responses": ANSWERS[:3]}, {"prompt": PROMPTS[3], "responses": ANSWERS[3:]}],
        "explain": True,
    }
    items = served(model, right, scores, body, score)["items"]
    assert sum((item["vetoed_by"] for item in items), []) == vetoed
    assert sum((item["rewards"] for item in items), []) == pytest.approx(right.rewards.tolist())
    for item in items:
        assert [sum(term["adds"] for term in terms) for terms in item["explanations"]] == pytest.approx(
            item["rewards"], abs=1e-4
        )
    lost = [[RULES[k] for k in np.flatnonzero(row)] for row in right.not_counted]
    assert sum((item["not_counted"] for item in items), []) == lost
    reply = served(model, right, scores, {"prompts": PROMPTS, "completions": ANSWERS, "rules": True}, rewards)
    assert reply["vetoed_by"] == vetoed and reply["rewards"] == pytest.approx(right.rewards.tolist())
    reply = served(model, right, scores, {"query": ANSWERS}, get_reward)
    assert reply["extra_logs"]["veto"] == [float(rule is not None) for rule in vetoed]


def test_reward_functions_still_add_up_to_the_composed_reward(model, right):
    functions = reward_functions(model, too_long=-1.0)
    assert functions.rules == (*RULES, "veto") and functions.weights[-1] == 1
    values = np.array([function(PROMPTS, ANSWERS) for function in functions])
    assert np.array(functions.weights) @ values == pytest.approx(right.rewards, abs=1e-4)
    assert functions.batches == 1
    assert [function(["Hi"], ["x" * 300])[0] for function in functions] == [-1.0, -1.0, -1.0, 0.0]
    infos = [{"prompt": prompt} for prompt in PROMPTS]
    got = verl_compute_score(functions)(solution_strs=ANSWERS, extra_infos=infos)
    assert [row["score"] for row in got] == pytest.approx(right.rewards.tolist(), abs=1e-4)
    named = dataclasses.replace(model, passport=dataclasses.replace(
        model.passport, rules=("violence", "privacy", "veto"), graph=RuleGraph([Veto("violence", 0.5)])))  # fmt: skip
    with pytest.raises(InputError, match="rename it in the pool"):
        reward_functions(named)


def test_a_servers_graph_comes_with_its_rules(model, scores, right):
    about = {
        "rules": RULES,
        "weights": dict(zip(RULES, model.weights.tolist(), strict=True)),
        "passport": model.passport.to_dict(),
    }
    columns = {"scores": scores, "weights": np.broadcast_to(model.weights, scores.shape)}
    answer = {name: dict(zip(RULES, values.T.tolist(), strict=True)) for name, values in columns.items()}
    with RawServer(reply({"data": [about]}), reply(answer)) as server:
        functions = remote_reward_functions(server.url)
        assert functions.rules[-1] == "veto"
        assert functions.composed(PROMPTS, ANSWERS) == pytest.approx(right.rewards.tolist(), abs=1e-4)


def test_evaluation_says_what_the_graph_adds(model, plain):
    pairs = [Comparison((Message("user", "Hi"),), (a, b), 0) for a in ANSWERS[:3] for b in ANSWERS[:3] if a != b]
    pairs += [Comparison((Message("user", f"Hi {i}"),), ("No.", "Sure."), 0) for i in range(3)]
    found, without = (evaluate(each, pairs, probe=False, replicates=100) for each in (model, plain))
    assert found.without_graph.accuracy == pytest.approx(without.accuracy)
    assert found.difference[0] == pytest.approx(found.accuracy - without.accuracy)
    assert set(found.vetoes) <= {"violence"} and any("Without its rule graph" in said for said in found.sentences())
    assert without.without_graph is None and not any("graph" in said for said in without.sentences())


def test_the_audits_terms_add_up_to_the_margin_and_name_what_decided(model, scores, right):
    pairs = np.stack([scores[[0, 1, 2]], scores[[1, 2, 0]]], 1)
    found = graph_parts(pairs, model.weights, model.scorer.graph)
    expected = right.rewards[[0, 1, 2]] - right.rewards[[1, 2, 0]]
    assert found.contribution.sum(1) == pytest.approx(expected, abs=1e-4)
    assert (whole_margin(found.contribution, found.tolerance).sign == np.sign(expected)).all()
    assert found.decided_by.tolist() == [
        [right.decided_by[i], right.decided_by[j]] for i, j in ((0, 1), (1, 2), (2, 0))
    ]
    plain = (pairs * model.weights).sum(2)
    assert found.plain.value == pytest.approx(plain[:, 0] - plain[:, 1], abs=1e-4)


def test_a_scored_file_names_the_veto_of_every_response(model, plain, right):
    prompt = (Message("user", "Hi"),)
    sequences = model.scorer.tokenize([(prompt, answer) for answer in ANSWERS[:3]])
    table = score_items(model.scorer, [Item("a", prompt, tuple(ANSWERS[:3]), None)], sequences)
    assert table["vetoed_by"].to_pylist() == [[None if k < 0 else RULES[k] for k in right.decided_by[:3]]]
    assert table["rewards"].to_pylist()[0] == pytest.approx(right.rewards[:3].tolist(), abs=1e-4)
    assert "vetoed_by" not in schema_of(plain.rules, False).names
