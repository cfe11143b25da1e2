"""Asks a server many questions into a journal: ``python -m ... URL JOURNAL CONVERSATIONS``; to be killed."""

import sys

from encore_jax.data import Comparison, Message
from encore_jax.judge.journal import Journal
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from encore_jax.judge.question import rating_questions
from encore_jax.judge.request import request_format
from encore_jax.judge.run import ask_all
from encore_jax.judge.server import ServerJudge
from encore_jax.judge.settings import RetryPolicy, RetrySettings, ServerSettings
from encore_jax.rules import RulePool

POOL = RulePool.shipped("safety_10")
ASKING = request_format(YES_NO_IRRELEVANT, "m")
CONCURRENCY = 32
POLICY = RetryPolicy(failed=9, unparsable=9)


def questions(conversations: int):
    """Ten per response, two responses per conversation."""
    for i in range(conversations):
        pair = Comparison((Message("user", f"Question {i}"),), (f"Answer {i}", f"Another {i}"), 0)
        yield from rating_questions([pair], POOL)


def main(url: str, path: str, conversations: int) -> None:
    retry = RetrySettings(tries=8, first_wait=0.01, longest_wait=0.1)
    settings = ServerSettings(urls=(url,), concurrency=CONCURRENCY, timeout=1.0, retry=retry)
    with Journal(path, ASKING.identity, POOL) as journal:
        for _ in ask_all(ServerJudge(ASKING, settings), lambda: questions(conversations), journal, POLICY):
            pass


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
