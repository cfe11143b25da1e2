"""Tunix itself with the rewards of K rules: GRPO and GDPO on texts, PPO on token ids (`make test-tunix`)."""

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from tests.experiments import tiny_reward_model
from tests.reward.test_rl import ROOT, environment, run_example

MISSING = "needs Tunix, in an environment of its own because it wants an older safetensors: make test-tunix"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not find_spec("tunix"), reason=MISSING)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_reward_model.write(tmp_path_factory.mktemp("reward"))


@pytest.fixture(scope="module")
def runs(folder):
    command = [sys.executable, "-m", "tests.reward.tunix_runs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_example_runs_and_logs_every_rule(folder):
    run_example("grpo_tunix.py", "--model", str(folder), "--steps=3", "--method=gdpo")


@pytest.mark.parametrize("method", ["grpo", "gdpo"])
def test_a_learners_advantages_are_those_of_group_advantages(runs, method):
    """Its GRPO adds the weighted functions up itself; its GDPO is `tunix_rules`."""
    found = runs[method]
    assert len(found["apart"]) == found["batches"] == 2
    assert max(found["apart"]) < 1e-6
    assert min(found["spread"]) > 1
    assert found["shape"] == ([8] if method == "grpo" else [8, 3])


def test_ppo_gets_the_models_rewards_and_trains_a_critic(runs):
    found = runs["ppo"]
    assert len(found["apart"]) > 4 and max(found["apart"]) < 1e-5
    assert np.ptp(found["rewards"]) > 0.1 and 1e-4 < found["critic_moved"] < 0.1


def test_the_backbone_is_no_policy(runs):
    """Tunix' sampler wants a configuration and a cache, which its own models have."""
    assert "config attribute" in runs["policy"]
