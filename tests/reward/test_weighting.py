"""Weights given by name: what they may look like, and that batch scorer, benchmarks and a gated model take them."""

import dataclasses
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from absl.testing import flagsaver

from encore_jax.cli import score
from encore_jax.cli.score_parts import metadata
from encore_jax.errors import InputError
from encore_jax.recipes.benchmark_config import BenchmarkConfig
from encore_jax.recipes.run import plan_of
from encore_jax.reward.model_card import OURS, model_card
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.weighting import named_weights
from tests.goldens import armorm
from tests.reward import tiny_reward
from tests.reward.test_import import classifier

RULES = ("helpful", "harmless", "a=b")


def test_by_name_in_any_form(tmp_path):
    (tmp_path / "weights.json").write_text(json.dumps({"harmless": 2, "helpful": 0.5}))
    assert named_weights({"harmless": 2, "helpful": 0.5}, RULES) == (0.5, 2.0, 0.0)
    assert named_weights(str(tmp_path / "weights.json"), RULES) == (0.5, 2.0, 0.0)
    assert named_weights(" harmless=2, helpful=.5,a=b=-1", RULES) == (0.5, 2.0, -1.0)
    assert named_weights("equal", RULES) == (1 / 3, 1 / 3, 1 / 3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("kind=1", "the rule 'kind' is unknown. Fix: use helpful, harmless"),
        ("helpful=much", "'helpful=much' is malformed"),
        ("helpful", "'helpful' is malformed"),
        ("", "'' is malformed"),
        ("helpful=nan", "rule 'helpful': nan is no finite number"),
        ({"helpful": True}, "True is no finite number"),
        ({"helpful": "1"}, "'1' is no finite number"),
        ("helpful=0", "all weights are 0"),
        ("missing.json", "missing.json: is missing"),
        ("helpful=1e39", "rule 'helpful': 1e.39 is no finite number of fp32"),
        ("helpful=1e-60", "all weights are 0"),
        ("helpful=-inf", "rule 'helpful': -inf is no finite number"),
        ("helpful=1,helpful=2", "rule 'helpful': has two weights"),
        ("equal,", "'equal' is malformed"),
        ("helpful=1,", "'' is malformed"),
        ({"helpful": None}, "None is no finite number"),
        ({}, "all weights are 0"),
    ],
)
def test_what_makes_no_sense_is_refused(weights, message):
    with pytest.raises(InputError, match=message):
        named_weights(weights, RULES)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "expected `object`, got `array`"),
        ('{"helpful": "1"}', "expected `float`, got `str`"),
        ('{"helpful": true}', "expected `float`, got `bool`"),
        ('{"helpful": NaN}', "rule 'helpful': nan is no finite number"),
        ('{"helpful": 1e999}', "rule 'helpful': inf is no finite number|number out of range"),
        ('{"helpful": 1, "helpful": 2}', "has the key 'helpful' twice"),
        ("[" * 10_000, "nested more than"),
        ("", "not valid JSON"),
    ],
)
def test_a_file_of_weights_of_another_shape_is_refused(content, message, tmp_path):
    (tmp_path / "w.json").write_text(content)
    with pytest.raises(InputError, match=message) as error:
        named_weights(str(tmp_path / "w.json"), RULES)
    assert error.value.fix == "give a number" or '{"RULE": WEIGHT, ...}' in error.value.fix


def test_a_checkpoint_of_several_heads_is_scored_with_the_weights_given(tmp_path, capsys):
    folder = classifier(tmp_path / "rm", labels=2, id2label={"0": "helpful", "1": "harmless"})
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "Hi", "responses": ["No.", "Yes, of course."]}))
    arguments = [f"--model={folder}", f"--input={tmp_path / 'rows.jsonl'}", f"--output={tmp_path / 'out.parquet'}"]

    def run(*more):
        with flagsaver.flagsaver():
            score.main(["score", *arguments, *more])

    with pytest.raises(SystemExit):
        run()
    said = capsys.readouterr().err
    assert "2 heads and 0 weights" in said and "--weights=equal" in said
    run("--weights=helpful=0.25,harmless=0.75")
    row = pq.read_table(tmp_path / "out.parquet").to_pylist()[0]
    expected = 0.25 * np.array(row["score:helpful"]) + 0.75 * np.array(row["score:harmless"])
    np.testing.assert_allclose(row["rewards"], expected, rtol=1e-5)
    assert metadata(tmp_path / "out.parquet")["passport"]["weights"] == [0.25, 0.75]


