"""Which mixtures of two rating scales are refused or told, and how often ratings on one scale are taken for two.

Synthetic ratings. What no sign shows is listed as `SILENT`, so that a reader sees it.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import encore_jax as enc
from encore_jax.data.mixed_scales import SeveralScales, check_mixed, two_scales

SCALES = {
    "1 to 5": (1, 5), "1 to 7": (1, 7), "1 to 10": (1, 10), "0 to 1": (0, 1), "0 to 10": (0, 10), "percent": (0, 100),
    "-1 to 1": (-1, 1), "-3 to 3": (-3, 3),
}  # fmt: skip
SHAPES = {"even": (1, 1), "low": (1, 6), "very low": (0.5, 20), "high": (6, 1), "middle": (4, 4), "ends": (0.3, 0.3)}
"""Parameters of beta distributions."""


def ratings(scale, grain, shape, n, rng):
    """`n` ratings; grain 0 is continuous."""
    low, high = SCALES[scale]
    share = rng.beta(*SHAPES[shape], n)
    if not grain:
        return low + (high - low) * share
    steps = round((high - low) / grain)
    return low + grain * np.minimum(np.floor((steps + 1) * share), steps)


def verdict(values):
    found = two_scales(values)
    return "one" if found is None else "refused" if found.sure else "told"


@pytest.mark.parametrize("shape", SHAPES)
def test_one_scale_is_never_refused_and_seldom_told(shape):
    """Of 1,040 files of each shape: none is refused, at most 1 % are warned of."""
    rng, found = np.random.default_rng(0), []
    for scale in SCALES:
        for grain in (0, 0.01, 0.1, 0.25, 0.5, 1)[:: 1 if SCALES[scale][1] < 100 else 5]:
            if grain <= 1 and (SCALES[scale][1] - SCALES[scale][0]) >= 2 * grain:
                found += [verdict(ratings(scale, grain, shape, n, rng)) for n in (30, 200, 1000) for _ in range(8)]
    assert "refused" not in found and found.count("told") <= 0.01 * len(found)


@settings(deadline=None)
@given(st.sampled_from(sorted(SCALES)), st.floats(-100, 100, allow_nan=False), st.integers(0, 300))
def test_equal_ratings_are_on_one_scale(scale, value, n):
    assert verdict(np.full(n, value)) == "one"


FINER = [("0 to 1", 0.01), ("0 to 1", 0), ("-1 to 1", 0.01), ("1 to 5", 0.1), ("1 to 7", 0.1), ("1 to 10", 0)]
"""Narrower scales of a finer grain than whole numbers."""
WHOLE = [("1 to 5", 0.5), ("1 to 5", 1), ("1 to 7", 1), ("1 to 10", 1), ("percent", 1), ("percent", 5)]


@settings(deadline=None)
@given(st.sampled_from(FINER), st.sampled_from(WHOLE), st.floats(0.02, 0.98), st.integers(150, 400), st.integers(0, 99))
def test_a_mixture_of_two_grains_is_never_accepted_silently(narrow, wide, share, n, seed):
    if 5 * SCALES[narrow[0]][1] > SCALES[wide[0]][1]:
        return
    rng, count = np.random.default_rng(seed), max(int(share * n), 3)
    mixed = [ratings(*narrow, "even", count, rng), ratings(*wide, "even", max(n - count, 3), rng)]
    assert verdict(rng.permutation(np.concatenate(mixed))) != "one"


@settings(deadline=None)
@given(
    st.sampled_from(["-1 to 1", "-3 to 3"]), st.sampled_from(["1 to 7", "1 to 10", "percent"]), st.floats(0.05, 0.95),
    st.integers(0, 99),
)  # fmt: skip
def test_ratings_below_zero_among_others_are_never_accepted_silently(signed, other, share, seed):
    rng, count = np.random.default_rng(seed), int(share * 300)
    mixed = [ratings(signed, 1, "even", count, rng), ratings(other, 1, "even", 300 - count, rng)]
    values = rng.permutation(np.concatenate(mixed))
    assert values.min() >= 0 or verdict(values) != "one"


SILENT = [
    ("1 to 5", "1 to 10", 1, 0.3),  # low grades from 1 to 10
    ("0 to 1", "1 to 5", 1, 0.3),  # 0 to 5
    ("-1 to 1", "-3 to 3", 1, 0.3),
    ("1 to 5", "percent", 1, 0.05),  # harmless answers, in percent
]


@pytest.mark.parametrize(("narrow", "wide", "grain", "share"), SILENT)
def test_what_cannot_be_told_apart(narrow, wide, grain, share):
    """Known limits: shuffled, of one grain, and near each other or few."""
    rng = np.random.default_rng(0)
    mixed = [ratings(narrow, grain, "even", int(share * 400), rng), ratings(wide, grain, "even", 280, rng)]
    assert verdict(rng.permutation(np.concatenate(mixed))) == "one"


@pytest.mark.parametrize("narrow", ["1 to 5", "1 to 7", "1 to 10"])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.5, 0.9])
def test_whole_grades_among_whole_percentages_are_told_where_they_are_a_block(narrow, share):
    rng, count = np.random.default_rng(0), int(share * 400)
    blocks = [ratings(narrow, 1, "even", count, rng), ratings("percent", 1, "even", 400 - count, rng)]
    assert verdict(np.concatenate(blocks)) == verdict(np.concatenate(blocks[::-1])) == "told"


@pytest.mark.parametrize(
    "levels", [[0.01, 0.1, 1, 10, 100], [1, 2, 5, 10, 20, 50, 100], [0.1, 0.3, 1, 3, 10, 30, 100]], ids=str
)
def test_levels_that_grow_by_a_factor_are_on_one_scale(levels):
    assert verdict(np.random.default_rng(0).permutation(np.repeat(levels, 30))) == "one"


def test_a_warning_names_both_readings_rows_of_both_and_what_to_type(caplog):
    rng = np.random.default_rng(0)
    values = np.concatenate([ratings("1 to 7", 1, "even", 100, rng), ratings("percent", 1, "even", 200, rng)])
    check_mixed({"kind": values}, lambda rule, i: f"line {i}", "give --scale=LOWEST,HIGHEST")
    said = caplog.text
    for part in (
        "line 0, rule 'kind'",
        "100 rows one after the other",
        "from 1 to 7",
        "line 100",
        "from 0 to 100",
        "--scale=0,100",
    ):
        assert part in said, said


def test_a_given_scale_is_believed(caplog):
    rng = np.random.default_rng(0)
    values = rng.permutation(np.concatenate([rng.random((60, 3)), rng.integers(1, 6, (60, 3))]))
    with pytest.raises(SeveralScales):
        enc.reliability(values, draws=2)
    enc.reliability(values, draws=2, scale=(0, 5))
    assert "scales" not in caplog.text
