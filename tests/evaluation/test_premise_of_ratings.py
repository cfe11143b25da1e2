"""`enc.premise`: the papers' premise on ratings in memory, whatever they come as."""

import numpy as np
import pandas
import pytest

import encore_jax as enc
from encore_jax.composition import entropy_accuracy_correlation
from encore_jax.errors import InputError
from encore_jax.evaluation.rule_reliability import common_entropy

NAMES = ["a", "b", "c", "d", "e"]
FAST = {"replicates": 100}


def drawn(noise, n=300, seed=0, levels=5):
    """Ratings 1 to `levels` ``[n, 2, 5]`` that follow quality, each rule with its share of noise; and choices."""
    rng = np.random.default_rng(seed)
    quality = rng.permuted(np.tile([0, 1], (n, 1)), axis=1)[..., None]
    wild = rng.integers(1, levels + 1, (n, 2, 5))
    ratings = np.where(rng.random((n, 2, 5)) < np.asarray(noise), wild, 1 + (levels - 1) * quality)
    return ratings.astype(float), quality[..., 0].argmax(1)


NOISY = drawn(np.linspace(0.05, 0.9, 5))


@pytest.fixture(scope="module")
def found():
    return enc.premise(*NOISY, rules=NAMES, **FAST)


def test_noise_makes_entropy_and_errors_so_the_premise_holds(found):
    assert found.verdict == "holds" and found.premise.r < -0.9
    assert repr(found).startswith("ENCORE's premise holds. Rules whose ratings have a higher entropy agree less often")
    assert found.sentences()[-1].startswith("ENCORE minus uniform on 300 labelled comparisons")


def test_constant_rules_make_it_fail():
    """A rule that hardly ever speaks has little entropy, and ties."""
    ratings, preferred = drawn(np.full(5, 0.05))
    for k in range(4):  # the first rules say 3 but rarely
        ratings[:, :, k] = np.where(np.random.default_rng(k).random((300, 2)) < 0.9 - 0.2 * k, 3, ratings[:, :, k])
    found = enc.premise(ratings, preferred, rules=NAMES, **FAST)
    assert found.verdict == "does not hold" and found.premise.r > 0
    assert "does not hold" in repr(found).splitlines()[0]


def test_its_numbers_are_those_of_the_formulas(found):
    ratings, preferred = NOISY
    mask = np.ones(ratings.shape, bool)
    np.testing.assert_allclose(found.entropy, common_entropy(ratings, mask), rtol=1e-5)
    accuracy = enc.rule_accuracy(ratings.astype(np.float32), preferred).ties_half
    np.testing.assert_allclose([row.value for row in found.accuracy], accuracy, atol=1e-6)
    assert all(row.low <= row.value <= row.high for row in found.accuracy)
    assert found.premise.r == pytest.approx(entropy_accuracy_correlation(found.entropy, accuracy).r, abs=1e-5)
    expected = np.exp(-found.entropy / 2)
    np.testing.assert_allclose(found.weights, expected / expected.sum(), rtol=1e-5)


def same(one, other):
    assert one.verdict == other.verdict and one.comparisons == other.comparisons
    np.testing.assert_allclose(one.entropy, other.entropy, rtol=1e-5)
    np.testing.assert_allclose([row.value for row in one.accuracy], [row.value for row in other.accuracy], atol=1e-6)


def test_records_and_tables_give_what_the_array_gives(found, tmp_path):
    ratings, preferred = NOISY
    prompts = [(enc.Message("user", f"Question {i}"),) for i in range(len(ratings))]
    rows = zip(prompts, preferred.tolist(), ratings, strict=True)
    records = [enc.Comparison(prompt, ("x", "y"), choice, tuple(NAMES), own) for prompt, choice, own in rows]
    same(found, enc.premise(records, **FAST))
    columns = {f"{name}_{side}": ratings[:, i, k] for k, name in enumerate(NAMES) for i, side in enumerate("ab")}
    frame = pandas.DataFrame(columns | {"preferred": np.where(preferred, "b", "a")})
    same(found, enc.premise(frame, **FAST))
    frame.to_csv(tmp_path / "ratings.csv", index=False)
    same(found, enc.premise(tmp_path / "ratings.csv", **FAST))


@pytest.mark.parametrize("change", [lambda r: r / 5, lambda r: 10 * r - 7])
def test_the_scale_does_not_matter(found, change):
    same(found, enc.premise(change(NOISY[0]), NOISY[1], rules=NAMES, **FAST))


def test_swapping_all_responses_changes_nothing(found):
    ratings, preferred = NOISY
    same(found, enc.premise(ratings[:, ::-1], 1 - preferred, rules=NAMES, **FAST))


def test_what_says_nothing_is_counted():
    ratings, preferred = NOISY
    mask = np.ones(ratings.shape, bool)
    mask[:7, 0, 2] = False
    chosen = np.where(np.arange(300) >= 290, -1, preferred)
    found = enc.premise(ratings, chosen, where=mask, rules=NAMES, **FAST)
    assert found.comparisons == 300 - 17
    assert list(found.left_out.values()) == [10, 7]
    assert "10 pairs are left out: they say of neither response that it is preferred." in repr(found)


def test_it_is_worth_looking_at(found, tmp_path):
    page = found.report(tmp_path).read_text()
    assert page.startswith("<!") and "<svg" in page and "Does ENCORE" in page
    html = found._repr_html_()
    assert "<table>" in html and all(f">{name}<" in html for name in NAMES)
    assert found.plot().axes[0].get_xlabel().startswith("entropy")


ARRAY = np.ones((4, 2, 3)) * [1, 2, 3]


@pytest.mark.parametrize(("given", "options", "told"), [
    (ARRAY, {}, "0 of 4 pairs are left to judge the premise by: 4 say of neither response"),
    (ARRAY[:, 0], {}, "without an axis of responses"),
    (ARRAY, {"preferred": [0, 1, 2, 0]}, "comparison 2: preferred is 2"),
    (ARRAY, {"preferred": [0, 1, 1, 0], "replicates": 3}, "replicates"),
    (ARRAY, {"preferred": [0, 1, 1, 0], "pool": ["It is kind."]}, "pool: is of a table"),
    (ARRAY, {"preferred": [0, 1, 1, 0], "compose": enc.CompositionSettings()}, "scale"),
    ([{"kind": 5, "true": 3, "brief": 1}] * 3, {}, "has one response in a row"),
    ("no.csv", {}, "no.csv"),
    ([], {}, "ratings|comparison"),
])  # fmt: skip
def test_what_it_refuses(given, options, told):
    with pytest.raises(InputError, match=told):
        enc.premise(given, **options)
