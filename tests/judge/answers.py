"""Answers of each kind, and who gave them."""

from encore_jax.judge.question import Answer, Identity, Status

IDENTITY = Identity("server", "m", "digest", {"top": 20}, scale=(-1.0, 1.0))
OK = Answer(Status.OK, rating=0.25, relevance=0.5, evidence={"logprobs": [["Yes", -0.5]], "unlisted": 0.01})
FAILED = Answer(Status.FAILED, problem="HTTP 500", evidence={"raw": "internal"}, faults=("HTTP 429", "HTTP 500"))
UNREAD = Answer(Status.UNPARSABLE, problem="no number", evidence={"raw": "fine"})
