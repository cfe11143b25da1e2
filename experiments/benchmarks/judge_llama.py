"""The local judge beside llama.cpp's server with prefix caching, on the same questions and the same two cores.

What ``judge_throughput --llama-server`` measures. Both are asked every rule of a pool about the same conversations, by
the judges that users call: `LocalJudge`, tokenisation included, and `ServerJudge` over loopback, one request at a time
and all questions about a conversation in a row, so that the server's cache holds their common prefix. Rounds alternate
between the sides. For 10 and 100 rules, and each way of storing the server's weights; the local judge computes in
float32 throughout.

Of many rules the server may be asked only some (``--sample``): before them it answers one about the same conversation
that is not timed, so that the conversation is in its cache, which is in its favour. The local judge always answers all.

With each way up to 26 rules are also asked in one call, for the tokens that the server says were used: those of the
whole prompt, cached or not, and those that it wrote.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from encore_jax.http.settings import RetrySettings, ServerSettings
from encore_jax.judge.calls.prompts import YES_NO_CALL
from encore_jax.judge.calls.request import call_request_format
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Status
from encore_jax.judge.request import request_format
from encore_jax.judge.server import ServerJudge
from encore_jax.text.rendering import render_prompts
from experiments.benchmarks.llama_side import KINDS, Used, counting, llama_server, stored_weights

MOST_IN_CALL = 26
STRUCTURED = "json_object"
"""llama-cpp-python takes the schema so, and llama.cpp's own server too."""
GREEDY = {"repeat_penalty": 1.0}
"""As llama.cpp's own server does; llama-cpp-python's penalises repetition unless told, which changes answers."""


def compare(
    judge,
    tokenizer,
    source: Path,
    questions: dict[str, list],
    program: str,
    *,
    rounds: int,
    threads: int,
    samples: Mapping[str, int] = MappingProxyType({}),
    kinds: Sequence[str] = KINDS,
) -> dict:
    """Every pool with every way of storing weights.

    Args:
      judge: the local judge, of the same model.
      tokenizer: the model's, by which the server's context is sized.
      source: the model's GGUF file, of 4 bits.
      questions: by pool, all rules about one conversation in a row, with the call of all of them.
      program: see `llama_server`.
      rounds: timed, of each side.
      threads: of each side.
      samples: by pool, how many questions about a conversation the server is timed on; all where it is 0 or left out.
      kinds: ways of storing the server's weights, of `KINDS`.
    """
    context = 256 + max(_longest(tokenizer, many) for many in questions.values())
    for many in questions.values():
        list(judge.answers(_alone(many)))  # compiles
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            with llama_server(
                program, stored_weights(source, kind, Path(folder)), threads=threads, context=context
            ) as url:
                for pool, many in questions.items():
                    found = side_by_side(judge, url, many, rounds, samples.get(pool, 0))
                    results.setdefault(pool, {})[kind] = found
                    print(f"{pool:12s} {kind:4s} {found}", flush=True)
    return results


def side_by_side(judge, url: str, questions: list, rounds: int, sample: int = 0) -> dict:
    """Ratings per second of both, their ratio, and how far their ratings are apart; and one call instead of many."""
    settings = ServerSettings(urls=(url,), concurrency=1, timeout=3600.0, retry=RetrySettings(tries=1))
    alone, rates = _alone(questions), {"ours": [], "llama": []}
    asking, used = counting(request_format(YES_NO_IRRELEVANT, "m", most_other=1.0))
    server = ServerJudge(asking, settings)
    for _ in range(rounds):
        ours, seconds = _timed(judge, alone)
        rates["ours"].append(len(ours) / seconds)
        theirs, seconds = _of_server(server, alone, sample)
        rates["llama"].append(len(theirs) / seconds)
    both = [key for key in theirs if ours[key].status is theirs[key].status is Status.OK]
    median = {side: statistics.median(many) for side, many in rates.items()}
    return {
        "questions": {"ours": len(alone), "llama": len(theirs)},
        "ours_per_second": round(median["ours"], 3),
        "llama_per_second": round(median["llama"], 3),
        "ratio": round(median["ours"] / median["llama"], 2),
        "ratio_by_round": [round(mine / its, 2) for mine, its in zip(*rates.values(), strict=True)],
        "both_rated": len(both),
        "max_rating_difference": round(max((abs(ours[k].rating - theirs[k].rating) for k in both), default=0.0), 4),
        "one_call": _one_call(settings, questions, used, len(alone) / median["llama"]),
    }


def _of_server(server: ServerJudge, alone: list, sample: int) -> tuple[dict, float]:
    """What the server answers, conversation by conversation, and the seconds of what is timed."""
    answers, seconds = {}, 0.0
    for _, group in itertools.groupby(alone, key=lambda question: question.key.conversation):
        asked = list(group)
        if 0 < sample < len(asked):
            step = len(asked) / (sample + 1)
            first, *asked = (asked[int(i * step)] for i in range(sample + 1))
            _timed(server, [first])
        found, took = _timed(server, asked)
        answers, seconds = answers | found, seconds + took
    return answers, seconds


def _one_call(settings: ServerSettings, questions: list, used: Used, seconds: float) -> dict | None:
    """All rules in a call beside each by itself, which took so many tokens and would take so long."""
    if max(len(question.call) for question in questions) > MOST_IN_CALL:
        return None
    together, used_together = counting(
        call_request_format(YES_NO_CALL, "m", most_other=1.0, structured=STRUCTURED, extra=GREEDY)
    )
    called, time_called = _timed(ServerJudge(together, settings), questions)
    tokens = [(one.prompt + one.answer) / max(one.replies, 1) for one in (used, used_together)]
    per_call = len(questions) / max(used_together.replies, 1)
    return {
        "rules": round(per_call, 1),
        "tokens_of_isolated_calls": round(tokens[0] * per_call, 1),
        "tokens_of_one_call": round(tokens[1], 1),
        "share_of_tokens": round(tokens[1] / (tokens[0] * per_call), 3),
        "share_of_seconds": round(time_called / seconds, 3),
        "rated": sum(answer.status is Status.OK for answer in called.values()),
        "problems": sorted({answer.problem for answer in called.values() if answer.problem}),
    }


def _timed(judge, questions: list) -> tuple[dict, float]:
    start = time.perf_counter()
    answers = {question.key: answer for question, answer in judge.answers(questions)}
    return answers, time.perf_counter() - start


def _alone(questions: list) -> list:
    return [question._replace(call=()) for question in questions]


def _longest(tokenizer, questions: list) -> int:
    """Tokens of the longest call with its answer, which is longer than any question about one rule."""
    calls = {question.key.conversation: question for question in questions}
    prompts = render_prompts(tokenizer, [YES_NO_CALL.ask(question) for question in calls.values()])
    return max(len(ids) + YES_NO_CALL.limit(len(q.call)) for ids, q in zip(prompts, calls.values(), strict=True))
