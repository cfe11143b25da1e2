"""The first line of reports: comparisons of any size, labels, masks, and what is said where nothing can be."""

import numpy as np
import pytest

from encore_jax.evaluation.advice import advice
from encore_jax.evaluation.reliability import reliability

RULES = ("a", "b", "c", "d")


def ratings(n, responses, seed=0):
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=(n, responses, 1))
    return (quality * [1, 1, 1, 0] + rng.normal(size=(n, responses, 4))).astype(np.float32), quality[..., 0].argmax(1)


def test_of_more_than_two_responses_every_two_are_a_pair_and_the_preferred_one_labels_its_own():
    scores, best = ratings(150, 3)
    told = advice(list(scores), best.tolist(), range(150), RULES)
    pairs, label, prompt = [], [], []
    for n in range(150):
        for a, b in ((0, 1), (0, 2), (1, 2)):
            pairs.append(scores[n, [a, b]])
            label.append(0 if best[n] == a else 1 if best[n] == b else -1)
            prompt.append(n)
    expected = reliability(np.array(pairs), np.array(label), prompt=np.array(prompt), rules=RULES, draws=500)
    values = [row["value"] for row in told["loading"]]
    np.testing.assert_allclose(values, expected.common.loading, atol=1e-5)
    assert told["verdict"] == expected.common.verdict and told["refused"] == ""
    assert (
        told["recommendation"].startswith("Use agreement weights.")
        and "labels agreement weights are" in told["recommendation"]
    )


def test_without_labels_it_names_the_comparisons_to_label():
    scores, _ = ratings(200, 2)
    told = advice(list(scores), [None] * 200, range(200), RULES)
    assert "There are no labels." in told["recommendation"] and 10 < len(set(told["label_next"])) <= 20
    assert all(0 <= number < 200 for number in told["label_next"])


@pytest.mark.parametrize(
    ("rules", "mask", "refused"),
    [
        (2, True, "agreement needs at least 3 rules, and there are 2"),
        (4, False, "no two responses of one prompt are rated on the same rule"),
    ],
)
def test_where_nothing_can_be_told_it_says_so(rules, mask, refused):
    scores, best = ratings(30, 2)
    masks = [np.full((2, rules), mask)] * 30
    told = advice(list(scores[..., :rules]), best.tolist(), range(30), RULES[:rules], masks)
    assert told["refused"] == refused and told["recommendation"] and told["label_next"] == []
    assert len(told["loading"]) == rules and told["loading"][0]["value"] is None


def test_labels_that_nothing_is_compared_on_leave_no_sentence_unfinished():
    """Entropy of a rule that nobody rated is unknown, and so are the weights by entropy."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(60, 2, 4))
    mask = np.ones((60, 2, 4), bool)
    mask[..., 3] = False
    told = advice(list(scores), [0] * 60, range(60), ("a", "b", "c", "d"), list(mask), of="training comparisons")
    assert (
        "There are 60 labels of training comparisons, and no other weights to judge by them." in told["recommendation"]
    )
    assert " is ." not in told["recommendation"]
