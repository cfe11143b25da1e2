"""The rewards of K rules as trainers want them that take a dictionary: verl and NeMo-RL. (OpenRLHF asks the server.)

TRL and Tunix take `encore_jax.reward.rule_rewards.RewardFunctions` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from encore_jax.errors import InputError
from encore_jax.reward.conversations import Prompt
from encore_jax.reward.rule_rewards import RewardFunctions

PREFIX = "rule/"
"""Before a rule's name in a trainer's dictionaries, so that no rule can be taken for the trainer's own "score"."""


def prompt_of(extra_info: Mapping[str, Any] | None) -> Prompt:
    """The prompt as verl's data carry it: in ``extra_info``, as "prompt" or "question".

    Raises:
      InputError: it is not there.

    >>> prompt_of({"index": 3, "question": "How do I pick a lock?"})
    'How do I pick a lock?'
    """
    for name in ("prompt", "question"):
        if extra_info is not None and name in extra_info:
            return extra_info[name]
    fix = "put it there when the data are prepared, or say read_prompt=lambda extra_info: ..."
    raise InputError("holds no prompt", where="extra_info", fix=fix)


def verl_compute_score(
    functions: RewardFunctions, *, read_prompt: Callable[[Mapping[str, Any]], Prompt] = prompt_of
) -> Callable[..., dict[str, float] | list[dict[str, float]]]:
    """A ``compute_score`` for verl, of one sample or (reward manager "batch") of a whole batch.

    Every sample gets "score", the composed reward, and "rule/NAME" for each rule: the names that
    ``algorithm.gdpo_reward_keys`` takes, with ``algorithm.gdpo_reward_weights`` from `verl_settings`.

    Args:
      functions: of a model or a server; `too_long` must be a number, because verl knows no missing reward. verl's
        default manager asks sample by sample, in threads: a server then packs the batch, a model in the process
        scores each sample alone.
      read_prompt: finds the prompt in a sample's ``extra_info``.

    Raises:
      InputError: `too_long` is None.
    """
    if functions.too_long is None:
        fix = "say what such a completion gets: reward_functions(model, too_long=0.0)"
        raise InputError("verl wants a number for every completion", where="reward functions, too_long", fix=fix)

    def scores_of(answers: Sequence[str], extra_infos: Sequence[Any]) -> list[dict[str, float]]:
        prompts = [read_prompt(info) for info in extra_infos]
        rules, totals = functions.by_rule(prompts, answers), functions.composed(prompts, answers)
        return [
            {"score": total} | {PREFIX + rule: values[i] for rule, values in rules.items()}
            for i, total in enumerate(totals)
        ]

    def compute_score(
        data_source: Any = None,
        solution_str: str | None = None,
        ground_truth: Any = None,
        extra_info: Mapping[str, Any] | None = None,
        *,
        solution_strs: Sequence[str] | None = None,
        extra_infos: Sequence[Any] | None = None,
        **others: Any,
    ) -> dict[str, float] | list[dict[str, float]]:
        if solution_strs is None:
            return scores_of([solution_str], [extra_info])[0]
        return scores_of(list(solution_strs), list(extra_infos))

    return compute_score


def verl_settings(functions: RewardFunctions) -> list[str]:
    """The command line's words for GDPO by rule: estimator, keys and weights.

    >>> functions = RewardFunctions(("kind", "safe"), (0.25, 0.75), None)
    >>> for word in verl_settings(functions):
    ...     print(word)
    algorithm.adv_estimator=gdpo
    +algorithm.gdpo_reward_keys=["rule/kind","rule/safe"]
    +algorithm.gdpo_reward_weights=[0.25,0.75]
    """
    keys = ",".join(f'"{PREFIX}{rule}"' for rule in functions.rules)
    weights = ",".join(repr(weight) for weight in functions.weights)
    return [
        "algorithm.adv_estimator=gdpo",
        f"+algorithm.gdpo_reward_keys=[{keys}]",
        f"+algorithm.gdpo_reward_weights=[{weights}]",
    ]


def conversation_rewards(
    functions: RewardFunctions, message_logs: Sequence[Sequence[Mapping[str, Any]]]
) -> dict[str, np.ndarray]:
    """The rewards of finished conversations by rule, fp32 ``[N]`` each: what a NeMo-RL environment's step returns.

    Args:
      functions: of a model or a server.
      message_logs: N lists of messages, of which role and content are read (others, such as token ids, are the
        trainer's). Each ends with the assistant's turn.

    Returns:
      By rule, in the alphabetical order in which NeMo-RL reads its ``reward_weights`` (`nemo_rl_weights`). NaN where a
      conversation is too long and `too_long` is not said.

    Raises:
      InputError: a conversation does not end with the assistant.

    >>> from encore_jax.reward.scored import Scored
    >>> ones = np.ones((1, 2), np.float32)
    >>> functions = RewardFunctions(("safe", "kind"), (0.75, 0.25), lambda prompts, completions: Scored(ones, ones))
    >>> conversation_rewards(functions, [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]])
    {'kind': array([1.], dtype=float32), 'safe': array([1.], dtype=float32)}
    """
    prompts, completions = [], []
    for i, log in enumerate(message_logs):
        turns = [{"role": turn["role"], "content": turn["content"]} for turn in log]
        if len(turns) < 2 or turns[-1]["role"] != "assistant":
            problem = "does not end with an assistant's turn that answers something"
            raise InputError(problem, where=f"message log {i}", fix="reward a conversation when it is finished")
        prompts.append(turns[:-1])
        completions.append(turns[-1:])
    rewards = functions.by_rule(prompts, completions)
    return {rule: np.array(rewards[rule], np.float32) for rule in sorted(rewards)}


def nemo_rl_weights(functions: RewardFunctions) -> list[float]:
    """The weights in the order of NeMo-RL's ``reward_weights``: by the rules' names, alphabetically.

    >>> nemo_rl_weights(RewardFunctions(("safe", "kind"), (0.75, 0.25), None))
    [0.25, 0.75]
    """
    return [weight for _, weight in sorted(zip(functions.rules, functions.weights, strict=True))]
