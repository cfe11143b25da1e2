"""The requests that the server understands, each as one function: from the body to texts and a way to answer.

Own API, with explanations; vLLM's ``/classify`` and ``/pooling``; OpenRLHF's remote reward URL; and the signature of
TRL's and Tunix's reward functions over HTTP. Nothing here touches a socket or the model.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from encore_jax.composition.rule_graph import NOBODY, VETO
from encore_jax.composition.ties import first_place
from encore_jax.errors import InputError
from encore_jax.reward.intervals import Intervals
from encore_jax.reward.scored import Scored
from encore_jax.reward.sequences import Text
from encore_jax.serve.fields import check_fields
from encore_jax.serve.interval_fields import asked_intervals, interval_ends, promise
from encore_jax.serve.reading import (
    check_same_number,
    check_turn,
    read_completion,
    read_field,
    read_flag,
    read_list,
    read_messages,
    read_model,
    read_prompt,
    read_text,
)

Conversation = Text | str
"""A prompt and a response, or both as one text that is rendered in the model's chat template already."""

RULES_SUFFIX = "/rules"
"""With this after the model's name, vLLM's dialect has one label per rule instead of the composed reward."""

ACTIVATION = ("use_activation", "activation")
"""vLLM's names, the second one of earlier releases."""


class Served(NamedTuple):
    """The model as clients see it.

    Attributes:
      name: what they call it.
      rules: K names.
      weights: ``[K]``; None if they depend on the prompt.
      intervals: None of a model that nobody has calibrated as it is.
      mismatch: of its passport, how it differs from the one that was saved.
    """

    name: str
    rules: tuple[str, ...]
    weights: np.ndarray | None
    intervals: Intervals | None = None
    mismatch: tuple[str, ...] = ()

    def by_rule(self, values: Sequence) -> dict[str, Any]:
        """Something for every rule, by the rules' names."""
        return dict(zip(self.rules, values, strict=True))


class Ask(NamedTuple):
    """What a request wants.

    Attributes:
      texts: N conversations to score.
      partial: whether a text that is too long is answered with null, not refused with the whole request.
      answer: the body of the response, given scores and weights of N texts (NaN for texts that are too long) and their
        lengths in tokens.
    """

    texts: list[Conversation]
    partial: bool
    answer: Callable[[Scored, Sequence[int]], dict]


def score(body: Mapping[str, Any], served: Served) -> Ask:
    """``POST /v1/score``: ``{"prompt", "responses"}``, or ``{"items": [...]}`` of these; ``"explain": true``.

    With ``"intervals": true`` the answer holds the ends of every reward's and every score's interval as well.
    """
    one = ("prompt", "responses")
    check_fields(body, ("model", "explain", "intervals", *(("items",) if "items" in body else one)))
    read_model(body, served.name)
    explain, intervals = read_flag(body, "explain"), asked_intervals(body, served.intervals, served.mismatch)
    items = read_list(body, "items") if "items" in body else [body]
    texts, groups = [], []
    for i, item in enumerate(items):
        where = f"items[{i}]." if "items" in body else ""
        if not isinstance(item, Mapping):
            raise InputError("not an object", where=where.rstrip("."), fix='write {"prompt": ..., "responses": [...]}')
        if "items" in body:
            check_fields(item, one, where)
        prompt = read_prompt(read_field(item, "prompt", where), f"{where}prompt")
        responses = [read_text(r, f"{where}responses[{j}]") for j, r in enumerate(read_list(item, "responses", where))]
        texts += [(prompt, response) for response in responses]
        groups.append(len(responses))

    def answer(scored, lengths):
        pieces = (np.split(values, np.cumsum(groups)[:-1]) for values in scored[:2])
        found = [Scored(*piece, scored.graph) for piece in zip(*pieces, strict=True)]
        return {
            "model": served.name,
            "weights": None if served.weights is None else served.by_rule(_numbers(served.weights)),
            "items": [
                _scored(piece, served, explain) | interval_ends(piece, served.rules, intervals, by_rule=True)
                for piece in found
            ],
            **promise(intervals),
            "usage": _usage(lengths),
        }

    return Ask(texts, True, answer)


