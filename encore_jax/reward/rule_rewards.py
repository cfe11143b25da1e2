"""A reward model as K named reward functions, one for each rule, that score a batch once between them.

Trainers with several rewards (TRL, Tunix) call one function after the other with the same prompts and completions.
Those that take a dictionary (verl, NeMo-RL, OpenRLHF) want all K values at once: `encore_jax.reward.trainers`.
Either way the rules keep their names and their weights: GDPO, curves by rule and constraints need no second model.

Shape letters: N completions, K rules.
"""

from __future__ import annotations

import collections
import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from encore_jax.composition.rule_graph import VETO, CompiledGraph
from encore_jax.errors import InputError
from encore_jax.reward.abstain import LOWER, Policy, check_given, policy_of
from encore_jax.reward.conversations import Prompt, texts_of
from encore_jax.reward.intervals import Bounds, Intervals
from encore_jax.reward.reward_model import RewardModel
from encore_jax.reward.rewards_client import RewardsClient
from encore_jax.reward.rl import RewardFunction, check_counts
from encore_jax.reward.scored import Scored, compiled_graph

REMEMBERED = 4
"""So many batches are kept, for functions that are called in turn, and by several threads."""


class RewardFunctions(collections.abc.Sequence):
    """K functions ``(prompts, completions, **columns)``, each of them one rule's rewards; a list, as trainers take it.

    The first function that is called with a batch has it scored; the others look its scores up. Under a rule graph a
    rule that does not count has the lowest score, and one more function, "veto" of weight 1, is what a veto takes away:
    the weighted sum is the composed reward here as well.

    Args:
      rules: K names; also the functions' names.
      weights: K numbers by which a trainer multiplies the functions' rewards before it adds them up.
      score: gives scores and weights ``[N, K]`` of N prompts and completions, NaN where one is too long.
      weighted: whether the functions' rewards are ``w_k ψ_k``, so that their plain sum is the composed reward.
      too_long: the score of a completion that makes the conversation longer than the model takes, on every rule.
      instead: of a policy (`encore_jax.reward.abstain`): what is given instead of scores ``[N, K]``, NaN for nothing.
      abstain: the score where it gives nothing; None leaves it out.

    Attributes:
      rules, weights, weighted, too_long, abstain: as given.
      batches: how many batches have been scored so far.

    >>> def score(prompts, completions):  # in place of a model: two rules
    ...     scores = np.array([[len(text), text.count("!")] for text in completions], np.float32)
    ...     return Scored(scores, np.broadcast_to(np.float32([0.75, 0.25]), scores.shape))
    >>> functions = RewardFunctions(("length", "shouting"), (0.75, 0.25), score)
    >>> [(function.__name__, function(["Hi", "Hi"], ["Hello", "Ho!"])) for function in functions]
    [('length', [5.0, 3.0]), ('shouting', [0.0, 1.0])]
    >>> functions.batches, functions.scored(["Hi"], ["Hello"]).rewards.tolist()
    (1, [3.75])
    """

    def __init__(
        self,
        rules: Sequence[str],
        weights: Sequence[float],
        score: Callable[[Sequence[Any], Sequence[Any]], Scored],
        *,
        weighted: bool = False,
        too_long: float | None = None,
        instead: Callable[[np.ndarray], np.ndarray] | None = None,
        abstain: float | None = None,
    ):
        self.rules, self.weighted, self.too_long, self.abstain = tuple(rules), weighted, too_long, abstain
        self._instead = instead
        if len(set(self.rules)) < len(self.rules):
            problem = "a rule has the name under which vetoes are handed over, or one is there twice"
            raise InputError(problem, where="reward functions", fix="rename it in the pool")
        self.weights = tuple(float(weight) for weight in weights)
        self.batches = 0
        self._score, self._lock = score, threading.Lock()
        self._last: collections.deque = collections.deque(maxlen=REMEMBERED)
        self._functions = tuple(self._function(k, rule) for k, rule in enumerate(self.rules))

    def __len__(self) -> int:
        return len(self._functions)

    def __getitem__(self, place: int | str | slice) -> RewardFunction | list[RewardFunction]:
        """The function at a place, or of a rule."""
        if isinstance(place, str):
            if place not in self.rules:
                raise InputError(f"there is no rule {place!r}", where="reward functions", fix=f"use {self.rules}")
            place = self.rules.index(place)
        return list(self._functions[place]) if isinstance(place, slice) else self._functions[place]

    def __repr__(self) -> str:
        rules = ", ".join(f"{rule}={weight:g}" for rule, weight in zip(self.rules, self.weights, strict=True))
        return f"RewardFunctions({rules})"

    def scored(self, prompts: Sequence[Any], completions: Sequence[Any]) -> Scored:
        """Scores and weights ``[N, K]`` of a batch, NaN where a completion is too long; scored once.

        Raises:
          InputError: as many completions as prompts are needed; or a conversation cannot be scored.
        """
        check_counts(prompts, completions)
        batch = [*prompts], [*completions]
        with self._lock:
            for known, scored in self._last:
                if _equal(known, batch):
                    return scored
            scored = self._score(*batch)
            self.batches += 1
            self._last.append((copy.deepcopy(batch), scored))
            return scored

    def by_rule(self, prompts: Sequence[Any], completions: Sequence[Any]) -> dict[str, list[float | None]]:
        """The rewards of every rule, by name, in one call: what the K functions return."""
        values = self._values(self.scored(prompts, completions))
        return {rule: _numbers(column) for rule, column in zip(self.rules, values.T, strict=True)}

    def composed(self, prompts: Sequence[Any], completions: Sequence[Any]) -> list[float | None]:
        """The composed rewards, which the functions' rewards times their weights add up to."""
        scores, weights = self._terms(self.scored(prompts, completions))
        return _numbers((scores * weights).sum(1))

    def _values(self, scored: Scored) -> np.ndarray:
        """What the functions return, ``[N, K]``; NaN where there is nothing to return."""
        scores, weights = self._terms(scored)
        return scores * weights if self.weighted else scores

    def _terms(self, scored: Scored) -> tuple[np.ndarray, np.ndarray]:
        scores, weights = (np.array(values) for values in scored.terms)
        if self._instead is not None:
            given, known = self._instead(scores), ~np.isnan(scores)
            held = np.isnan(given) & known
        if self.too_long is not None:
            count = np.asarray(scored.scores).shape[1]
            missing = np.isnan(scores).any(1)
            scores[missing, :count], scores[missing, count:] = self.too_long, 0.0
            weights = np.where(np.isnan(weights), 1 / count, weights)
        if self._instead is not None:
            nothing = np.nan if self.abstain is None else self.abstain
            scores = np.where(held, nothing, np.where(known, given, scores)).astype(scores.dtype)
        return scores, weights

    def _function(self, k: int, rule: str) -> RewardFunction:
        def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
            return _numbers(self._values(self.scored(prompts, completions))[:, k])

        reward.__name__ = reward.__qualname__ = rule
        reward.__doc__ = f"Rewards of the rule {rule}."
        return reward


