"""A served tiny model, and what its scores must be."""

import contextlib

import jax
import numpy as np
import pytest

from encore_jax.data.comparison import Message
from encore_jax.reward.scorer import Scorer
from encore_jax.serve.app import App, Limits
from encore_jax.serve.front import Front
from encore_jax.serve.metrics import Metrics
from encore_jax.serve.service import Service
from tests.experiments import tiny_reward_model

PROMPTS = ("Hi", "What is a lock?", "Qu'est-ce que c'est?", "How do I bake a cake at home, please?")
ANSWERS = ("No.", "Sure, take a pick and turn it. " * 2, "I cannot help with that.", "", "x" * 90, "Nono. ")


@pytest.fixture(scope="session")
def model():
    return tiny_reward_model.in_memory()


@pytest.fixture(scope="session")
def scorer(model):
    """Compiled for all its shapes; shared, for it has no state."""
    made = Scorer(model, tokens_per_batch=256, devices=jax.devices()[:1])
    made.warm_up()
    return made


@pytest.fixture(scope="session")
def expected(model):
    """Scores ``[K]`` of every prompt with every answer, each run alone."""
    pairs = [(prompt, answer) for prompt in PROMPTS for answer in ANSWERS]
    texts = [((Message("user", prompt),), answer) for prompt, answer in pairs]
    return dict(zip(pairs, tiny_reward_model.scores_alone(model, texts), strict=True))


@pytest.fixture(scope="session")
def rewards(model, expected):
    return {pair: float(np.float32(row @ model.weights)) for pair, row in expected.items()}


class Made(Front):
    """A whole application, and what tests look at."""

    def __init__(self, service, metrics, token, hosts, limits):
        super().__init__(hosts)
        self.app, self.service, self.metrics, self.asgi = App(service, metrics, token, limits), service, metrics, self

    @property
    def open(self) -> int:
        return self.app.open


@pytest.fixture
def serve(scorer):
    """Makes applications; what they have running is finished at the end."""
    with contextlib.ExitStack() as stack:

        def make(
            *, token="", hosts=(), max_waiting_tokens=100_000, remember=1 << 16, start=True, scorer=scorer, **limits
        ):
            metrics = Metrics()
            service = Service(scorer, "tiny", max_waiting_tokens, metrics.batch, remember=remember)
            if start:
                service.batcher.start()
                stack.callback(service.close)
            return Made(service, metrics, token, hosts, Limits(**limits))

        yield make
