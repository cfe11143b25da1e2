"""Which texts a run needs, and that no prompt is on both sides of the split."""

import numpy as np
import pytest

from encore_jax.data import Comparison, Message, RatedResponse
from encore_jax.recipes.stages.texts import collect_texts


def prompt(i):
    return (Message("user", f"prompt {i}"),)


def rated(i, text):
    return RatedResponse(prompt(i), text, ("kind",), [0.5])


COMPARISONS = [Comparison(prompt(i), ("yes", "no"), 0) for i in range(40)]
RATED = [rated(i, text) for i in range(60) for text in ("no", "maybe")]


@pytest.fixture(scope="module")
def texts():
    return collect_texts(RATED, COMPARISONS, 0.5, 4, seed=3)


def test_every_text_is_there_once_and_is_referred_to(texts):
    assert len(texts.texts) == len(set(texts.texts)) == 60 * 2 + 40  # "no" is rated and compared
    for record, i in zip(RATED, texts.rated, strict=True):
        assert texts.texts[i] == (record.prompt, record.response)
    for record, pair in zip(COMPARISONS, texts.compared, strict=True):
        assert [texts.texts[i] for i in pair] == [(record.prompt, response) for response in record.responses]


def test_a_prompt_has_one_cluster_one_fold_and_one_side(texts):
    by_prompt = {}
    for (words, _), *facts in zip(texts.texts, texts.cluster, texts.fold, texts.test, strict=True):
        by_prompt.setdefault(words, set()).add(tuple(facts))
    assert all(len(facts) == 1 for facts in by_prompt.values())
    assert len({next(iter(facts))[0] for facts in by_prompt.values()}) == 60
    assert set(texts.fold) == {0, 1, 2, 3}


def test_only_prompts_of_comparisons_are_held_out(texts):
    held = {words[0].content for (words, _), test in zip(texts.texts, texts.test, strict=True) if test}
    assert held <= {f"prompt {i}" for i in range(40)} and 8 < len(held) < 32


def test_the_split_depends_on_the_seed_and_not_on_the_order(texts):
    def held(made):
        return {text for text, test in zip(made.texts, made.test, strict=True) if test}

    assert held(collect_texts(RATED[::-1], COMPARISONS[::-1], 0.5, 4, seed=3)) == held(texts)
    assert held(collect_texts(RATED, COMPARISONS, 0.5, 4, seed=4)) != held(texts)


def test_records_that_repeat_share_a_text():
    texts = collect_texts([rated(0, "no"), rated(0, "no")], [], 0.5, 2, 0)
    assert texts.rated.tolist() == [0, 0] and texts.compared.shape == (0, 2) and not texts.test.any()
    np.testing.assert_array_equal(texts.cluster, [0])