def reward_functions(
    model: RewardModel,
    *,
    weighted: bool = False,
    too_long: float | None = None,
    read_prompt: Callable[[Any], Prompt] = lambda prompt: prompt,
    policy: str | None = None,
    threshold: float | None = None,
    abstain: float | None = None,
) -> RewardFunctions:
    """A reward function for every rule of a model that runs in the trainer's own process.

    ``GRPOTrainer(reward_funcs=list(functions), args=GRPOConfig(reward_weights=list(functions.weights), ...))``

    Args:
      model: loaded where it shall run. Its weights (by entropy, or ``model.weighted("agreement")``) become the
        functions' weights.
      weighted: the functions return ``w_k ψ_k`` and all weights are 1: for a trainer that only adds up (Tunix), and for
        a gate, whose weights are others for every text.
      too_long, read_prompt: see `encore_jax.reward.rl.reward_function`.
      policy, threshold, abstain: the same, of every rule's own score and interval. "lower" takes the upper end of a
        rule with a negative weight.

    Raises:
      InputError: the model's weights depend on the text, and `weighted` is not said; or nobody has said how the heads
        compose. Or with a policy: there is no such, nobody has calibrated the model, or it has a rule graph.

    >>> functions = reward_functions(RewardModel.from_pretrained("runs/quickstart/compose"))  # doctest: +SKIP
    >>> functions.rules[:2], functions.weights[:2]  # doctest: +SKIP
    (('exploits', 'hate_speech'), (0.11, 0.09))
    """
    if model.gate is not None and not weighted:
        raise _no_weights(model.passport.model)
    graph = compiled_graph(model.passport)
    names = _names(model.rules, graph)
    weights = [1.0] * len(names) if weighted else [*model.weights.tolist(), 1.0][: len(names)]

    def score(prompts: Sequence[Any], completions: Sequence[Any]) -> Scored:
        return model.scorer.scored(model.scorer.run_texts(texts_of(prompts, completions, read_prompt)))

    chosen = policy_of(policy, threshold)
    check_given(chosen, too_long, abstain)
    instead = None if chosen is None else _instead(chosen, model.intervals, model.weights, graph)
    options = {"weighted": weighted, "too_long": too_long, "instead": instead, "abstain": abstain}
    return RewardFunctions(names, weights, score, **options)


