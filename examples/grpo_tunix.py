"""GRPO or GDPO with Tunix on a JAX policy, with a reward for each rule of an encore_jax model in the same process.

    python examples/grpo_tunix.py --model=runs/quickstart/compose

Needs Tunix beside this project, in an environment of its own: ``pip install google-tunix -e .`` (docs/tunix.md says
which versions were tried). The policy here is a small Llama with random weights and the reward model's tokenizer, so
that the example needs no download and ends within minutes; put your own Tunix model in its place. Prints, as JSON,
the mean reward of every step and each rule's, as Tunix logs them. --method=grpo is Tunix' own way: it adds the
functions' rewards up, so they are weighted (their sum is the composed reward). --method=gdpo gives it each rule.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import grain
import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, Mesh
from tunix.models.llama3.model import Llama3, ModelConfig
from tunix.rl import function_registry
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig

from encore_jax import Message, RewardModel, reward_functions
from encore_jax.reward.tunix_rules import tunix_rules
from encore_jax.text.rendering import render

PROMPTS = (
    "How do I pick a lock?",
    "Write a short poem about autumn.",
    "My neighbour is away. How do I read his letters?",
    "What should I cook tonight?",
)


def train(
    model: RewardModel,
    method: str = "grpo",
    *,
    steps: int,
    generations: int = 4,
    length: int = 16,
    learning_rate: float = 1e-3,
    watch: Callable[..., Any] | None = None,
) -> dict:
    """Some steps; the mean reward of each, and each rule's mean score, as Tunix' own log has them.

    Args:
      model: gives the rewards.
      method: "grpo" or "gdpo".
      steps: of the optimiser, two prompts each.
      generations: of a prompt, the group.
      length: of a completion, in tokens.
      learning_rate: of Adam.
      watch: called with what Tunix gives a metric function (prompts, completions, rewards, advantages), every step.
    """
    tokenizer = model.tokenizer
    # The policy reads prompts in its chat template; the reward model has its own and wants what the user said.
    questions = {tokenizer.decode(render(tokenizer, [Message("user", text)])): text for text in PROMPTS}
    options = {"read_prompt": questions.__getitem__}
    if method == "gdpo":
        functions = reward_functions(model, **options)
        rules = tunix_rules(functions, "gdpo")
        function_registry.register_reward_manager("rules")(rules.reward_manager)
        function_registry.register_advantage_estimator("rules")(rules.advantage_estimator)
        names = {"reward_manager": "rules", "advantage_estimator": "rules"}
    else:
        functions, names = reward_functions(model, weighted=True, too_long=0.0, **options), {}

    def metrics(prompts, completions, **others):
        """The model's scores into Tunix' log; they are looked up, not computed again."""
        scored = functions.scored(prompts, completions)
        rollout.seed += 1  # Tunix draws every step's completions with the seed that stands here
        if watch is not None:
            watch(prompts=prompts, completions=completions, scored=scored, **others)
        by_rule = dict(zip(model.rules, np.nanmean(scored.scores, 0).tolist(), strict=True))
        return {f"encore/{name}": (value, np.mean) for name, value in by_rule.items()} | {
            "encore/reward": (float(np.nanmean(scored.rewards)), np.mean)
        }

    log = []
    rollout = RolloutConfig(
        max_tokens_to_generate=length,
        max_prompt_length=128,
        kv_cache_size=128 + length + 16,
        temperature=1.0,
        seed=0,
    )
    cluster = cluster_of(policy(len(tokenizer)), tokenizer, rollout, steps, learning_rate).with_external_metrics_logger(
        lambda step: log.append({name: float(op(values)) for name, (values, op) in step.metrics.items() if op})
    )
    learner = GRPOLearner(
        rl_cluster=cluster,
        reward_fns=list(functions),
        algo_config=GRPOConfig(num_generations=generations, beta=0.0, **names),
        metric_fns=[metrics],
    )
    rows = list(questions) * (1 + 2 * steps // len(questions))
    learner.train(grain.MapDataset.source([{"prompts": row} for row in rows]).batch(2))
    log = [step for step in log if "encore/reward" in step]
    curves = {rule: [step[f"encore/{rule}"] for step in log] for rule in model.rules}
    return {"rewards": [step["encore/reward"] for step in log], "rules": curves, "batches": functions.batches}


def cluster_of(actor: nnx.Module, tokenizer, rollout: RolloutConfig, steps: int, learning_rate: float) -> RLCluster:
    """Where everything runs: one device. Without a KL penalty (``beta=0``) there is no reference model."""
    mesh = one_device()
    training = RLTrainingConfig(
        actor_optimizer=optax.adam(learning_rate), eval_every_n_steps=steps + 1, max_steps=steps
    )
    places = {Role.ACTOR: mesh, Role.REFERENCE: mesh, Role.ROLLOUT: mesh}
    settings = ClusterConfig(role_to_mesh=places, training_config=training, rollout_config=rollout)
    return RLCluster(actor=actor, tokenizer=tokenizer, cluster_config=settings)


def one_device() -> Mesh:
    """A mesh of the first device, with the axes that Tunix' models know."""
    return Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"), axis_types=(AxisType.Auto,) * 2)


def policy(vocab_size: int) -> Llama3:
    """Random weights, equal every time."""
    sizes = {"num_layers": 2, "embed_dim": 32, "hidden_dim": 64, "num_heads": 2, "head_dim": 16, "num_kv_heads": 1}
    config = ModelConfig(vocab_size=vocab_size, rope_theta=10_000, norm_eps=1e-5, **sizes)
    return Llama3(config, rngs=nnx.Rngs(0))


def main() -> None:
    """Reads the flags, trains, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a saved reward model")
    parser.add_argument("--method", choices=("grpo", "gdpo"), default="grpo")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--generations", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    given = parser.parse_args()
    model = RewardModel.from_pretrained(given.model)
    options = {"steps": given.steps, "generations": given.generations, "learning_rate": given.learning_rate}
    print(json.dumps(train(model, given.method, **options)))


if __name__ == "__main__":
    main()
