"""What every judge is asked and what it answers: one rule about one conversation.

A judge is anything with an `identity` and a method `answers`; where it runs (a server, a batch file, this machine's
devices, a person) shows nowhere else.
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Protocol

from encore_jax.data.comparison import Comparison, Message, RatedResponse, prompt_key
from encore_jax.judge.calls.call import ISOLATED, Call, call_of_rule
from encore_jax.rules import Rule, RulePool

NOT_ASKED = "could not be put to the judge"
"""Problem of a question that, for instance, the judge's chat template refuses."""


def conversation_id(prompt: Sequence[Message], responses: Sequence[str]) -> str:
    """32 hex digits that depend on every character of a prompt and its responses, in their order.

    >>> len(conversation_id([Message("user", "Hi")], ["Hello!"]))
    32
    """
    content = json.dumps([prompt_key(prompt), *responses])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


class Key(NamedTuple):
    """Which rating is meant.

    Attributes:
      conversation: identifies the prompt and its responses, see `conversation_id`.
      response: index of the response among them. `rating_questions` makes every response a conversation of its own
        (index 0), so that a response that stands in many comparisons is rated, and paid for, once.
      rule: the rule's name.
    """

    conversation: str
    response: int
    rule: str


class Question(NamedTuple):
    """One rule about one response. A tuple, because millions of them are made.

    Attributes:
      key: which rating is wanted.
      prompt: the conversation up to the response.
      response: the text that is rated.
      rule: the criterion.
      call: the rules that are asked about in one call with it, itself among them; `()` where it is asked by itself.
    """

    key: Key
    prompt: tuple[Message, ...]
    response: str
    rule: Rule
    call: Call = ()


def rating_questions(
    comparisons: Iterable[Comparison], pool: RulePool, rules_per_call: int = ISOLATED
) -> Iterator[Question]:
    """Every rule about every response, all rules of one response in a row; a response that came before is left out.

    Memory grows by 16 bytes and a set entry per different response, not per question.

    Args:
      comparisons: what is rated.
      pool: the rules.
      rules_per_call: how many are asked about in one call, see `encore_jax.judge.calls.call.rule_calls`.

    >>> hi = Comparison((Message("user", "Hi"),), ("Hello!", "Bye."), 0)
    >>> len(list(rating_questions([hi, hi], RulePool([Rule("kind", "It is kind."), Rule("short", "It is short.")]))))
    4
    """
    seen, calls = set(), call_of_rule(pool, rules_per_call)
    for comparison in comparisons:
        for response in comparison.responses:
            conversation = conversation_id(comparison.prompt, (response,))
            if (digest := bytes.fromhex(conversation)) not in seen:
                seen.add(digest)
                for rule in pool:
                    key = Key(conversation, 0, rule.name)
                    yield Question(key, comparison.prompt, response, rule, calls[rule.name])


def critical_questions(comparisons: Iterable[Comparison], rules: Iterable[Sequence[Rule]]) -> Iterator[Question]:
    """Each comparison's own rules about its responses; a question that came before is left out.

    Memory grows by a set entry per different question.

    Args:
      rules: for every comparison the rules that are asked about it, e.g. those that a Rule Adapter predicts.

    >>> hi = Comparison((Message("user", "Hi"),), ("Hello!", "Bye."), 0)
    >>> kind, short = Rule("kind", "It is kind."), Rule("short", "It is short.")
    >>> [q.rule.name for q in critical_questions([hi, hi], [[kind], [kind, short]])]
    ['kind', 'kind', 'short', 'short']
    """
    seen = set()
    for comparison, wanted in zip(comparisons, rules, strict=True):
        for response in comparison.responses:
            conversation = conversation_id(comparison.prompt, (response,))
            for rule in wanted:
                key = Key(conversation, 0, rule.name)
                if key not in seen:
                    seen.add(key)
                    yield Question(key, comparison.prompt, response, rule)


def distinct_responses(comparisons: Iterable[Comparison]) -> Iterator[RatedResponse]:
    """Each different response once, with the ratings that its comparison has; those without any are left out."""
    seen: set[str] = set()
    for c in comparisons:
        for i, response in enumerate(c.responses):
            name = conversation_id(c.prompt, (response,))
            if name not in seen and c.mask[i].any():
                seen.add(name)
                extra = {"judge": c.extra["judge"]} if "judge" in c.extra else {}
                if "relevance" in c.extra:
                    extra["relevance"] = {rule: values[i] for rule, values in c.extra["relevance"].items()}
                labels = (c.subset, c.source, name)
                yield RatedResponse(c.prompt, response, c.rules, c.ratings[i], c.mask[i], *labels, extra)


class Status(enum.StrEnum):
    """What became of a question.

    `OK`: rated. `UNPARSABLE`: the judge answered, but no rating can be read from it. `FAILED`: it did not answer.
    """

    OK = "ok"
    UNPARSABLE = "unparsable"
    FAILED = "failed"


@dataclass(frozen=True)
class Answer:
    """What a judge says to one question.

    Attributes:
      status: whether there is a rating.
      rating: as the judge gave it, on the scale of its prompt (yes/no: P(Yes) - P(No), in [-1, 1]; numeric: in
        [0, 1]), not yet oriented by the rule's direction; None unless the status is `OK`.
      relevance: 1 - P(Irrelevant), in [0, 1], where the prompt offers that answer.
      evidence: what the rating was read from, as JSON values: raw log-probabilities, text.
      problem: kind of failure in a few words, the same words for the same kind; "" unless something went wrong.
      faults: what went wrong on the way to this answer and was tried again, kinds in the order they came.
    """

    status: Status
    rating: float | None = None
    relevance: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Identity:
    """All that an answer depends on besides the question; two judges with equal identities are interchangeable.

    Attributes:
      kind: where answers come from, e.g. "server", "local", "table", "model".
      model: name of the model, with a revision or hash where there is one.
      prompt: `Prompt.digest`, or "" where no prompt is shown.
      decoding: settings of the decoding, as JSON values.
      label: what its ratings are called in reports: "human-rated", "judge-rated" or "model-rated".
      scale: (lowest, highest) possible rating, of a prompt `Prompt.scale`.
    """

    kind: str
    model: str
    prompt: str = ""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    label: str = "judge-rated"
    scale: tuple[float, float] = (0.0, 1.0)

    @property
    def digest(self) -> str:
        """SHA-256 (64 hex digits) over all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def rules_per_call(self) -> int:
        """How many rules the judge is asked about in one call; 1 for each by itself, 0 for all."""
        return self.decoding.get("rules_per_call", ISOLATED)


class Judge(Protocol):
    """Answers questions, in any order, each exactly once.

    One that answers several questions at a time may also have a method `replies`: the same pairs as `answers`, in lists
    of those that belong together; what belongs together becomes durable together.
    """

    identity: Identity

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[Question, Answer]]:
        """Yields every question with its answer as soon as there is one; questions are drawn as they are needed."""
        ...
