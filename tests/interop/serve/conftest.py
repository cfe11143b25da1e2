"""A served tiny model, and what its scores must be."""

import contextlib

import jax
import numpy as np
import pytest

from encore_jax.data.comparison import Message
from encore_jax.interop.scorer import Scorer
from encore_jax.interop.serve.app import App, Limits
from encore_jax.interop.serve.metrics import Metrics
from encore_jax.interop.serve.service import Service
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


@pytest.fixture
def serve(scorer):
    """Makes apps; what they have running is finished at the end."""
    with contextlib.ExitStack() as stack:

        def make(*, token="", max_waiting_tokens=100_000, start=True, **limits):
            metrics = Metrics()
            service = Service(scorer, "tiny", max_waiting_tokens, metrics.batch)
            if start:
                service.batcher.start()
                stack.callback(service.close)
            app = App(service, metrics, token, Limits(**limits))
            app.service = service
            return app

        yield make
