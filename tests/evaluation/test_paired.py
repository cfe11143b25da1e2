"""Any two methods compared: every number against SciPy, statsmodels and all sign flips of whole prompts."""

import itertools
import math

import jax
import numpy as np
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests

from encore_jax.evaluation.paired import against_reference, pairwise

KEY = jax.random.key(0)
CLUSTER = np.repeat([3, 9, 4, 40, 5, 17, 8, 1], [1, 2, 9, 3, 5, 2, 4, 1])  # prompts of unequal size, numbered with gaps
NAMES = ("first", "second", "third")


def credits(seed=11):
    """Comparisons of one prompt agree more than others do, so that prompts and rows give different answers."""
    rng = np.random.default_rng(seed)
    _, group = np.unique(CLUSTER, return_inverse=True)
    prompt = rng.random((8, 3)) < [0.75, 0.5, 0.4]
    alone = rng.choice([0.0, 0.5, 1.0], (len(CLUSTER), 3))
    return np.where(rng.random((len(CLUSTER), 1)) < 0.8, prompt[group], alone).astype(np.float32)


def by_hand(difference):
    """All that is said of one difference of credit, before corrections."""
    difference = difference.astype(np.float64)
    prompts = np.array([difference[CLUSTER == prompt].sum() for prompt in np.unique(CLUSTER)])
    flips = np.array(list(itertools.product((1, -1), repeat=len(prompts))))
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    centred = difference - difference.mean()
    shared = sum(centred[CLUSTER == prompt].sum() ** 2 for prompt in np.unique(CLUSTER))
    design, psi = shared / (centred**2).sum(), (difference**2).mean()
    z_level, z_power = scipy.stats.norm.ppf([0.975, 0.8])
    needed = design * (z_level * math.sqrt(psi) + z_power * math.sqrt(psi - 1e-4)) ** 2 / 1e-4
    return {
        "better": better,
        "worse": worse,
        "mcnemar_p": scipy.stats.binomtest(better, better + worse).pvalue,
        "prompt_p": float((np.abs(flips @ prompts) >= abs(prompts.sum()) - 1e-9).mean()),
        "discordance": psi,
        "design": design,
        "needed": needed,
    }


def assert_said(tests, differences):
    """Against by_hand; the flips are a sample of 4,000."""
    for said, difference in zip(tests, differences, strict=True):
        expected = by_hand(difference)
        assert said["prompt_p"] == pytest.approx(expected.pop("prompt_p"), abs=0.03)
        assert {name: said[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    p = [said["prompt_p"] for said in tests]
    for name, method in (("holm_p", "holm"), ("bh_p", "fdr_bh")):
        np.testing.assert_allclose([said[name] for said in tests], multipletests(p, method=method)[1], rtol=1e-6)


def test_every_two_methods_are_compared_prompt_by_prompt():
    credit = credits()
    found = pairwise(NAMES, credit, CLUSTER, KEY)
    assert [(f["first"], f["second"]) for f in found] == list(itertools.combinations(NAMES, 2))
    differences = [credit[:, a] - credit[:, b] for a, b in itertools.combinations(range(3), 2)]
    assert [f["difference"] for f in found] == pytest.approx([d.mean() for d in differences], abs=1e-6)
    assert_said(found, differences)
    assert all(f["holm_p"] > f["bh_p"] + 0.05 for f in found), "or one could be taken for the other"
    rows = pairwise(NAMES, credit, np.arange(len(CLUSTER)), KEY)  # every comparison a prompt of its own
    assert [f["design"] for f in rows] == pytest.approx([1, 1, 1]) and min(f["design"] for f in found) > 1.5


def test_a_reference_is_not_compared_with_itself_and_others_keep_their_places():
    credit = credits()
    found = against_reference(1, credit, CLUSTER, KEY)
    assert found[1] is None
    assert_said([found[0], found[2]], [credit[:, 0] - credit[:, 1], credit[:, 2] - credit[:, 1]])
    assert (found[0]["better"], found[0]["worse"]) == ((credit[:, 0] > credit[:, 1]).sum(),
                                                       (credit[:, 0] < credit[:, 1]).sum())  # fmt: skip


def test_the_order_and_names_of_prompts_decide_nothing():
    credit, mixed = credits(), np.random.default_rng(5).permutation(len(CLUSTER))
    found, other = (pairwise(NAMES, c, g, KEY) for c, g in ((credit, CLUSTER), (credit[mixed], CLUSTER[mixed] * 7 + 2)))
    for a, b in zip(found, other, strict=True):
        assert a.pop("first") == b.pop("first") and a.pop("second") == b.pop("second")
        assert a == pytest.approx(b, rel=1e-6)


def test_an_average_over_weightings_has_no_mcnemar_and_equal_methods_have_no_need():
    credit = np.concatenate([credits()[:, :1], np.full((len(CLUSTER), 1), 0.3, np.float32), credits()[:, :1]], 1)
    averaged, equal = against_reference(0, credit, CLUSTER, KEY)[1:]
    assert averaged["mcnemar_p"] is None and averaged["needed"] > 0
    assert (equal["better"], equal["worse"], equal["mcnemar_p"], equal["prompt_p"]) == (0, 0, 1.0, 1.0)
    assert equal["needed"] is None and equal["discordance"] == 0 and equal["design"] == 1