def remote_reward_functions(
    url: str,
    *,
    token: str = "",
    weighted: bool = False,
    too_long: float | None = None,
    policy: str | None = None,
    threshold: float | None = None,
    abstain: float | None = None,
) -> RewardFunctions:
    """The same from a server, ``encore serve``: one request a batch.

    Args:
      url, token: see `encore_jax.reward.rl.remote_reward_function`.
      weighted, too_long, policy, threshold, abstain: see `reward_functions`.

    Raises:
      InputError: as `reward_functions`; or the server refuses, or is none of this project's.
      ConnectionError: it stays busy or away for long.

    >>> functions = remote_reward_functions("http://127.0.0.1:8000")  # doctest: +SKIP
    """
    client = RewardsClient(url, token)
    rules, weights, graph = client.rules()
    if weights is None and not weighted:
        raise _no_weights(url)

    def score(prompts: Sequence[Any], completions: Sequence[Any]) -> Scored:
        return Scored(*client.scored(prompts, completions, rules), graph)

    names = _names(rules, graph)
    given = [1.0] * len(names) if weighted else [*weights, 1.0][: len(names)]
    chosen = policy_of(policy, threshold)
    check_given(chosen, too_long, abstain)
    instead = None if chosen is None else _instead(chosen, client.intervals(), weights, graph)
    options = {"weighted": weighted, "too_long": too_long, "instead": instead, "abstain": abstain}
    return RewardFunctions(names, given, score, **options)


def _instead(
    policy: Policy, intervals: Intervals, weights: Sequence[float] | None, graph: CompiledGraph | None
) -> Callable[[np.ndarray], np.ndarray]:
    """What a policy gives instead of scores ``[N, K]``."""
    if graph is not None:
        fix = "use reward_function(model, policy=...), whose reward is composed under the graph"
        raise InputError("rules under a graph have no policy of their own", where="policy", fix=fix)
    negative = np.zeros(len(intervals.rules), bool) if weights is None else np.asarray(weights) < 0

    def instead(scores: np.ndarray) -> np.ndarray:
        bounds = intervals.of_scores(scores)
        if policy.kind == LOWER:
            bounds = bounds._replace(lower=np.where(negative, bounds.upper, bounds.lower), upper=bounds.upper)
        columns = [
            policy.values(Bounds(*(part[:, k] for part in bounds)), intervals.ranges[k])
            for k in range(len(intervals.rules))
        ]
        return np.stack(columns, 1)

    return instead


def _names(rules: Sequence[str], graph: CompiledGraph | None) -> tuple[str, ...]:
    """The rules, and behind them what vetoes take away: a function of its own, of weight 1."""
    return (*rules, VETO) if graph is not None and len(graph.cap) else tuple(rules)


def _no_weights(model: str) -> InputError:
    fix = (
        "say weighted=True for a trainer that adds up before it normalises; for GDPO pass `scored(...)`'s weights to "
        "group_advantages, because each rule's own spread would divide a factor out"
    )
    return InputError("the rules' weights are others for every text", where=model, fix=fix)


def _equal(known: tuple[list, list], batch: tuple[list, list]) -> bool:
    try:
        return bool(known == batch)
    except (TypeError, ValueError):  # arrays, which no batch may hold: scoring says so
        return False


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]
