"""A constant added to a rule's ratings changes nothing: no tie appears, no loading, accuracy or weight moves."""

import numpy as np
import pytest

import encore_jax as enc
from encore_jax.composition.agreement import agreement_loadings
from encore_jax.composition.ties import rule_margins
from encore_jax.data.orientation import checked_scale
from encore_jax.errors import InputError

OFFSETS = (2e7, -1e9, 2.0**40)
RNG = np.random.default_rng(0)
QUALITY = RNG.normal(size=(120, 2, 1))
STEPS = np.round(2 * QUALITY * [1.0, 1.0, 1.0, 0.0] + RNG.normal(size=(120, 2, 4)))
CHOSEN = np.where(np.arange(120) % 2, QUALITY[:, :, 0].argmax(1), -1)


def of_pairs(ratings):
    return enc.reliability(ratings, CHOSEN, draws=20)


def of_responses(ratings):
    flat = ratings.reshape(-1, 4)
    quality = np.where(np.arange(len(flat)) % 3, QUALITY.ravel().round(1), np.nan)
    return enc.reliability(flat, quality=quality, prompt=np.repeat(np.arange(120), 2), draws=20)


def of_panel(ratings):
    judges = np.stack([ratings, ratings + RNG_OF_JUDGE])
    return enc.panel_reliability(judges, CHOSEN, draws=20).columns


RNG_OF_JUDGE = np.random.default_rng(1).integers(-1, 2, size=STEPS.shape)
BEFORE = {}


@pytest.mark.parametrize("measure", [of_pairs, of_responses, of_panel])
@pytest.mark.parametrize("offset", OFFSETS)
def test_an_offset_of_one_rule_or_of_all_changes_nothing(measure, offset):
    before = BEFORE.setdefault(measure, measure(STEPS))
    all_rules, one_rule = np.full(4, offset), np.array([0, offset, 0, 0])
    for shift in (all_rules, one_rule):
        after = measure(STEPS + shift)
        for field in ("n", "tie_rate", "levels", "half", "wrong", "decided", "accuracy", "entropy"):
            mine, theirs = ([getattr(line, field) for line in found.rules] for found in (after, before))
            np.testing.assert_allclose(mine, theirs, rtol=1e-6, err_msg=field)
        np.testing.assert_allclose(after.common.loading, before.common.loading, atol=2e-5)
        assert after.accuracy == before.accuracy and after.common.verdict == before.common.verdict
        np.testing.assert_allclose(after.weights["agreement"], before.weights["agreement"], atol=2e-5)
        np.testing.assert_array_equal(after.label_next, before.label_next)


@pytest.mark.parametrize("kind", [np.int64, np.uint64, object, np.float64])
def test_whole_numbers_of_any_kind_keep_their_differences(kind):
    shifted = (STEPS.astype(np.int64) + 2**52).astype(kind)
    mine, theirs = (enc.reliability(x, draws=20).rules for x in (shifted, STEPS))
    assert [line.tie_rate for line in mine] == [line.tie_rate for line in theirs]


@pytest.mark.parametrize("prompt_offset", [1e6, 2.0**30])
def test_an_offset_of_a_prompt_leaves_differences_as_they_are(prompt_offset):
    shifted = STEPS + prompt_offset * np.arange(120)[:, None, None]
    mine, theirs = (enc.reliability(x, draws=20) for x in (shifted, STEPS))
    assert [line.tie_rate for line in mine.rules] == [line.tie_rate for line in theirs.rules]
    np.testing.assert_allclose(mine.common.loading, theirs.common.loading, atol=2e-5)


@pytest.mark.parametrize("offset", [0, *OFFSETS])
def test_loadings_of_the_formula_do_not_depend_on_an_offset(offset):
    for ratings in (STEPS, STEPS.reshape(-1, 4)):
        np.testing.assert_allclose(
            agreement_loadings(ratings + offset).loading, agreement_loadings(ratings).loading, atol=2e-5
        )


@pytest.mark.parametrize("kind", [np.int64, np.uint64, object])
def test_whole_numbers_that_float64_would_round_are_refused(kind):
    large = (STEPS.astype(np.int64) + 2**60).astype(kind)
    for measure in (
        lambda x: enc.reliability(x, draws=20),
        lambda x: enc.panel_reliability(np.stack([x, x]), draws=20),
    ):
        with pytest.raises(InputError, match="too many digits for float64. Fix: subtract a constant"):
            measure(large)


@pytest.mark.parametrize("low", OFFSETS)
def test_a_scale_on_which_ratings_in_float32_would_tie_is_refused(low):
    with pytest.raises(InputError, match="too far from 0 for its width.*Fix: subtract"):
        checked_scale((low, low + 5))
    assert checked_scale((2000, 2001)) == (2000, 2001)


def test_rounding_in_float64_makes_no_rule_vary_and_breaks_no_tie():
    third = 0.1 + 0.2 - 0.3 * RNG.integers(0, 2, size=(60, 2))  # 0.30000000000000004 or 5e-17, never mind
    noisy = np.where(third > 0.2, 0.3, 0.1 + 0.2)
    ratings = np.concatenate([STEPS[:60, :, :3], noisy[..., None]], 2)
    assert enc.reliability(ratings, draws=20).rules[3].tie_rate == 1
    alone = enc.reliability(ratings.reshape(-1, 4), draws=20)
    assert alone.rules[3].tie_rate == 1 and np.isnan(alone.common.loading[3])
    ninths = rule_margins(np.array([[0.9, 0.2]]), np.array([[0.8, 0.3]]))
    assert abs(ninths.value.sum()) <= ninths.tolerance.sum() < 1e-6
