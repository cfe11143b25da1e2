"""One run of a judge: its questions and a journal brought together, and what to do when answers hold no rating.

Questions are asked once each, tried again by policy, and nothing is lost.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from encore_jax.errors import InputError
from encore_jax.judge.export import reply_excerpt
from encore_jax.judge.journal import Journal
from encore_jax.judge.question import Answer, Judge, Question, Status
from encore_jax.judge.settings import RetryPolicy
from encore_jax.progress import track

Questions = Callable[[], Iterable[Any]]
"""Makes the same questions, of ratings or of verdicts, whenever it is called."""

MAX_FAILURES_IN_A_ROW = 100
"""So many answers in a row without a single rating, and a run ends."""


_NO_THINKING = """--config.judge.extra='{"chat_template_kwargs": {"enable_thinking": false}}'"""
_LIMIT = re.compile(r"cut off after ([\d,]+) tokens")

_AT_ONCE = (
    "the wording offers words (docs/judges.md): of a judge that answers with numbers ask these, "
    "--config.judge.prompt=numeric.1; of one that reasons first, an answer without reasoning, "
    f"{_NO_THINKING} (vLLM, SGLang)"
)
_LOCAL = "use a model that begins its answer with one of them, or count such answers too: --config.judge.most_other=1"
"""A local judge has no fields of a request."""
_SCHEMA = (
    "tell the answer's shape as the server takes it: --config.judge.structured=json_object (llama-cpp-python), "
    "guided_json (older vLLM) or none"
)
_LIST = "use a judge that keeps to a list, fewer rules in a call (--config.judge.rules_per_call=5), or one by one (1)"
_EXTRA = "change the field that it names: --config.judge.extra takes fields of a request, null leaves one out"

_HINTS = {
    "ended while still reasoning": f"let it write more, or not reason: {_NO_THINKING} (vLLM, SGLang)",
    "reasoning and no answer": f"let it write more, or not reason: {_NO_THINKING} (vLLM, SGLang)",
    "more than": _AT_ONCE,
    "none of the offered answers": _AT_ONCE,
    "no log-probabilities": "use a server that gives log-probabilities, or --config.judge.prompt=numeric.1",
    "malformed log-probabilities": "use another server, or --config.judge.prompt=numeric.1",
    "log-probabilities that": "use another server, or --config.judge.prompt=numeric.1",
    "no JSON object": _LIST,
    "more than one JSON object": _LIST,
    "no answer to this rule": _LIST,
    "more than one answer to this rule": _LIST,
    "could not be put": "use a tokenizer whose template takes the judge's messages",
    "HTTP 400": _EXTRA,
    "HTTP 422": _EXTRA,
}


def ask(
    judge: Judge,
    questions: Questions,
    journal: Journal,
    policy: RetryPolicy,
    total: int,
    *,
    hopeless: int = MAX_FAILURES_IN_A_ROW,
) -> collections.Counter:
    """Asks whatever has no answer yet, with progress.

    Args:
      judge: who answers.
      questions, journal, policy: what is asked, what is known, and what is asked again.
      total: how many questions are open.
      hopeless: ends after so many answers in a row without a rating; 0 never does. A judge that computes or looks up
        its ratings may have none for many questions, and goes on whatever this says.

    Returns:
      How many answers have each problem; under "" how many have a rating.

    Raises:
      InputError: the judge cannot go on; what was answered is in the journal.
    """
    hopeless = 0 if judge.identity.kind in ("model", "table") else hopeless
    answers = ask_all(judge, questions, journal, policy, hopeless=hopeless)
    return collections.Counter(answer.problem for _, answer in track(answers, max(total, 1), "answers"))


def ask_all(
    judge: Judge,
    questions: Callable[[], Iterable[Question]],
    journal: Journal,
    policy: RetryPolicy | None = None,
    *,
    hopeless: int = MAX_FAILURES_IN_A_ROW,
) -> Iterator[tuple[Question, Answer]]:
    """Asks whatever the journal has no final answer to, in passes, until policy says that nothing is left.

    Every answer is with the journal's writer before it is yielded. A killed run resumes where it was.

    Args:
      judge: whose identity the journal was opened with.
      questions: makes the same questions anew for every pass.
      journal: what is known already, and where answers go.
      policy: which questions are asked again.
      hopeless: give up after so many answers in a row that hold no rating; 0 never does. A call about several rules
        has one answer.

    Raises:
      InputError: the judge cannot go on, or gives no usable answer any more; what was answered is kept.
    """
    policy = RetryPolicy() if policy is None else policy
    bad: collections.Counter = collections.Counter()
    asked, good = True, False
    while asked:
        asked = False
        for reply in _replies(judge, journal.pending(questions(), policy)):
            journal.record_all([(question.key, answer) for question, answer in reply])
            asked = True
            if any(answer.status is Status.OK for _, answer in reply):
                good = True
                bad.clear()
            else:
                bad[reply[0][1].problem] += 1
            yield from reply
            if hopeless and bad.total() >= hopeless:
                journal.flush()
                raise _hopeless(judge, bad, good, reply[0][1], policy)
        journal.flush()


def _replies(judge: Judge, questions: Iterable[Question]) -> Iterator[list[tuple[Question, Answer]]]:
    """Answers in lists of those that belong together."""
    if hasattr(judge, "replies"):
        return judge.replies(questions)
    return ([answered] for answered in judge.answers(questions))


def _hopeless(judge: Judge, bad: collections.Counter, good: bool, last: Answer, policy: RetryPolicy) -> InputError:
    which = f"the last {bad.total()} answers" if good else f"the first {bad.total()} answers"
    said = reply_excerpt(last.evidence)
    return InputError(
        f"none of {which} holds a rating: {kinds(bad)}{last_words(said)}",
        where=f"judge {judge.identity.model}",
        fix=f"{hint(bad.most_common(1)[0][0], said, judge.identity.kind)}, and run again with {asks_again(policy)}: "
        "without it answers that hold no rating are kept as they are",
    )


def asks_again(policy: RetryPolicy, option: str = "--config.judge.policy.") -> str:
    """The settings under which questions without a rating are asked again.

    >>> asks_again(RetryPolicy())
    '--config.judge.policy.failed=6 --config.judge.policy.unparsable=2'
    """
    return " ".join(f"{option}{name}={2 * getattr(policy, name)}" for name in ("failed", "unparsable"))


MANY = 0.1
"""Share of questions without a rating that is worth a line of its own."""


def without_rating(counts: Mapping, kind: str, policy: RetryPolicy) -> str:
    """What is said where many questions have no rating; "" where hardly any is without.

    Args:
      counts: `encore_jax.judge.export.summary`.
      kind: of the judge.
      policy: under which it was asked.

    >>> counts = {"questions": {"ok": 20, "unparsable": 80}, "problems": {"no number": 80}, "words": {}}
    >>> without_rating(counts, "server", RetryPolicy()).split(":")[0]
    '80 of 100 questions have no rating (80 no number)'
    """
    questions, problems = counts["questions"], counts["problems"]
    total, bad = sum(questions.values()), sum(problems.values())
    if kind in ("model", "table") or not questions["ok"] or bad < MANY * total:
        return ""
    commonest = max(problems, key=problems.get)
    mend = hint(commonest, counts["words"].get(commonest, ""), kind)
    return (
        f"{bad:,} of {total:,} questions have no rating ({kinds(collections.Counter(problems))}): what is said here is "
        f"about the other {questions['ok']:,}. {mend[:1].upper()}{mend[1:]}; the same command with "
        f"{asks_again(policy)} then asks them again."
    )


def last_words(said: str) -> str:
    """What a judge said, as the end of a sentence; "" where it said nothing."""
    return f"; the last one says '{said}'" if said else ""


def kinds(counts: collections.Counter) -> str:
    """Kinds and how often each, the commonest first.

    >>> kinds(collections.Counter({"no number": 3, "HTTP 400": 1}))
    '3 no number, 1 HTTP 400'
    """
    shown = [f"{n} {problem}" for problem, n in counts.most_common(5)]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f", and {more} other kinds" if more > 0 else "")


def nothing_rated(
    what: str, problems: Mapping[str, int], words: Mapping[str, str], judge: str, kind: str, again: str
) -> InputError:
    """The error where no question has a rating.

    Args:
      what: was asked, e.g. "12 questions".
      problems: how many, by kind.
      words: what the judge said the last time, by kind.
      judge, kind: its name, and what kind it is.
      again: the setting under which such questions are asked again.
    """
    commonest = max(problems, key=problems.get, default="")
    said = words.get(commonest, "")
    why = kinds(collections.Counter(problems)) or "no answer"
    return InputError(
        f"none of the {what} has a rating: {why}{last_words(said)}",
        where=f"judge {judge}",
        fix=f"{hint(commonest, said, kind)}; under the same settings questions are asked again only with {again}",
    )


def hint(problem: str, words: str = "", kind: str = "server") -> str:
    """How a user can fix it, by the kind of problem, by what the judge said, and by the judge's kind.

    >>> hint("no log-probabilities")
    'use a server that gives log-probabilities, or --config.judge.prompt=numeric.1'
    >>> hint("HTTP 400", "System role not supported")
    "put instructions into the user's turn: --config.judge.system_role=false"
    >>> hint("none of the offered answers", kind="local") == _LOCAL
    True
    """
    if kind == "local" and problem.startswith(("more than", "none of the offered answers")):
        return _LOCAL
    said = words.lower()
    if "system" in said and "role" in said:
        return "put instructions into the user's turn: --config.judge.system_role=false"
    if "max_completion_tokens" in said:
        return """name the limit so: --config.judge.extra='{"max_completion_tokens": 64}'"""
    if any(name in said for name in ("response_format", "json_schema", "guided_json")):
        return _SCHEMA
    if "top_logprobs" in said:
        return "list fewer tokens, e.g. --config.judge.top=5"
    if limit := _LIMIT.match(problem):
        more = max(64, 4 * int(limit[1].replace(",", "")))
        return f"""let the judge write more, e.g. --config.judge.extra='{{"max_tokens": {more}}}'"""
    general = "correct the judge's settings (model, prompt, log-probabilities)"
    return next((text for start, text in _HINTS.items() if problem.startswith(start)), general)
