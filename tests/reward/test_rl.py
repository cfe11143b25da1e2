"""Reward functions as trainers call them, in the trainer's process."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from encore_jax.data.comparison import Message
from encore_jax.errors import InputError
from encore_jax.reward.rl import reward_function
from tests.experiments import tiny_reward_model

ROOT = Path(__file__).parents[2]
PAIRS = [("Hi", "No."), ("Hi", "Sure, why not?"), ("What is a lock?", "No."), ("Hi", "")]


@pytest.fixture(scope="module")
def model():
    return tiny_reward_model.in_memory()


@pytest.fixture(scope="module")
def right(model):
    texts = [((Message("user", prompt),), answer) for prompt, answer in PAIRS]
    return tiny_reward_model.scores_alone(model, texts)


def call(function, pairs=PAIRS, **columns):
    return function(prompts=[p for p, _ in pairs], completions=[c for _, c in pairs], **columns)


def test_rewards_are_the_models(model, right):
    got = call(reward_function(model), completion_ids=[[1]] * len(PAIRS), answer=["x"] * len(PAIRS))
    assert got == pytest.approx((right @ model.weights).tolist(), abs=3e-5)
    as_messages = [([{"role": "user", "content": p}], [{"role": "assistant", "content": c}]) for p, c in PAIRS]
    assert call(reward_function(model), as_messages) == pytest.approx(got, abs=3e-5)


def test_rendered_prompts_can_be_read_back(model, right):
    function = reward_function(model, read_prompt=lambda prompt: prompt.removeprefix("<user>"))
    got = call(function, [(f"<user>{p}", c) for p, c in PAIRS])
    assert got == pytest.approx((right @ model.weights).tolist(), abs=3e-5)


def test_every_rule_is_logged_where_the_trainer_can(model, right):
    logged = {}
    call(reward_function(model), log_metric=logged.__setitem__)
    expected = {f"rule/{rule}": value for rule, value in zip(model.rules, right.mean(0), strict=True)}
    assert logged == pytest.approx(expected, abs=3e-5)


def test_too_long_completions_have_no_reward_or_the_one_asked_for(model):
    pairs = [*PAIRS, ("Hi", "x" * 300)]
    assert call(reward_function(model), pairs)[-1] is None
    assert call(reward_function(model, too_long=-5.0), pairs)[-1] == -5.0


def test_what_is_no_completion_is_refused(model):
    for bad in (3, [], [{"role": "user", "content": "a"}], [{"role": "assistant", "content": "a"}] * 2):
        with pytest.raises(InputError):
            call(reward_function(model), [("Hi", bad)])
    with pytest.raises(InputError, match="1 completions for 2"):
        reward_function(model)(prompts=["a", "b"], completions=["c"])


def environment():
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": path}


def run_example(name, *arguments):
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    rewards = result["rewards"]
    assert len(rewards) >= 2 and np.isfinite(rewards).all() and np.ptp(rewards) > 0
    curves = result["rules"]
    assert list(curves) == list(tiny_reward_model.RULES) and {len(curve) for curve in curves.values()} == {len(rewards)}
    composed = np.array(list(curves.values())).T @ np.array(tiny_reward_model.WEIGHTS)
    assert composed == pytest.approx(rewards, abs=1e-4)
    assert result["batches"] == len(rewards)  # one forward a step, whatever the number of functions


@pytest.mark.parity
@pytest.mark.skipif(not find_spec("trl"), reason="needs trl (the `bench` extra)")
@pytest.mark.parametrize("method", ["grpo", "gdpo"])
def test_rule_rewards_with_trl(tmp_path, method):
    import torch
    import transformers

    folder = tiny_reward_model.write(tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "backbone")
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "policy")
    tiny_reward_model.in_memory().tokenizer.save_pretrained(tmp_path / "policy")
    arguments = ["--policy", str(tmp_path / "policy"), "--steps=2", "--output", str(tmp_path / "grpo")]
    run_example("grpo_trl.py", "--model", str(folder), "--method", method, *arguments)


def test_the_toy_policy_loses_a_rule_on_the_sum_that_gdpo_keeps():
    command = [sys.executable, str(ROOT / "examples" / "gdpo_toy.py"), "--seeds=16"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    conflict = found["format costs correctness"]
    assert conflict["grpo"]["lost_format"] > 0.9 and conflict["gdpo"]["lost_format"] == 0
    assert conflict["gdpo"]["final"]["correct"][0] < conflict["grpo"]["final"]["correct"][0]  # what it costs is printed
    assert found["independent"]["grpo"]["lost_format"] == 0
