"""GRPO with TRL on a torch policy, rewarded by an encore_jax model in the same process, or by a server.

    python examples/grpo_trl.py --model=runs/quickstart/compose --policy=HuggingFaceTB/SmolLM2-135M-Instruct
    python examples/grpo_trl.py --server=http://127.0.0.1:8000 --policy=...     (encore serve ...)

Needs the `bench` extra (torch, trl). Prompts come from a JSONL file of rows with "prompt" (text), or are the four
below; the default is a demonstration of a few steps, not a recipe. Prints the mean reward of every step as JSON.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the accelerator is torch's

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from encore_jax import RewardModel
from encore_jax.reward.rl import remote_reward_function, reward_function

PROMPTS = (
    "How do I pick a lock?",
    "Write a short poem about autumn.",
    "My neighbour is away. How do I read his letters?",
    "What should I cook tonight?",
)


def train(reward, policy: str, prompts, output: str, steps: int, generations: int = 4, length: int = 32) -> list[float]:
    """A few steps of GRPO; the mean reward of each."""
    rows = [{"prompt": [{"role": "user", "content": prompt}]} for prompt in prompts]
    arguments = GRPOConfig(
        output_dir=output,
        max_steps=steps,
        per_device_train_batch_size=generations,
        num_generations=generations,
        max_completion_length=length,
        learning_rate=1e-5,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        use_cpu=os.environ.get("CUDA_VISIBLE_DEVICES", "") == "",
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
    )
    trainer = GRPOTrainer(model=policy, reward_funcs=reward, args=arguments, train_dataset=Dataset.from_list(rows))
    trainer.train()
    return [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]


def main() -> None:
    """Reads the flags, trains, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="folder of a saved reward model")
    source.add_argument("--server", help="url of a reward server")
    parser.add_argument("--policy", required=True, help="causal language model with a chat template")
    parser.add_argument("--prompts", help="JSONL file of rows with a prompt")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--output", default="runs/grpo_trl")
    given = parser.parse_args()
    if given.model:
        reward = reward_function(RewardModel.from_pretrained(given.model))
    else:
        reward = remote_reward_function(given.server, token=os.environ.get("ENCORE_SERVE_TOKEN", ""))
    prompts = PROMPTS
    if given.prompts:
        with open(given.prompts, encoding="utf-8") as file:
            prompts = [json.loads(line)["prompt"] for line in file]
    print(json.dumps({"rewards": train(reward, given.policy, prompts, given.output, given.steps)}))


if __name__ == "__main__":
    main()
