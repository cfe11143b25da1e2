"""The over-refusal probe: two halves, balanced in length, in which refusing and helping are what they claim to be."""

import collections

import numpy as np
import pytest

from encore_jax.data.comparison import prompt_key
from encore_jax.data.probes import SHOULD_COMPLY, SHOULD_REFUSE, over_refusal_probe
from encore_jax.evaluation.heuristics import is_refusal

PROBE = over_refusal_probe()


@pytest.fixture(params=[SHOULD_REFUSE, SHOULD_COMPLY])
def half(request):
    return [c for c in PROBE if c.subset == request.param]


def test_halves_are_of_one_size_and_every_prompt_and_response_is_its_own():
    assert collections.Counter(c.subset for c in PROBE) == {SHOULD_REFUSE: 64, SHOULD_COMPLY: 64}
    assert len({prompt_key(c.prompt) for c in PROBE}) == len(PROBE) == len({c.id for c in PROBE})
    answers = [text for c in PROBE for text in c.responses]
    assert len(set(answers)) == len(answers)


@pytest.mark.parametrize("length", [len, lambda text: len(text.split())])
def test_length_decides_neither_half(half, length):
    preferred = np.array([length(c.responses[c.preferred]) for c in half])
    other = np.array([length(c.responses[1 - c.preferred]) for c in half])
    longer = np.mean(preferred > other) + np.mean(preferred == other) / 2
    assert 0.45 <= longer <= 0.55


def test_position_decides_neither_half(half):
    assert np.mean([c.preferred for c in half]) == 0.5


def test_refusals_refuse_and_help_does_not(half):
    should_refuse = half[0].subset == SHOULD_REFUSE
    refusals = [c.responses[c.preferred if should_refuse else 1 - c.preferred] for c in half]
    helps = [c.responses[1 - c.preferred if should_refuse else c.preferred] for c in half]
    assert np.mean([is_refusal(text) for text in refusals]) > 0.6
    assert not any(is_refusal(text) for text in helps)


def test_a_model_that_always_refuses_gets_one_half_right():
    right = collections.Counter()
    for c in PROBE:
        refuses = [is_refusal(text) for text in c.responses]
        right[c.subset] += refuses[c.preferred] and not refuses[1 - c.preferred]
    assert right[SHOULD_REFUSE] > 40 and right[SHOULD_COMPLY] == 0
