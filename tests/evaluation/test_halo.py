"""Halo: agreement and correlations against NumPy, and the decision on judges whose halo is known."""

import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.evaluation.halo import NO, OPEN, YES, Interval, decide, measure_halo

RULES = ("a", "b", "c", "d")


def judge(n, halo, noise=0.0, seed=0):
    """Ratings that share a part `halo` of one common factor, and the same rules each by itself."""
    rng = np.random.default_rng(seed)
    own, common = rng.uniform(size=(n, len(RULES))), rng.uniform(size=(n, 1))
    noisy = np.clip(own + noise * rng.normal(size=own.shape), 0, 1)
    return own, (1 - halo) * noisy + halo * common


def measured(one, more, back=None, group=None, **options):
    back = more if back is None else back
    return measure_halo(one, more, back, RULES, np.arange(len(one)) if group is None else group, draws=300, **options)


def test_every_number_is_numpys():
    one, more = judge(80, 0.4, 0.2)
    back = np.roll(more, 1, axis=0)
    found = measured(one, more, back)
    for k, rule in enumerate(found.rules):
        assert rule.n == 80 and rule.correlation == pytest.approx(np.corrcoef(one[:, k], more[:, k])[0, 1])
        assert rule.difference == pytest.approx(np.abs(one[:, k] - more[:, k]).mean())
        assert rule.same.value == pytest.approx(((one[:, k] > 0.5) == (more[:, k] > 0.5)).mean())
        assert rule.same_reversed.value == pytest.approx(((back[:, k] > 0.5) == (more[:, k] > 0.5)).mean())
        assert rule.difference_reversed == pytest.approx(np.abs(back[:, k] - more[:, k]).mean())
    upper = np.triu_indices(4, 1)
    alone, calls = (np.corrcoef(x.T)[upper].mean() for x in (one, more))
    assert found.isolated.value == pytest.approx(alone) and found.together.value == pytest.approx(calls)
    assert found.halo.value == pytest.approx(calls - alone) and found.halo.low < calls - alone < found.halo.high


def test_missing_ratings_are_left_out_rule_by_rule_and_pair_by_pair():
    one, more = judge(60, 0.3)
    more[:20, 0], one[50:, 1] = np.nan, np.nan
    found = measured(one, more)
    assert [rule.n for rule in found.rules] == [40, 50, 60, 60]
    whole = slice(20, 50)
    pair = np.corrcoef(more[whole, 0], more[whole, 1])[0, 1]
    others = [np.corrcoef(more[20:, 0], more[20:, k])[0, 1] for k in (2, 3)]
    others += [np.corrcoef(more[:50, 1], more[:50, k])[0, 1] for k in (2, 3)] + [
        np.corrcoef(more[:, 2], more[:, 3])[0, 1]
    ]
    assert found.together.value == pytest.approx(np.mean([pair, *others]))


@pytest.mark.parametrize(("halo", "noise", "trust"), [(0.0, 0.0, YES), (0.6, 0.0, NO), (0.0, 1.0, NO)])
def test_a_known_halo_is_found_and_decides(halo, noise, trust):
    found = measured(*judge(300, halo, noise))
    assert found.trust == trust and found.sentence.startswith({"yes": "Ratings of", "no": "Do not take"}[trust])
    assert (found.halo.low > 0.1) == (halo > 0.5)


def test_an_order_effect_alone_is_reason_enough():
    one, more = judge(200, 0.0)
    assert measured(one, more, 1 - more).trust == NO


def test_few_prompts_or_wide_intervals_leave_it_open():
    one, more = judge(40, 0.0)
    assert measured(one, more, group=np.repeat(np.arange(10), 4)).trust == OPEN
    assert decide(Interval(0.92, 0.85, 0.97), Interval(1, 1, 1), Interval(0, 0, 0), 99)[0] == OPEN


def test_one_prompt_has_no_interval_over_prompts():
    one, more = judge(8, 0.2, 0.3)
    found = measured(one, more, group=np.zeros(8))
    assert np.isfinite(found.same.value) and np.isnan([found.same.low, found.same.high, found.halo.low]).all()
    assert np.isnan([rule.same.high for rule in found.rules]).all()
    assert found.trust == OPEN and "1 prompt," in found.sentence


def test_responses_to_one_prompt_are_resampled_together():
    one, more = judge(40, 0.2, 0.3)
    single = measured(one, more)
    doubled = measured(*(np.repeat(x, 2, axis=0) for x in (one, more)), group=np.repeat(np.arange(40), 2))
    assert doubled.same.value == pytest.approx(single.same.value)
    assert (doubled.same.low, doubled.same.high) == pytest.approx((single.same.low, single.same.high))


def test_it_does_not_depend_on_the_order_of_rules():
    one, more = judge(50, 0.3, 0.2)
    back = more[:, ::-1]
    found, other = measured(one, more, back), measured(one[:, ::-1], more[:, ::-1], back[:, ::-1])
    assert found.halo == pytest.approx(other.halo) and found.same == pytest.approx(other.same)


def test_constant_ratings_have_no_correlation_and_no_trust():
    one = np.full((50, 4), 0.75)
    found = measured(one, one)
    assert np.isnan(found.halo.value) and found.trust == OPEN and "not known" in found.sentence


def test_what_it_refuses():
    one, more = judge(10, 0.0)
    with pytest.raises(InputError, match="halo: ratings of shapes"):
        measure_halo(one, more[:5], more, RULES, np.arange(10))
    with pytest.raises(InputError, match="no rating was given in both ways"):
        measured(one, np.full_like(one, np.nan))
