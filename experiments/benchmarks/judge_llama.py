"""The local judge beside llama.cpp's server with prefix caching, on the same questions and the same two cores.

What ``judge_throughput --llama-server`` measures. Both are asked every rule of a pool about the same conversations, by
the judges that users call: `LocalJudge`, tokenisation included, and `ServerJudge` over loopback, one request at a time
and all questions about a conversation in a row, so that the server's cache holds their common prefix. Rounds alternate
between the sides. For 10 and 100 rules, and each way of storing the server's weights; the local judge computes in
float32 throughout.

With each way the same rules are also asked in one call, for the tokens that the server says were used: those of the
whole prompt, cached or not, and those that it wrote.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from encore_jax.http.settings import RetrySettings, ServerSettings
from encore_jax.judge.calls.prompts import YES_NO_CALL
from encore_jax.judge.calls.request import call_request_format
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import Status
from encore_jax.judge.request import request_format
from encore_jax.judge.server import ServerJudge
from encore_jax.text.rendering import render_prompts
from experiments.benchmarks.llama_side import KINDS, counting, llama_server, stored_weights

STRUCTURED = "json_object"
"""llama-cpp-python takes the schema so, and llama.cpp's own server too."""
GREEDY = {"repeat_penalty": 1.0}
"""As llama.cpp's own server does; llama-cpp-python's penalises repetition unless told, which changes answers."""


def compare(
    judge, tokenizer, source: Path, questions: dict[str, list], program: str, *, rounds: int, threads: int
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
    """
    context = 256 + max(_longest(tokenizer, many) for many in questions.values())
    for many in questions.values():
        list(judge.answers(_alone(many)))  # compiles
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            with llama_server(
                program, stored_weights(source, kind, Path(folder)), threads=threads, context=context
            ) as url:
                for pool, many in questions.items():
                    found = side_by_side(judge, url, many, rounds)
                    results.setdefault(pool, {})[kind] = found
                    print(f"{pool:12s} {kind:4s} {found}", flush=True)
    return results


def side_by_side(judge, url: str, questions: list, rounds: int) -> dict:
    """Ratings per second of both, their ratio, and how far their ratings are apart; and one call instead of many."""
    settings = ServerSettings(urls=(url,), concurrency=1, timeout=3600.0, retry=RetrySettings(tries=1))
    alone, seconds = _alone(questions), {"ours": [], "llama": []}
    asking, used = counting(request_format(YES_NO_IRRELEVANT, "m", most_other=1.0))
    server = ServerJudge(asking, settings)
    for _ in range(rounds):
        ours, time_ours = _timed(judge, alone)
        seconds["ours"].append(time_ours)
        theirs, time_theirs = _timed(server, alone)
        seconds["llama"].append(time_theirs)
    both = [key for key in ours if ours[key].status is theirs[key].status is Status.OK]
    median = {side: len(alone) / statistics.median(times) for side, times in seconds.items()}
    together, used_together = counting(
        call_request_format(YES_NO_CALL, "m", most_other=1.0, structured=STRUCTURED, extra=GREEDY)
    )
    called, time_called = _timed(ServerJudge(together, settings), questions)
    tokens = [(one.prompt + one.answer) / max(one.replies, 1) for one in (used, used_together)]
    per_call = len(questions) / max(used_together.replies, 1)
    return {
        "questions": len(alone),
        "ours_per_second": round(median["ours"], 3),
        "llama_per_second": round(median["llama"], 3),
        "ratio": round(median["ours"] / median["llama"], 2),
        "both_rated": len(both),
        "max_rating_difference": round(max((abs(ours[k].rating - theirs[k].rating) for k in both), default=0.0), 4),
        "one_call": {
            "rules": round(per_call, 1),
            "tokens_of_isolated_calls": round(tokens[0] * per_call, 1),
            "tokens_of_one_call": round(tokens[1], 1),
            "share_of_tokens": round(tokens[1] / (tokens[0] * per_call), 3),
            "share_of_seconds": round(time_called / statistics.median(seconds["llama"]), 3),
            "rated": sum(answer.status is Status.OK for answer in called.values()),
            "problems": sorted({answer.problem for answer in called.values() if answer.problem}),
        },
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
