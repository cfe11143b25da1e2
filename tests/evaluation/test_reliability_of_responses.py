"""`enc.reliability` of single responses ``[N, K]``: loadings from the ratings, absolute labels, and what it refuses."""

import numpy as np
import pytest

import encore_jax as enc
from encore_jax.composition.agreement import agreement_loadings
from encore_jax.errors import InputError
from encore_jax.evaluation.rated_responses import rated_responses

N, NAMES = 600, ("safe", "honest", "kind", "coin")
RNG = np.random.default_rng(0)
QUALITY = RNG.normal(size=N)
RATINGS = np.round(2 * QUALITY[:, None] * [1.0, 0.7, 0.5, 0.0] + RNG.normal(size=(N, 4))).astype(np.float32)
GOOD = (QUALITY > 0).astype(int)
OPTIONS = {"rules": NAMES, "draws": 30}


@pytest.fixture(scope="module")
def labelled():
    return enc.reliability(RATINGS, quality=GOOD, **OPTIONS)


def test_loadings_come_from_the_ratings_themselves_and_the_junk_rule_gets_nothing(labelled):
    np.testing.assert_allclose(labelled.common.loading, agreement_loadings(RATINGS).loading, atol=2e-3)
    assert labelled.recommended == "agreement" and labelled.single and labelled.prompts == N
    assert labelled.weights["agreement"][3] == pytest.approx(0, abs=0.03)


def test_each_labelled_response_is_in_one_pair_of_different_labels_in_either_order():
    grades = np.where(np.arange(N) < 400, np.round(2 * QUALITY), np.nan)
    pairs = rated_responses(RATINGS, grades, prompt=np.arange(N), seed=1).pairs
    assert 190 <= len(pairs.sign) <= 200 and set(pairs.sign) == {-1.0, 1.0} and 0.3 < (pairs.sign > 0).mean() < 0.7
    found = [tuple(row) for pair in pairs.ratings for row in pair]
    given = [tuple(row) for row in RATINGS[:400]]
    assert all(found.count(row) <= given.count(row) for row in set(found))
    few = rated_responses(RATINGS, np.where(np.arange(N) < 3, 1.0, 0.0))
    assert len(few.pairs.sign) == 3, "as many as there are responses of the rarer label"


def test_accuracy_is_how_often_a_rule_rates_the_better_labelled_response_higher(labelled):
    """In expectation the area under the curve, which scikit-learn computes from all pairs."""
    from sklearn.metrics import roc_auc_score

    for k, line in enumerate(labelled.rules):
        assert line.low - 0.03 <= roc_auc_score(GOOD, RATINGS[:, k]) <= line.high + 0.03
        assert line.labels == min(GOOD.sum(), N - GOOD.sum())
        values, sizes = np.unique(RATINGS[:, k], return_counts=True)
        assert line.n == N and line.levels == len(values)
        assert line.tie_rate == pytest.approx((sizes * (sizes - 1)).sum() / (N * (N - 1)))


def test_what_single_responses_cannot_say_is_said_and_labels_are_asked_of_responses(labelled):
    unlabelled = enc.reliability(RATINGS, **OPTIONS)
    for found in (labelled, unlabelled):
        assert "These are ratings of single responses" in repr(found) and "Rate two responses of each prompt" in repr(
            found
        )
    assert "There are no labels." in repr(unlabelled) and "pairs of labelled responses" in repr(labelled)
    assert "Label next, the most telling first: responses " in repr(unlabelled) and len(unlabelled.label_next) == 20
    some = np.where(np.arange(N) < 40, GOOD, np.nan)
    assert (enc.reliability(RATINGS, quality=some, **OPTIONS).label_next >= 40).all(), (
        "labelled ones are not asked again"
    )


def test_masked_ratings_and_equal_prompts_are_respected():
    where = RNG.random(RATINGS.shape) < 0.8
    found = enc.reliability(np.where(where, RATINGS, np.nan), where=where, prompt=np.arange(N) // 2, **OPTIONS)
    assert found.prompts == N // 2 and [line.n for line in found.rules] == where.sum(0).tolist()


def refused(ratings=RATINGS, *args, **options):
    return lambda: enc.reliability(ratings, *args, **(OPTIONS | {"rules": None} | options))


NAN = RATINGS.copy()
NAN[7, 2] = np.nan
REFUSED = {
    "got 2 rules; agreement needs at least 3": refused(RATINGS[:, :2]),
    "nothing is rated": refused(where=np.zeros(RATINGS.shape, bool)),
    "ratings, response 7, rule 'rule 2': nan is not finite (1 such)": refused(NAN),
    "are no array of numbers: they are <U1": refused(np.full((9, 4), "x")),
    "are no array of numbers: one is a list": refused(np.array([[[1], 2, 3], [1, 2, 3]], object)),
    "has shape (600,)": refused(RATINGS[:, 0]),
    "has shape (1, 1, 600, 4)": refused(RATINGS[None, None]),
    "where: ratings (600, 4), mask (600,)": refused(where=np.ones(N, bool)),
    "quality: has shape (5,)": refused(quality=np.ones(5)),
    "quality: has shape (600,) and holds <U": refused(quality=np.full(N, "good")),
    "quality: are no numbers": refused(quality=np.full(N, {}, object)),
    "quality, response 3: is infinite": refused(quality=np.where(np.arange(N) == 3, np.inf, 1.0)),
    "quality: is of single responses, and these are comparisons": refused(np.stack([RATINGS] * 2, 1), quality=GOOD),
    "preferred: says which of two responses is better": refused(RATINGS, GOOD),
    "anchor: there is no rule 'x'": refused(anchor="x"),
    "entropy: has shape (2,)": refused(entropy=[1.0, 2.0]),
    "draws: got 0": refused(draws=0),
    "draws: got 2.5": refused(draws=2.5),
    "labels: got True": refused(labels=True),
    "seed: got -1": refused(seed=-1),
    "tau: got 0": refused(tau=0),
}


@pytest.mark.parametrize("problem", REFUSED)
def test_what_cannot_be_used_is_said_in_one_line_with_what_to_do(problem):
    with pytest.raises(InputError) as caught:
        REFUSED[problem]()
    assert problem in str(caught.value) and "\n" not in str(caught.value) and caught.value.fix


ODD = {
    "all constant": (np.ones((50, 4)), None, "Never varies"),
    "fewer prompts than rules": (RATINGS[:60], np.arange(60) % 3, "3 prompts for 4 rules"),
    "three responses": (RATINGS[:3], None, "3 prompts for 4 rules"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_is_named_and_ends_in_a_recommendation(case):
    ratings, prompt, note = ODD[case]
    shown = repr(enc.reliability(ratings, prompt=prompt, quality=np.arange(len(ratings)) % 2, draws=20))
    assert note in shown and shown.startswith("Use ")
