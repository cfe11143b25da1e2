"""The rewards of K rules for Tunix' GRPO learner, each of them as far as the advantages.

So it has GDPO, weights, constraints, and rewards that are missing: by itself Tunix adds up what its reward functions
return, and a missing reward counts as 0. It takes a reward manager and an advantage estimator of one's own by name, and
these two hand the rules' rewards from one to the other. Nothing here imports Tunix. Written for its 0.1.7.

Shape letters: N completions in groups of G, K rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from encore_jax.composition.advantages import Method, group_advantages
from encore_jax.errors import InputError
from encore_jax.reward.rule_rewards import RewardFunctions


class TunixRules(NamedTuple):
    """What Tunix' ``function_registry`` takes, both under one name.

    Attributes:
      reward_manager: for ``register_reward_manager``: makes a function from prompts and completions to the rewards of
        every rule ``[N, K]``, NaN where there is none, and what Tunix logs (``rewards/NAME``, and the composed
        ``rewards/composed``).
      advantage_estimator: for ``register_advantage_estimator``: from these to advantages ``[N]``.
    """

    reward_manager: Callable[..., Callable[..., dict[str, Any]]]
    advantage_estimator: Callable[..., np.ndarray]


def tunix_rules(functions: RewardFunctions, method: Method = "gdpo", **options: Any) -> TunixRules:
    """Tunix' GRPO with the rewards of every rule.

    ``register_reward_manager("rules")(rules.reward_manager)``, the same with the estimator, then
    ``GRPOConfig(reward_manager="rules", advantage_estimator="rules")`` and ``GRPOLearner(reward_fns=functions, ...)``.
    A batch is scored once. The batch that GDPO normalises over is what the learner generates at a time.

    Args:
      functions: of a model or a server.
      method, options: of `encore_jax.group_advantages`; convention "tunix" if none is said.

    Raises:
      InputError: GDPO with weighted functions: what divides each rule by its spread divides a factor out. Or what
        `group_advantages` refuses.

    >>> from encore_jax.reward.scored import Scored
    >>> def score(prompts, completions):  # in place of a model: two rules
    ...     scores = np.array([[len(text), text.count("!")] for text in completions], np.float32)
    ...     return Scored(scores, np.broadcast_to(np.float32([0.75, 0.25]), scores.shape))
    >>> functions = RewardFunctions(("length", "shouting"), (0.75, 0.25), score)
    >>> rules = tunix_rules(functions, "gdpo")
    >>> manager = rules.reward_manager(reward_fns=functions, algo_config=None)
    >>> rewards = manager(prompts=["Hi", "Hi"], completions=["Ho", "Hoo!"])["rewards"]
    >>> rewards.tolist()
    [[2.0, 0.0], [4.0, 1.0]]
    >>> print(rules.advantage_estimator(rewards=rewards, num_generations=2).round(2))
    [-0.71  0.71]
    """
    if method == "gdpo" and functions.weighted:
        fix = "leave weighted=True out; the functions' weights are taken where the rules are added up"
        raise InputError("GDPO divides the weights of weighted functions out", where="reward functions", fix=fix)
    options = {"convention": "tunix"} | options
    weights = np.asarray(functions.weights, np.float32)
    group_advantages(np.zeros((1, len(weights)), np.float32), weights, method, **options)  # refuses bad options now

    def reward_manager(reward_fns: Any = None, algo_config: Any = None, **_: Any) -> Callable[..., dict[str, Any]]:
        def manager(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> dict[str, Any]:
            by_rule = functions.by_rule(prompts, completions)
            rewards = np.array([by_rule[rule] for rule in functions.rules], np.float32).T
            logged = {f"rewards/{rule}": (_there(column), _mean) for rule, column in by_rule.items()}
            logged["rewards/composed"] = _there(functions.composed(prompts, completions)), _mean
            return {"rewards": rewards, "log_metrics": logged}

        return manager

    def advantage_estimator(rewards: np.ndarray, num_generations: int, **_: Any) -> np.ndarray:
        rewards = np.asarray(rewards, np.float32)
        if rewards.ndim != 2 or rewards.shape[1] != len(weights) or len(rewards) % num_generations:
            problem = f"rewards have shape {rewards.shape}, for {len(weights)} rules and groups of {num_generations}"
            fix = "register this one's reward_manager, too, and name both in GRPOConfig"
            raise InputError(problem, where="advantage_estimator", fix=fix)
        groups = rewards.reshape(-1, num_generations, len(weights))
        return np.asarray(group_advantages(groups, weights, method, **options)).ravel()

    return TunixRules(reward_manager, advantage_estimator)


def _there(values: Sequence[float | None]) -> float:
    """The mean of the rewards that exist; NaN of none."""
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else float("nan")


def _mean(means: np.ndarray) -> float:
    """Over the batches of a step that have any."""
    there = np.asarray(means)[np.isfinite(means)]
    return float(there.mean()) if there.size else float("nan")
