"""Reward functions for reinforcement learning: TRL's ``reward_funcs`` and Tunix' ``reward_fns``.

Both trainers call ``function(prompts=[...], completions=[...], **columns)`` and want one float per completion: the
composed reward here, each rule's own in `encore_jax.reward.rule_rewards`. In JAX
(Tunix) the model runs in the trainer's own process: `reward_function`. A torch trainer (TRL, OpenRLHF) may do that too,
or leave the accelerator to itself and ask a server: `remote_reward_function`.

The completions of one prompt share it as a prefix, so a group of G costs about one prompt and G completions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from encore_jax.errors import InputError
from encore_jax.reward.abstain import check_given, policy_of
from encore_jax.reward.conversations import Prompt, texts_of
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.rewards_client import RewardsClient

RewardFunction = Callable[..., list[float | None]]


def reward_function(
    model: RewardModel,
    *,
    too_long: float | None = None,
    read_prompt: Callable[[Any], Prompt] = lambda prompt: prompt,
    policy: str | None = None,
    threshold: float | None = None,
    abstain: float | None = None,
) -> RewardFunction:
    """The model's composed reward, as a function for a trainer.

    Where the trainer offers ``log_metric`` (TRL does), the mean score of every rule is logged as ``rule/NAME``, and
    with a policy the share of rewards that it holds back as ``abstained``.

    Args:
      model: loaded where it shall run.
      too_long: reward of a completion that makes the conversation longer than the model takes. None says that there is
        none: TRL then leaves it out of the sum; Tunix needs a number.
      read_prompt: from a prompt as the trainer's data set holds it to text or messages. Needed where prompts are
        already rendered in the policy's chat template: the reward model has one of its own.
      policy, threshold: "lower", "clip" or "mask": what becomes of rewards whose interval is wide; see
        `encore_jax.reward.abstain`. Without one, rewards are as they are.
      abstain: reward of a completion that the policy holds back; None as for `too_long`.

    Raises:
      InputError: a policy that there is not, `too_long` or `abstain` is no number, or nobody has calibrated the model.

    Returns:
      A function ``(prompts, completions, **columns)``. Completions are texts, or lists of one assistant message.
    """

    chosen = policy_of(policy, threshold)
    check_given(chosen, too_long, abstain)
    intervals = None if chosen is None else model.intervals

    def encore_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        check_counts(prompts, completions)
        scored = model.scorer.scored(model.scorer.run_texts(texts_of(prompts, completions, read_prompt)))
        if "log_metric" in columns and np.isfinite(scored.scores).any():
            for rule, mean in zip(model.rules, np.nanmean(scored.scores, axis=0), strict=True):
                columns["log_metric"](f"rule/{rule}", float(mean))
        if chosen is None:
            return [too_long if np.isnan(value) else float(value) for value in scored.rewards]
        given = chosen.values(intervals.of_rewards(scored.rewards), intervals.reward_range)
        if "log_metric" in columns and np.isfinite(scored.rewards).any():
            columns["log_metric"]("abstained", float(np.isnan(given[np.isfinite(scored.rewards)]).mean()))
        return held_back(scored.rewards, given, too_long, abstain)

    return encore_reward


def remote_reward_function(
    url: str,
    *,
    token: str = "",
    too_long: float | None = None,
    policy: str | None = None,
    threshold: float | None = None,
    abstain: float | None = None,
) -> RewardFunction:
    """The same from a server, ``encore serve``.

    Args:
      url: of the server, e.g. "http://127.0.0.1:8000".
      token: the server's, if it has one.
      too_long, policy, threshold, abstain: see `reward_function`.

    Raises:
      InputError: the address is none, a policy that there is not, or (when called) the server refuses the request or
        gives no rewards.
      ConnectionError: (when called) it stays busy or away for long.
    """
    client, chosen = RewardsClient(url, token), policy_of(policy, threshold)
    check_given(chosen, too_long, abstain)
    intervals = None if chosen is None else client.intervals()

    def encore_reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        check_counts(prompts, completions)
        if chosen is not None:
            answer = client.rewards(prompts, completions)
            rewards = np.array([np.nan if value is None else value for value in answer], np.float32)
            given = chosen.values(intervals.of_rewards(rewards), intervals.reward_range)
            return held_back(rewards, given, too_long, abstain)
        return [too_long if value is None else value for value in client.rewards(prompts, completions)]

    return encore_reward


def held_back(
    values: np.ndarray, given: np.ndarray, too_long: float | None, abstain: float | None
) -> list[float | None]:
    """What a trainer gets: `given`, `abstain` where that is NaN, and `too_long` where there is no value either."""
    return [
        too_long if np.isnan(value) else abstain if np.isnan(instead) else float(instead)
        for value, instead in zip(values, given, strict=True)
    ]


def check_counts(prompts: Sequence[Any], completions: Sequence[Any]) -> None:
    """Raises InputError unless there is a completion for each prompt."""
    if len(prompts) != len(completions):
        raise InputError(f"{len(completions)} completions for {len(prompts)} prompts", where="reward function")