def _scored(scored: Scored, served: Served, explain: bool) -> dict:
    """One prompt's responses: rewards, the best one's index and those of all that tie for it, scores per rule (and a
    gate's weights), and why."""
    rewards = scored.rewards
    complete = bool(np.isfinite(rewards).all())
    places = first_place(rewards, scored.tolerances).tolist() if complete else None
    result = {
        "rewards": _numbers(rewards),
        "best": places and places[0],
        "first_place": places,
        "scores": served.by_rule([_numbers(column) for column in scored.scores.T]),
    }
    if served.weights is None:
        result["weights"] = served.by_rule([_numbers(column) for column in scored.weights.T])
    if scored.graph is not None:
        result |= _decisions(scored, served)
    if not complete:
        result["problem"] = "a response is longer than the model takes"
    if explain:
        scores, weights = scored.terms
        names, adds = (*served.rules, VETO)[: scores.shape[1]], scores * weights
        each = zip(weights, scores, adds, strict=True)
        result["explanations"] = [_contributions(*response, names) for response in each]
        if complete and len(rewards) > 1:
            first = places[0]
            second = max((i for i in range(len(rewards)) if i != first), key=lambda i: rewards[i])
            lead = [values[first] - values[second] for values in (scores, adds)]
            result["decided_by"] = _contributions(weights[first], *lead, names)
    return result


def _decisions(scored: Scored, served: Served) -> dict:
    """Of each response, the rule whose veto set its reward (or null), and the rules that did not count."""
    decision = scored.decision
    return {
        "vetoed_by": [None if k == NOBODY else served.rules[k] for k in decision.decided_by.tolist()],
        "not_counted": [[served.rules[k] for k in np.flatnonzero(row)] for row in decision.not_counted],
    }


def _contributions(weights_K, scores_K, adds_K, rules: Sequence[str]) -> list[dict] | None:
    """What each rule adds to the reward, the largest share first; they add up to it."""
    if not np.isfinite(adds_K).all():
        return None
    return [
        {"rule": rules[k], "weight": float(weights_K[k]), "score": float(scores_K[k]), "adds": float(adds_K[k])}
        for k in np.argsort(-np.abs(adds_K), kind="stable")
    ]


def classify(body: Mapping[str, Any], served: Served) -> Ask:
    """vLLM's ``POST /classify``: ``probs`` is the composed reward as the only class, or one score per rule.

    Scores are raw, as of a regression model, unless ``use_activation`` is true: then their sigmoid.
    """
    texts, columns, activate = _vllm(body, served)

    def answer(scored, lengths):
        values = activate(columns(scored))
        names = served.rules if values.shape[1] > 1 else ("reward",)
        data = [
            {"index": i, "label": names[int(row.argmax())], "probs": _numbers(row), "num_classes": len(row)}
            for i, row in enumerate(values)
        ]
        return _envelope("classify", body, served, data, lengths)

    return Ask(texts, False, answer)


def pooling(body: Mapping[str, Any], served: Served) -> Ask:
    """vLLM's ``POST /pooling`` of a sequence classifier: ``data`` is the composed reward, or one score per rule."""
    texts, columns, activate = _vllm(body, served)

    def answer(scored, lengths):
        rows = activate(columns(scored))
        data = [{"index": i, "object": "pooling", "data": _numbers(row)} for i, row in enumerate(rows)]
        return _envelope("pool", body, served, data, lengths)

    return Ask(texts, False, answer)


def _vllm(body, served) -> tuple[list[Conversation], Callable, Callable]:
    check_fields(body, ("model", "input", "messages", *ACTIVATION))
    wanted = read_model(body, served.name, served.name + RULES_SUFFIX)
    activated = _activated(body)
    if ("input" in body) == ("messages" in body):
        raise InputError("one of input and messages is needed", where="body", fix="send either")
    if "messages" in body:
        *prompt, last = read_messages(read_list(body, "messages"), "messages")
        if last.role != "assistant":
            raise InputError("ends without an answer", where="messages", fix="end with the assistant's turn to score")
        texts: list[Conversation] = [(check_turn(tuple(prompt), "messages"), last.content)]
    else:
        given = read_list(body, "input") if isinstance(body["input"], list) else [body["input"]]
        texts = [read_text(text, f"input[{i}]") for i, text in enumerate(given)]

    def columns(scored):
        return scored.scores if wanted != served.name else scored.rewards[:, None]

    return texts, columns, _sigmoid if activated else lambda values: values


