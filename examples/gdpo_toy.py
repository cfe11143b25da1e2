"""Where GRPO on the sum of two rules loses one that GDPO keeps: a policy of a few logits, many seeds, seconds on a CPU.

    python examples/gdpo_toy.py                      (64 seeds; --seeds=8 --steps=50 is a glance)

The rewards are those of tool calling in the GDPO paper (arXiv 2601.05242, section 4.1): "correct" from -3 to 3 and
"format", 0 or 1. Groups of 4, 100 steps, equal weights, as there. The policy is no language model: for each of 16
prompts it draws whether the answer keeps the format, and one of seven levels of correctness. In the first setting the
two have nothing to do with each other. In the second, every other answer that keeps the format fails and gets -3, as
where a schema leaves no room to reason. There the sum is highest without the format (3 against 1): the rule of the
larger scale decides alone. GDPO, which divides each rule by its own spread, keeps the format and pays with correctness.
Which of the two is wanted is for people to say; that a rule's scale says it unasked is what the example shows.

For each setting and method it prints the final probability of the format and the expected correctness, mean and 95%
interval over seeds (each begins with other logits and draws other answers), in how many seeds the format is lost (it
begins near 50% and ends below 25%), and curves over steps; the last line is JSON.
"""

from __future__ import annotations

import argparse
import functools
import json
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np

from encore_jax import group_advantages

PROMPTS, GROUP, LEVELS = 16, 4, np.arange(-3.0, 4.0, dtype=np.float32)
RULES, WEIGHTS = ("format", "correct"), np.ones(2, np.float32)
SETTINGS = {"independent": 0.0, "format costs correctness": 0.5}
"""The probability with which an answer that keeps the format fails: it gets the lowest level."""
METHODS = ("grpo", "gdpo")
LOST = 0.25


def initial(seed: int) -> dict:
    """A policy's logits for each prompt: of the format, ``[P]``, and of the levels of correctness, ``[P, 7]``."""
    keep, level = jax.random.split(jax.random.key(seed))
    return {
        "format": 0.5 * jax.random.normal(keep, (PROMPTS,)),
        "level": 0.5 * jax.random.normal(level, (PROMPTS, len(LEVELS))),
    }


def expected(policy: dict, failure: float) -> tuple:
    """Probability of the format, and expected correctness, averaged over prompts."""
    keep = jax.nn.sigmoid(policy["format"])
    mean = (jax.nn.softmax(policy["level"]) * jnp.broadcast_to(LEVELS, policy["level"].shape)).sum(-1)
    return keep.mean(), (mean + failure * keep * (LEVELS[0] - mean)).mean()


def sample(key, policy: dict, failure: float):
    """For each prompt a group of answers: whether they keep the format, the level drawn, and that which they get."""
    first, second, third = jax.random.split(key, 3)
    keeps = jax.random.bernoulli(first, jax.nn.sigmoid(policy["format"])[:, None], (PROMPTS, GROUP))
    levels = jax.random.categorical(second, policy["level"][:, None], shape=(PROMPTS, GROUP))
    fails = keeps & jax.random.bernoulli(third, failure, (PROMPTS, GROUP))
    return keeps, levels, jnp.where(fails, 0, levels)


def log_probability(policy: dict, keeps, levels):
    """Of every answer, ``[P, G]``."""
    of_format = jax.nn.log_sigmoid(jnp.where(keeps, 1.0, -1.0) * policy["format"][:, None])
    return of_format + jnp.take_along_axis(jax.nn.log_softmax(policy["level"]), levels, -1)


@functools.partial(jax.jit, static_argnames=("method", "steps"))
def train(seeds, failure: float, method: str, steps: int, step_size: float):
    """Policy gradient of many seeds at once; the two rules' curves ``[seeds, steps, 2]``."""

    def one_seed(policy, key):
        def step(policy, key):
            keeps, levels, outcomes = sample(key, policy, failure)
            rewards = jnp.stack([keeps.astype(jnp.float32), jnp.asarray(LEVELS)[outcomes]], -1)
            advantages = group_advantages(rewards, WEIGHTS, method)

            def loss(policy):
                return -(advantages * log_probability(policy, keeps, levels)).mean(1).sum()

            gradient = jax.grad(loss)(policy)
            policy = jax.tree.map(lambda value, slope: value - step_size * slope, policy, gradient)
            return policy, jnp.stack(expected(policy, failure))

        return jax.lax.scan(step, policy, jax.random.split(key, steps))[1]

    return jax.vmap(lambda seed: one_seed(initial(seed), jax.random.key(seed + 1_000_003)))(seeds)


def summary(curves: np.ndarray) -> dict:
    """What became of the rules at the end: mean and half a 95% interval over seeds, and how many lost the format."""
    curves = curves.astype(np.float64)
    last = curves[:, -1]
    half = 1.96 * last.std(0, ddof=1) / np.sqrt(len(last))
    picked = np.unique(np.linspace(0, curves.shape[1] - 1, 6).astype(int))
    return {
        "final": dict(zip(RULES, zip(last.mean(0).tolist(), half.tolist(), strict=True), strict=True)),
        "lost_format": float((last[:, 0] < LOST).mean()),
        "curves": {rule: np.round(curves[:, picked, i].mean(0), 2).tolist() for i, rule in enumerate(RULES)},
        "steps": (picked + 1).tolist(),
    }


def main() -> None:
    """Reads the flags, trains, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=64)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--step-size", type=float, default=0.5)
    given = parser.parse_args()
    results = {}
    for setting, failure in SETTINGS.items():
        for method in METHODS:
            seeds = jnp.arange(given.seeds)
            found = summary(np.asarray(train(seeds, failure, method, given.steps, given.step_size)))
            results.setdefault(setting, {})[method] = found
            print(f"{setting}, {method}: lost the format in {found['lost_format']:.0%} of {given.seeds} seeds")
            for rule, (mean, half) in found["final"].items():
                print(f"  {rule:8} {mean:6.3f} ± {half:.3f}   over steps {found['steps']}: {found['curves'][rule]}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
