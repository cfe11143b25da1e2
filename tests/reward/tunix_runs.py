"""What Tunix itself makes of a reward model; run as a program where Tunix is installed, prints JSON (test_tunix.py).

`python -m tests.reward.tunix_runs FOLDER` with the folder of a saved reward model of `tiny_reward_model`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import grain
import jax
import numpy as np
import optax
from tunix.rl.ppo.ppo_learner import PPOConfig, PPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig

from encore_jax import Message, RewardModel
from encore_jax.composition.advantages import group_advantages
from encore_jax.model.decoder import Backbone
from encore_jax.model.nnx_adapter import NnxBackbone
from encore_jax.reward.nnx_reward import NnxReward
from encore_jax.reward.sequences import token_sequences
from encore_jax.text.rendering import render
from examples import grpo_tunix

GROUP, SCALE = 4, 1000.0


def group_relative(model: RewardModel, method: str) -> dict:
    """The example, and how far Tunix' advantages are from `group_advantages` of the rules' scores."""
    steps = []
    result = grpo_tunix.train(model, method, steps=2, generations=GROUP, watch=lambda **step: steps.append(step))
    apart = []
    for step in steps:
        scores = step["scored"].scores.reshape(-1, GROUP, len(model.rules))
        expected = np.asarray(group_advantages(scores, model.weights, method, convention="tunix")).ravel()
        apart.append(float(np.abs(np.asarray(step["advantages"]) - expected).max()))
    spread = [float(np.ptp(step["advantages"])) for step in steps]
    return result | {"apart": apart, "spread": spread, "shape": list(np.shape(steps[0]["rewards"]))}


def ppo(model: RewardModel) -> dict:
    """PPO with the model as its reward, and as the critic that it trains; by how much rewards are not the model's.

    A random policy says bytes that are no text, so the model's rewards are those of its token ids.
    """
    tokenizer, steps = model.tokenizer, []
    mesh = grpo_tunix.one_device()
    critic = NnxReward(model, scale=SCALE)
    before = np.asarray(critic.kernel.get_value())
    cluster = RLCluster(
        actor=grpo_tunix.policy(len(tokenizer)),
        critic=critic,
        reward=NnxReward(model, add_ending=True, scale=SCALE),
        tokenizer=tokenizer,
        cluster_config=ClusterConfig(
            role_to_mesh={role: mesh for role in Role},
            training_config=RLTrainingConfig(
                actor_optimizer=optax.adam(1e-3), critic_optimizer=optax.adam(1e-3), eval_every_n_steps=9, max_steps=2
            ),
            rollout_config=RolloutConfig(
                max_tokens_to_generate=8, max_prompt_length=64, kv_cache_size=80, temperature=1.0
            ),
        ),
    )

    generate = cluster.generate

    def generate_noting(*positional, **named):
        output = generate(*positional, **named)
        steps.append({"tokens": [np.asarray(ids).tolist() for ids in output.tokens]})
        return output

    cluster.generate = generate_noting

    def watch(rewards, **others):
        steps[-1]["rewards"] = (np.asarray(rewards) / SCALE).tolist()
        return {}

    question = tokenizer.decode(render(tokenizer, [Message("user", "Hi")]))
    learner = PPOLearner(cluster, PPOConfig(beta=0.0, clip_range_value=0.2 * SCALE), metric_fns=[watch])
    learner.train(grain.MapDataset.source([{"prompts": question}] * 8).batch(4))
    moved = np.abs(np.asarray(cluster.critic_trainer.model.kernel.get_value()) - before).max()
    apart = [
        abs(given - reward_of_ids(model, ids))
        for step in steps
        for ids, given in zip(step["tokens"], step["rewards"], strict=True)
        if tokenizer.pad_token_id not in ids  # Tunix takes it for the end
    ]
    return {"apart": apart, "rewards": [step["rewards"] for step in steps], "critic_moved": float(moved)}


def reward_of_ids(model: RewardModel, answer: list[int]) -> float:
    """The composed reward of an answer to "Hi", by its token ids, with what the chat template prints behind it."""
    tokenizer, prompt = model.tokenizer, (Message("user", "Hi"),)
    start, [whole] = render(tokenizer, prompt), token_sequences(tokenizer, [(prompt, "No.")], "last", None)
    ending = whole[len(start) + len(tokenizer.encode("No.", add_special_tokens=False)) :].tolist()
    tokens = np.array([[*start, *answer, *ending]], np.int32)
    ones, position = np.ones_like(tokens), np.arange(tokens.shape[1], dtype=np.int32)[None]
    hidden = Backbone(model.cfg).apply({"params": model.params}, tokens, ones, ones - 1, position)
    return float((np.asarray(hidden)[0, -1] @ model.kernel + model.bias) @ model.weights)


def backbone_as_policy(model: RewardModel) -> str:
    """Why the backbone is no policy."""
    try:
        grpo_tunix.cluster_of(NnxBackbone(model.cfg, model.params), model.tokenizer, RolloutConfig(), 1, 1e-3)
    except ValueError as error:
        return str(error)
    return ""


def main(folder: Path) -> None:
    """Everything, in one process."""
    jax.config.update("jax_platforms", "cpu")
    model = RewardModel.from_pretrained(folder)
    found = {method: group_relative(model, method) for method in ("grpo", "gdpo")}
    print(json.dumps(found | {"ppo": ppo(model), "policy": backbone_as_policy(model), "rules": list(model.rules)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
