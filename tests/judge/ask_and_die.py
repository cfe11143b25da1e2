"""Asks a server many questions into a journal: ``python -m ... URL JOURNAL CONVERSATIONS RULES``; to be killed."""

import sys

from encore_jax.data import Comparison, Message
from encore_jax.http.settings import RetrySettings, ServerSettings
from encore_jax.judge.calls.prompts import YES_NO_CALL
from encore_jax.judge.calls.request import call_request_format
from encore_jax.judge.journal import Journal
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import rating_questions
from encore_jax.judge.request import request_format
from encore_jax.judge.run import ask_all
from encore_jax.judge.server import ServerJudge
from encore_jax.judge.settings import RetryPolicy
from encore_jax.rules import RulePool

POOL = RulePool.shipped("safety_10")
ASKINGS = {1: request_format(YES_NO_IRRELEVANT, "m"), 0: call_request_format(YES_NO_CALL, "m")}
"""By rules per call."""
CONCURRENCY = 32
POLICY = RetryPolicy(failed=9, unparsable=9)


def questions(conversations: int, rules: int):
    """Ten per response, two responses per conversation."""
    for i in range(conversations):
        pair = Comparison((Message("user", f"Question {i}"),), (f"Answer {i}", f"Another {i}"), 0)
        yield from rating_questions([pair], POOL, rules)


def main(url: str, path: str, conversations: int, rules: int) -> None:
    asking = ASKINGS[rules]
    retry = RetrySettings(tries=8, first_wait=0.01, longest_wait=0.1)
    settings = ServerSettings(urls=(url,), concurrency=CONCURRENCY, timeout=1.0, retry=retry)
    with Journal(path, asking.identity, POOL) as journal:
        for _ in ask_all(ServerJudge(asking, settings), lambda: questions(conversations, rules), journal, POLICY):
            pass


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
