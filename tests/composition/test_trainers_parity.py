"""Advantages beside the trainers' own code: TRL's and verl's (the `parity` extra), and Tunix' (`make test-tunix`)."""

import inspect
import textwrap
import warnings
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from encore_jax.composition.advantages import group_advantages, shortfalls

pytestmark = pytest.mark.parity
B, G, K = 6, 4, 3


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def trl(torch):
    """The lines of the installed TRL that turn rewards by function into advantages, as a function."""
    grpo_trainer = pytest.importorskip("trl.trainer.grpo_trainer")
    source = textwrap.dedent(inspect.getsource(grpo_trainer.GRPOTrainer._generate_and_score_completions))
    first, last = "    unscorable_mask = ", "    advantages = torch.nan_to_num(advantages, nan=0.0)\n"
    assert source.count(first) == 1 and source.count(last) == 1, "TRL computes advantages in another way now"
    lines = source[source.index(first) : source.index(last) + len(last)]
    code = f"def advantages_of(self, rewards_per_func, num_generations, device):\n{lines}    return advantages\n"
    exec(compile(code, "trl", "exec"), namespace := dict(vars(grpo_trainer)))

    def advantages_of(rewards, weights, aggregation, scale="group"):
        trainer = SimpleNamespace(
            reward_weights=torch.tensor(weights), reward_funcs=[None] * rewards.shape[-1], scale_rewards=scale,
            multi_objective_aggregation=aggregation,
        )  # fmt: skip
        flat = torch.tensor(rewards.reshape(-1, rewards.shape[-1]))
        return namespace["advantages_of"](trainer, flat, rewards.shape[1], "cpu").numpy().reshape(rewards.shape[:2])

    return advantages_of


def examples(seed, missing=False):
    rng = np.random.default_rng(seed)
    rewards = (rng.standard_normal((B, G, K)) * [0.1, 1, 3]).astype(np.float32)
    rewards[1, :, 0] = 0.5  # a rule that is equal throughout a group, and a group that is equal throughout
    rewards[2] = 0.25
    if missing:
        rewards[3, 1], rewards[4, 2, 0] = np.nan, np.nan
    return rewards, np.float32([0.5, 0.3, 0.2])


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_grpo_gdpo_and_constraints_are_those_of_trl(trl, seed, missing):
    rewards, weights = examples(seed, missing)
    for method, aggregation in (("grpo", "sum_then_normalize"), ("gdpo", "normalize_then_sum")):
        got = np.asarray(group_advantages(rewards, weights, method))
        np.testing.assert_allclose(got, trl(rewards, weights, aggregation), rtol=1e-6, atol=1e-6)
    got = np.asarray(group_advantages(rewards, weights, divide=False))
    np.testing.assert_allclose(got, trl(rewards, weights, "sum_then_normalize", "none"), rtol=1e-6, atol=1e-6)
    if not missing:  # constraints are more functions of negative weight
        thresholds, prices = np.float32([0.0, -np.inf, 1.0]), np.float32([2.0, 1.0, 0.5])
        functions = np.concatenate([rewards, np.asarray(shortfalls(rewards, thresholds))], -1)
        expected = trl(functions, np.concatenate([weights, -prices]), "sum_then_normalize")
        options = {"thresholds": thresholds, "multipliers": prices}
        got = np.asarray(group_advantages(rewards, weights, "constraints", **options))
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=2e-6)


VERL = (
    "needs verl and what it imports: pip install --no-deps verl==0.9.1 ray tensordict omegaconf "
    "antlr4-python3-runtime==4.9.3, and the modules that its import then names"
)
"""Without --no-deps, verl would bring its own versions of much else."""


@pytest.mark.skipif(not find_spec("verl"), reason=VERL)
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("groups", [G, 1])
def test_grpo_and_gdpo_are_those_of_verl(torch, seed, groups):
    core = pytest.importorskip("verl.trainer.ppo.core_algos")
    rewards, weights = examples(seed)
    rewards = rewards[:, :groups]
    lengths = np.random.default_rng(seed).integers(1, 8, (B, groups))
    n, longest, prompt = B * groups, 8, 2
    mask = torch.tensor((np.arange(longest) < lengths.reshape(-1, 1)).astype(np.float32))
    attention = torch.cat([torch.ones(n, prompt), mask], 1).long()
    index = np.repeat(np.arange(B), groups)

    def at_the_end(values):
        tokens = torch.zeros(n, longest)
        tokens[torch.arange(n), torch.tensor(lengths.ravel() - 1)] = torch.tensor(values.ravel())
        return tokens

    for divide in (True, False):
        composed = at_the_end((rewards * weights).sum(-1))
        options = {"convention": "verl", "divide": divide}
        right, _ = core.compute_grpo_outcome_advantage(composed, mask, index, norm_adv_by_std_in_grpo=divide)
        got = np.asarray(group_advantages(rewards, weights, **options))
        np.testing.assert_allclose(got.ravel(), right[:, 0].numpy(), rtol=1e-6, atol=2e-6)
        right, _ = core.compute_gdpo_outcome_advantage(
            composed, mask, index, norm_adv_by_std_in_grpo=divide,
            config={"gdpo_reward_keys": ["a", "b", "c"], "gdpo_reward_weights": weights.tolist()},
            non_tensor_batch=dict(zip("abc", rewards.reshape(n, K).T, strict=True)),
            batch={"prompts": torch.zeros(n, prompt), "attention_mask": attention},
        )  # fmt: skip
        got = np.asarray(group_advantages(rewards, weights, "gdpo", tokens=lengths, **options))
        np.testing.assert_allclose(got.ravel(), right[:, 0].numpy(), rtol=1e-6, atol=2e-6)


@pytest.mark.skipif(not find_spec("tunix"), reason="needs Tunix, in an environment of its own: make test-tunix")
@pytest.mark.parametrize("seed", range(5))
def test_grpo_and_its_way_without_division_are_those_of_tunix(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what its imports warn of
        from tunix.rl import algo_core, function_registry
        from tunix.rl.grpo import drgrpo_learner  # noqa: F401  registers what it needs
    assert function_registry.get_advantage_estimator("grpo") is algo_core.compute_advantages
    rewards, weights = examples(seed)
    composed = (rewards * weights).sum(-1, dtype=np.float64)
    for name, divide in (("grpo", True), ("drgrpo", False)):
        right = function_registry.get_advantage_estimator(name)(rewards=composed.ravel(), num_generations=G)
        got = np.asarray(group_advantages(rewards, weights, convention="tunix", divide=divide))
        np.testing.assert_allclose(got.ravel(), right, rtol=1e-6, atol=2e-6)