def _activated(body: Mapping[str, Any]) -> bool:
    given = {name: read_flag(body, name) for name in ACTIVATION if body.get(name) is not None}
    if len(set(given.values())) > 1:
        raise InputError("say both yes and no", where=" and ".join(given), fix="send use_activation alone")
    return any(given.values())


def _envelope(kind: str, body, served: Served, data: list[dict], lengths) -> dict:
    return {
        "id": f"{kind}-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": body.get("model") or served.name,
        "data": data,
        "usage": _usage(lengths),
    }


def get_reward(body: Mapping[str, Any], served: Served, plain: bool = False) -> Ask:
    """OpenRLHF's ``--remote_rm_url``: ``{"query", "prompts", "labels"}`` in, ``{"rewards", "scores"}`` out.

    Each rule's scores are in the answer as well, ``{"extra_logs": {"rule/NAME": [...]}}``, which OpenRLHF logs by name.

    Args:
      body: every query is prompt and response in one text, rendered in the reward model's own chat template.
      served: the model.
      plain: the prompts are plain text instead: of a policy that is trained without a template.
    """
    check_fields(body, ("model", "query", "prompts", "labels"))
    read_model(body, served.name)
    queries = [read_text(text, f"query[{i}]") for i, text in enumerate(read_list(body, "query"))]
    texts: list[Conversation] = list(queries)
    if plain:
        prompts = [read_text(text, f"prompts[{i}]") for i, text in enumerate(read_list(body, "prompts"))]
        check_same_number(queries, prompts, "prompts")
        for i, (query, prompt) in enumerate(zip(queries, prompts, strict=True)):
            if not query.startswith(prompt):
                raise InputError("does not begin with its prompt", where=f"query[{i}]", fix="send prompt + response")
            texts[i] = read_prompt(prompt, f"prompts[{i}]"), query.removeprefix(prompt)

    def answer(scored, lengths):
        rewards = _numbers(scored.rewards)
        logs = {f"rule/{rule}": _numbers(column) for rule, column in zip(served.rules, scored.scores.T, strict=True)}
        if scored.graph is not None:
            logs[VETO] = (scored.decision.decided_by != NOBODY).astype(float).tolist()
        return {"rewards": rewards, "scores": rewards, "extra_logs": logs}

    return Ask(texts, False, answer)


def rewards(body: Mapping[str, Any], served: Served) -> Ask:
    """What a TRL or Tunix reward function is given, ``{"prompts", "completions"}``; null where one is too long.

    With ``"rules": true`` the answer holds ``scores`` and ``weights`` of each rule as well, a number for each text;
    with ``"intervals": true`` the ends of every interval, null for one at infinity.
    """
    check_fields(body, ("model", "prompts", "completions", "rules", "intervals"))
    read_model(body, served.name)
    by_rule, intervals = read_flag(body, "rules"), asked_intervals(body, served.intervals, served.mismatch)
    prompts, completions = read_list(body, "prompts"), read_list(body, "completions")
    check_same_number(prompts, completions, "completions")
    texts = [
        (read_prompt(prompt, f"prompts[{i}]"), read_completion(completion, f"completions[{i}]"))
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
    ]

    def answer(scored, lengths):
        result: dict[str, Any] = {"rewards": _numbers(scored.rewards)}
        if by_rule:
            result |= {name: served.by_rule([_numbers(column) for column in values.T])
                       for name, values in (("scores", scored.scores), ("weights", scored.weights))}  # fmt: skip
            if scored.graph is not None:
                result |= _decisions(scored, served)
        return result | interval_ends(scored, served.rules, intervals, by_rule) | promise(intervals)

    return Ask(texts, True, answer)


DIALECTS: dict[str, Callable[..., Ask]] = {
    "/v1/score": score,
    "/classify": classify,
    "/v1/classify": classify,
    "/pooling": pooling,
    "/get_reward": get_reward,
    "/rewards": rewards,
}
"""By path."""


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else value for value in np.asarray(values, np.float64).tolist()]


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * values))


def _usage(lengths: Sequence[int]) -> dict:
    total = int(sum(lengths))
    return {"prompt_tokens": total, "total_tokens": total, "completion_tokens": 0}
