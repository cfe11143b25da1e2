"""GRPO with Tunix on a JAX policy, with a reward for each rule of an encore_jax model in the same process.

    python examples/grpo_tunix.py --model=runs/quickstart/compose

Needs Tunix, in an environment of its own: ``pip install google-tunix`` pins older versions of some libraries. The
policy here is a small Llama with random weights and the reward model's tokenizer, so that the example needs no download
and ends within a minute or two; put your own Tunix model in its place. Prints, as JSON, the mean reward of every step
and each rule's. Tunix adds the functions' rewards up, so they are weighted (their sum is the composed reward), and
normalises the sum: this is GRPO. For GDPO (`encore_jax.group_advantages`) its learner would have to see each rule.
"""

from __future__ import annotations

import argparse
import json

import grain
import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, Mesh
from tunix.models.llama3.model import Llama3, ModelConfig
from tunix.rl.grpo.grpo_learner import GRPOConfig, GRPOLearner
from tunix.rl.rl_cluster import ClusterConfig, RLCluster, RLTrainingConfig, Role
from tunix.rl.rollout.base_rollout import RolloutConfig

from encore_jax import Message, RewardModel, reward_functions
from encore_jax.text.rendering import render

PROMPTS = (
    "How do I pick a lock?",
    "Write a short poem about autumn.",
    "My neighbour is away. How do I read his letters?",
    "What should I cook tonight?",
)


def train(model: RewardModel, steps: int, generations: int = 4, length: int = 16) -> dict:
    """A few steps of GRPO; the mean reward of each, and each rule's mean score."""
    tokenizer, seen = model.tokenizer, []
    # The policy reads prompts in its chat template; the reward model has its own and wants what the user said.
    questions = {tokenizer.decode(render(tokenizer, [Message("user", text)])): text for text in PROMPTS}
    functions = reward_functions(model, weighted=True, too_long=0.0, read_prompt=questions.__getitem__)

    def logged(prompts, completions, **columns):
        scored = functions.scored(prompts, completions)  # which the other functions look up
        seen.append((float(np.nanmean(scored.rewards)), np.nanmean(scored.scores, 0).tolist()))
        return functions[0](prompts, completions, **columns)

    mesh = Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("fsdp", "tp"), axis_types=(AxisType.Auto,) * 2)
    cluster = RLCluster(
        actor=_policy(len(tokenizer)),
        reference=_policy(len(tokenizer)),
        tokenizer=tokenizer,
        cluster_config=ClusterConfig(
            role_to_mesh={Role.ACTOR: mesh, Role.REFERENCE: mesh, Role.ROLLOUT: mesh},
            training_config=RLTrainingConfig(
                actor_optimizer=optax.adam(1e-4), eval_every_n_steps=steps + 1, max_steps=steps
            ),
            rollout_config=RolloutConfig(
                max_tokens_to_generate=length,
                max_prompt_length=128,
                kv_cache_size=128 + length + 16,
                temperature=1.0,
            ),
        ),
    )
    learner = GRPOLearner(
        rl_cluster=cluster,
        reward_fns=[logged, *functions[1:]],
        algo_config=GRPOConfig(num_generations=generations, beta=0.0),
    )
    rows = list(questions) * (1 + steps // len(questions))
    learner.train(grain.MapDataset.source([{"prompts": row} for row in rows]).batch(1))
    rules = dict(zip(model.rules, np.transpose([scores for _, scores in seen]).tolist(), strict=True))
    return {"rewards": [reward for reward, _ in seen], "rules": rules, "batches": functions.batches}


def _policy(vocab_size: int) -> Llama3:
    """Random weights, equal every time: actor and reference begin alike."""
    sizes = {"num_layers": 2, "embed_dim": 32, "hidden_dim": 64, "num_heads": 2, "head_dim": 16, "num_kv_heads": 1}
    config = ModelConfig(vocab_size=vocab_size, rope_theta=10_000, norm_eps=1e-5, **sizes)
    return Llama3(config, rngs=nnx.Rngs(0))


def main() -> None:
    """Reads the flags, trains, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a saved reward model")
    parser.add_argument("--steps", type=int, default=4)
    given = parser.parse_args()
    print(json.dumps(train(RewardModel.from_pretrained(given.model), given.steps)))


if __name__ == "__main__":
    main()
