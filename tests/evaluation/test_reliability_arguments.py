"""Arguments of a wrong kind or out of bounds: one line that names the argument and says what to pass."""

import math

import numpy as np
import pytest

import encore_jax as enc
from encore_jax.composition.dawid_skene import dawid_skene
from encore_jax.errors import InputError
from encore_jax.evaluation.panel_twins import twins
from encore_jax.evaluation.reliability_arguments import checked_prompt

RNG = np.random.default_rng(0)
RATINGS = RNG.normal(size=(24, 2, 3))
NOT_WHOLE = (True, "20", None, 20.5, 20.0, -1, math.nan, math.inf, [20], np.array(20), 10**30)
NOT_POSITIVE = (True, "2", None, -1, 0, math.nan, [2.0], np.array([2.0]), np.True_, 1j, -math.inf)
WRONG = {
    "labels": (*NOT_WHOLE, 0),
    "draws": (*NOT_WHOLE, 0, 10**9),
    "seed": NOT_WHOLE,
    "tau": NOT_POSITIVE,
    "prompt": ("x" * 24, {}, set("ab"), 3, [1], [math.nan] * 24, [None] * 24, [1, "1"] * 12, [True, 1] * 12,
               [math.inf] * 24, np.array(["NaT"] * 24, "datetime64[s]"), np.ma.masked_equal(np.arange(24), 3)),
    "preferred": ("x", ["0"] * 24, [None] * 24, [0.5] * 24, [math.nan] * 24, [[0], [0, 1]], {}, 1,
                  np.ma.masked_equal(np.arange(24) % 2, 1)),
    "where": ("x", [None] * 24, np.full(RATINGS.shape, math.nan), np.ones(3),
              np.ma.masked_equal(np.ones(RATINGS.shape), 1)),
    "rules": ("abc", 3, ["a"], ["a", "a", "b"]),
}  # fmt: skip
OF_ONE = {
    "anchor": (True, 3, ["rule 0"], math.nan, b"rule 0", "nobody"),
    "ids": ("abc", 3, ["a"], True),
    "entropy": ("x", 1.0, True, [1.0], [1.0, None, 1.0], [1.0, math.nan, 1.0], [math.inf] * 3, ["1"] * 3, {}),
}
OF_PANEL = {
    "anchor": (True, 3, "judge 0", ("judge 0",), ("judge 0", 3), (None, None), {"judge 0": 1, "rule 0": 2}),
    "judges": (3, "ab", ["a"]),
    "draws_of": (3, "ab", ["a"]),
    "verdicts": ("x", [["a"]], [[1.0], [1.0, 2.0]], np.full((2, 3, 2), math.inf)),
}


def cases(*tables):
    return [(name, value) for table in tables for name, values in table.items() for value in values]


def shown(value):
    """Of a parameter, the same in every process: a set of texts has another order in each."""
    return repr(sorted(value) if isinstance(value, set) else value)[:30]


def refused(function, name, value):
    with pytest.raises(InputError) as caught:
        function(**{"draws": 20, name: value})
    error = caught.value
    assert name in f"{error.where} {error.problem}" or (name == "preferred" and "comparison" in error.where)
    assert "\n" not in str(error) and len(str(error)) < 400 and error.fix


@pytest.mark.parametrize(("name", "value"), cases(WRONG, OF_ONE), ids=shown)
def test_reliability_names_the_argument(name, value):
    refused(lambda **given: enc.reliability(RATINGS, **given), name, value)


@pytest.mark.parametrize(("name", "value"), cases(WRONG, OF_PANEL), ids=shown)
def test_panel_reliability_names_the_argument(name, value):
    refused(lambda **given: enc.panel_reliability(np.stack([RATINGS, -RATINGS]), **given), name, value)


@pytest.mark.parametrize(
    "quality", ["x", [None, "1"] * 12, [[1], [1, 2]], [math.inf] * 24, np.ma.masked_equal(np.arange(24), 3)]
)
def test_labels_of_single_responses_are_named(quality):
    refused(lambda **given: enc.reliability(RATINGS[:, 0], **given), "quality", quality)


def test_correlations_that_memory_does_not_hold_are_refused_before_they_are_taken():
    with pytest.raises(InputError, match=r"draws: 100,000 draws .* of 200 rules. Fix: pass at most 25,000, or fewer"):
        enc.reliability(np.zeros((2, 2, 200)), draws=100_000)


@pytest.mark.parametrize(
    ("name", "value"),
    cases({"steps": (0, *NOT_WHOLE), "tolerance": (True, "x", None, -1e-9, math.nan, math.inf, [1e-6])}),
    ids=shown,
)
def test_dawid_skene_names_the_argument(name, value):
    with pytest.raises(InputError, match=f"^{name}: got .*Fix: .*pass a"):
        dawid_skene(np.array([[1, 1, 0], [0, 0, 1]]), **{name: value})


def test_prompts_may_be_numbers_of_any_kind_texts_or_anything_that_compares():
    for prompt in ([1, 1.0, np.int8(2)], ["a", "a", "b"], [("a",), ("a",), ("b",)], np.array([7, 7, 9], np.uint8)):
        assert checked_prompt(3, prompt).tolist() == [0, 0, 1]


def test_two_judges_that_are_one_are_named_whatever_is_missing():
    a = RNG.integers(0, 3, size=(24, 2, 3)).astype(float)
    holes = np.where(RNG.random(a.shape) < 0.1, np.nan, a)
    other = a + (np.arange(24) == 23)[:, None, None]
    assert twins(np.stack([a, holes, other]), ["a", "b", "c"]) == (("a", "b", 24),)
    assert twins(np.stack([a, a])[:, :5], ["a", "b"]) == ()  # by chance
    assert twins(np.ones((2, 24, 2, 3)), ["a", "b"]) == ()  # constant
    found = enc.panel_reliability(np.stack([a, a, -a]), judges=["a", "b\x1b<i>", "c"], draws=20)
    assert found.twins == (("a", "b\x1b<i>", 24),)
    assert "a and b\\x1b<i> give equal ratings in all 24 comparisons that both rate." in repr(found)
    assert "b\x1b&lt;i&gt; give equal ratings" in found._repr_html_()