def test_a_gate_gives_way_and_a_benchmark_tells_weights_apart(tmp_path):
    model = RewardModel.from_pretrained(armorm.save(tmp_path / "armorm"), dtype="float32")
    plain = model.weighted("equal")
    assert model.gate is not None and plain.gate is None
    scores, rewards = model.scores(["Hi"], [["a", "b"]])[0], plain.rewards(["Hi"], [["a", "b"]])[0]
    np.testing.assert_allclose(rewards, scores.mean(1), atol=1e-5)
    (tmp_path / "w.json").write_text("{}")
    told = []
    for weights in ("", "equal", str(tmp_path / "w.json")):
        config = BenchmarkConfig(model=str(tmp_path / "armorm"), data="d", weights=weights)
        told.append(plan_of(config, tmp_path).call("score").key())
    (tmp_path / "w.json").write_text('{"a": 1}')
    told.append(plan_of(config, tmp_path).call("score").key())
    assert len({json.dumps(one) for one in told}) == 4


def test_agreement_is_what_the_passport_holds_and_the_passport_says_how_the_weights_were_made(tmp_path, caplog):
    plain = tiny_reward.reward_model(tmp_path / "plain")
    told = dataclasses.replace(plain.passport, agreement=(0.5, 0.125, 0.375), agreement_note="one common factor")
    model = dataclasses.replace(plain, passport=told)
    weighings = {"agreement": "agreement", "equal": "uniform", "violence=1": "given"}
    assert {how: model.weighted(how).passport.weighting for how in weighings} == weighings
    assert model.weighted("agreement").weights.tolist() == [0.5, 0.125, 0.375]
    assert model.weighted("uniform").passport == model.weighted("equal").passport
    doubtful = dataclasses.replace(told, agreement_warning="97 % of the weight is on rules not told from chance")
    with caplog.at_level("WARNING"):
        model.weighted("agreement")
        assert not caplog.text
        dataclasses.replace(plain, passport=doubtful).weighted("agreement")
    assert "agreement weights may mislead: 97 % of the weight" in caplog.text
    assert model.weighted("equal").weighted("agreement").weights.tolist() == [0.5, 0.125, 0.375]
    with pytest.raises(InputError, match="no agreement weights: its passport does not say what its rules have in"):
        plain.weighted("agreement")
    split = dataclasses.replace(plain, passport=dataclasses.replace(told, agreement=(), agreement_note="it splits"))
    with pytest.raises(InputError, match="no agreement weights: it splits"):
        split.weighted("agreement")


def test_the_model_card_says_how_the_weights_were_made(tmp_path):
    plain = tiny_reward.reward_model(tmp_path / "plain")

    def card(**facts):
        passport = dataclasses.replace(plain.passport, **facts)
        model = dataclasses.replace(plain, passport=passport)
        config = {"architectures": ["LlamaForSequenceClassification"], OURS: {"offset": [0.0] * 3}}
        return model_card(model, passport, config, False, {})

    assert "The weights are" not in card() and "loading" not in card().partition("## Passport")[0]
    made = card(weighting="agreement", loading=(0.9, 0.1, 0.4), agreement=(0.5, 0.1, 0.4), agreement_note="one factor")
    assert "| violence | 0.3000 | 0.9000 | 0.5000 |" in made
    assert (
        "from what the rules have in common (agreement; no label was used). Agreement of the rules: one factor." in made
    )
    refused = card(weighting="ENCORE", agreement_note="the pool splits")
    assert "entropy of the rules' ratings (ENCORE). Agreement weights are refused: the pool splits." in refused
