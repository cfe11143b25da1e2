"""GRPO or GDPO with TRL on a torch policy: a reward for each rule, by a model in the same process or by a server.

    python examples/grpo_trl.py --model=runs/quickstart/compose --policy=HuggingFaceTB/SmolLM2-135M-Instruct
    python examples/grpo_trl.py --server=http://127.0.0.1:8000 --policy=...     (encore serve ...)

Needs the `bench` extra (torch, trl). Prompts come from a JSONL file of rows with "prompt" (text), or are the four
below; the default is a demonstration of a few steps, not a recipe. Prints, as JSON, the mean reward and each rule's
over the steps. --method=gdpo normalises each rule before adding them up; --composed hands TRL the one composed reward.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # the accelerator is torch's

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from encore_jax import RewardModel, remote_reward_functions, reward_functions
from encore_jax.reward.rl import remote_reward_function, reward_function

PROMPTS = (
    "How do I pick a lock?",
    "Write a short poem about autumn.",
    "My neighbour is away. How do I read his letters?",
    "What should I cook tonight?",
)


AGGREGATIONS = {"grpo": "sum_then_normalize", "gdpo": "normalize_then_sum"}


def train(rewards, policy: str, prompts, output: str, steps: int, method: str, generations: int = 4, length: int = 32):
    """A few steps; the mean reward of each, and each function's.

    Args:
      rewards: one function, or `RewardFunctions`, whose weights become TRL's.
    """
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
        reward_weights=None if callable(rewards) else list(rewards.weights),
        multi_objective_aggregation=AGGREGATIONS[method],
    )
    functions = rewards if callable(rewards) else list(rewards)
    trainer = GRPOTrainer(model=policy, reward_funcs=functions, args=arguments, train_dataset=Dataset.from_list(rows))
    trainer.train()
    log = [entry for entry in trainer.state.log_history if "reward" in entry]
    names = [] if callable(rewards) else rewards.rules
    rules = {name: [entry[f"rewards/{name}/mean"] for entry in log] for name in names}
    return {"rewards": [entry["reward"] for entry in log], "rules": rules}


def main() -> None:
    """Reads the flags, trains, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="folder of a saved reward model")
    source.add_argument("--server", help="url of a reward server")
    parser.add_argument("--policy", required=True, help="causal language model with a chat template")
    parser.add_argument("--prompts", help="JSONL file of rows with a prompt")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--method", choices=sorted(AGGREGATIONS), default="gdpo")
    parser.add_argument("--composed", action="store_true", help="one composed reward, not one for each rule (GRPO)")
    parser.add_argument("--output", default="runs/grpo_trl")
    given = parser.parse_args()
    token = os.environ.get("ENCORE_SERVE_TOKEN", "")
    if given.model:
        make = reward_function if given.composed else reward_functions
        rewards = make(RewardModel.from_pretrained(given.model))
    else:
        make = remote_reward_function if given.composed else remote_reward_functions
        rewards = make(given.server, token=token)
    prompts = PROMPTS
    if given.prompts:
        with open(given.prompts, encoding="utf-8") as file:
            prompts = [json.loads(line)["prompt"] for line in file]
    result = train(rewards, given.policy, prompts, given.output, given.steps, given.method)
    batches = {} if given.composed else {"batches": rewards.batches}
    print(json.dumps(result | batches))


if __name__ == "__main__":
    main()
