"""What `enc.reliability` takes, what it shows, and what it says of ratings that cannot tell."""

import numpy as np
import pytest

import encore_jax as enc
from encore_jax.data import Comparison, Message
from encore_jax.errors import InputError
from encore_jax.evaluation.rated_pairs import rated_pairs
from encore_jax.evaluation.recommendation import recommendation
from encore_jax.evaluation.reliability_notes import notes

RNG = np.random.default_rng(0)
QUALITY = RNG.normal(size=(150, 3, 1))
RATINGS = np.round(2 * QUALITY * [1.0, 1.0, 1.0, 0.0] + RNG.normal(size=(150, 3, 4))).astype(np.float32)
BEST = QUALITY[..., 0].argmax(1)
NAMES = ("safe", "honest", "kind", "coin")


def test_every_two_of_n_responses_are_a_pair_and_a_choice_labels_those_with_the_chosen_one():
    pairs = rated_pairs(RATINGS, BEST, rules=NAMES)
    assert pairs.ratings.shape == (450, 2, 4) and (pairs.sign != 0).sum() == 300
    right = [(QUALITY[i, a, 0] > QUALITY[i, b, 0]) for i in range(150) for a, b in ((0, 1), (0, 2), (1, 2))]
    chosen = pairs.sign != 0
    np.testing.assert_array_equal(pairs.sign[chosen] > 0, np.array(right)[chosen])
    np.testing.assert_array_equal(pairs.comparison, np.repeat(np.arange(150), 3))


def test_comparisons_say_the_same_as_their_arrays():
    where = RNG.random(RATINGS.shape) < 0.9
    records = [
        Comparison(
            (Message("user", f"q{i // 2}"),),
            ("a", "b", "c"),
            None if i % 3 else int(BEST[i]),
            NAMES,
            RATINGS[i],
            where[i],
            id=f"c{i}",
        )
        for i in range(150)
    ]
    preferred = np.where(np.arange(150) % 3, -1, BEST)
    options = {"draws": 20, "labels": 7}
    a = enc.reliability(iter(records), **options)
    b = enc.reliability(
        RATINGS, preferred, where=where, prompt=[f"{i // 2:03}" for i in range(150)], rules=NAMES, **options
    )
    assert a.prompts == b.prompts == 75
    np.testing.assert_allclose(a.common.loading, b.common.loading, atol=0.01)
    assert a.accuracy == b.accuracy and [line.half for line in a.rules] == [line.half for line in b.rules]
    assert a.label_ids == tuple(f"c{i}" for i in a.label_next) and b.label_ids == tuple(map(str, b.label_next))
    assert all(f"| {name} | q{int(name[1:]) // 2} | a | b | c |" in repr(a) for name in a.label_ids)
    texts = [(f"q{i // 2}", "a", "b", "c") for i in range(150)]
    c = enc.reliability(RATINGS, preferred, where=where, texts=texts, rules=NAMES, **options)
    assert c.label_texts == tuple(texts[i] for i in c.label_next) and b.label_texts == ()
    with pytest.raises(InputError, match="texts: comparisons carry their own"):
        enc.reliability(records, texts=texts)
    with pytest.raises(InputError, match="texts: has texts of 149 comparisons, and there are 150"):
        enc.reliability(RATINGS, texts=texts[1:])
    with pytest.raises(InputError, match="texts, comparison 3: holds no list of texts"):
        enc.reliability(RATINGS, texts=[*texts[:3], "text", *texts[4:]])
    with pytest.raises(InputError, match="ids: comparisons carry their own. Fix: leave it out"):
        enc.reliability(records, ids=range(150))
    assert len(a.label_next) == 7 and all(i % 3 for i in a.label_next) and len(set(a.label_next.tolist())) == 7


def test_comparisons_of_fewer_responses_are_padded():
    records = [
        Comparison((Message("user", f"q{i}"),), ("a", "b", "c")[: 2 + i % 2], None, NAMES, RATINGS[i, : 2 + i % 2])
        for i in range(60)
    ]
    pairs = rated_pairs(records)
    assert len(pairs.ratings) == 30 * 1 + 30 * 3 and pairs.mask.all()


@pytest.fixture(scope="module")
def found():
    return enc.reliability(
        RATINGS[:, :2], (BEST[:] == 1).astype(int), rules=("safe", "honest", "<b>&", "coin"), draws=20
    )


def test_the_first_line_says_what_to_use_and_the_page_says_it_too(found, tmp_path):
    assert repr(found).startswith("Use ") and "| safe | 150 |" in repr(found)
    assert "<b>&amp;" not in found._repr_html_() and "&lt;b&gt;&amp;" in found._repr_html_()
    path = found.report(tmp_path)
    assert path == tmp_path / "reliability.html"
    page = path.read_text()
    assert repr(found).splitlines()[0].split(".")[0] in page and "http" not in page.replace("http-equiv", "").replace(
        "http://www.w3.org", ""
    )
    assert found.report(tmp_path / "page.html").read_text() == page
    with pytest.raises(InputError, match="page.html"):
        found.report(tmp_path / "page.html" / "x.html")


NAN = RATINGS.copy()
NAN[7, 1, 2] = np.nan
RATED = Comparison((Message("user", "q"),), ("a", "b"), 0, NAMES, RATINGS[0, :2])
REFUSED = {
    "got 2 rules; agreement needs at least 3. Fix: add rules": lambda: (RATINGS[..., :2],),
    "nothing is rated. Fix: pass at least one rating": lambda: (RATINGS, None, np.zeros(RATINGS.shape, bool)),
    "comparison 7, response 1, rule 'rule 2': nan is not finite (1 such). Fix: mask it": lambda: (NAN,),
    "without an axis of responses. Fix: pass an array [N, n, K]": lambda: (RATINGS[:, 0],),  # reliability takes it
    "has shape (150, 1, 4). Fix: pass an array": lambda: (RATINGS[:, :1],),
    "comparison 3: preferred is 5. Fix: use 0 to 2, or -1": lambda: (RATINGS, np.where(np.arange(150) == 3, 5, BEST)),
    "comparison 0: is a str. Fix: pass an array": lambda: ("good",),
    "are no array of numbers: ": lambda: ([[["x", "y"]]],),
    "has shape (0,). Fix: pass an array": lambda: ([],),
    "3 different names for 4 rules": lambda: (RATINGS, None, None, None, ["a", "b", "c", "a"]),
    "there is no comparison": lambda: (iter([]),),
    "comparison 1: is a dict": lambda: ([RATED, {"prompt": "q"}],),
    "comparison 0: has no ratings": lambda: ([Comparison((Message("user", "q"),), ("a", "b"))],),
    "preferred: comparisons carry their own": lambda: ([RATED], [0]),
    "preferred (3,)": lambda: (RATINGS, [0, 1, 0]),
    "are no array of numbers: they are <U3": lambda: (np.full((9, 2, 3), "1.5"),),
    "are no array of numbers: one is a dict": lambda: (np.full((9, 2, 3), {}, object),),
    "are no array of numbers: one is a str": lambda: ([[[1.0, "2", 3.0], [1.0, None, 3.0]]],),
    "are no array of numbers: they are complex64": lambda: (RATINGS + 1j,),
    "rule 'rule 1': nan is not finite (1 such)": lambda: ([[[1.0, 2.0, 3.0], [1.0, None, 3.0]]],),
    "rule 'rule 0': inf is not finite": lambda: (RATINGS.astype(np.float64) + np.where(RATINGS == RATINGS, 1e300, 0),),
    "where: holds something else than true and false": lambda: (RATINGS, None, np.full(RATINGS.shape, "no")),
    "where: ratings (150, 3, 4), mask (150, 3)": lambda: (RATINGS, None, np.ones((150, 3), bool)),
    "prompt: has shape (2,), not (150,)": lambda: (RATINGS, None, None, [1, 2]),
    "prompt: cannot be compared": lambda: (RATINGS[:1], None, None, [{}]),
    "rules: is a str, no list of names": lambda: (RATINGS, None, None, None, "abcd"),
}


@pytest.mark.parametrize("problem", REFUSED)
def test_what_cannot_be_used_is_said_in_one_line_with_what_to_do(problem):
    with pytest.raises(InputError) as caught:
        rated_pairs(*REFUSED[problem]())
    assert problem in str(caught.value) and "\n" not in str(caught.value) and caught.value.fix


def test_many_responses_are_refused_before_their_pairs_fill_memory():
    with pytest.raises(InputError, match="pairs. Fix: pass fewer comparisons"):
        rated_pairs(np.zeros((100, 2000, 4), np.float32))


CONSTANT = np.ones((100, 2, 4))
ONE_CONSTANT = np.concatenate([RATINGS[:, :2, :3], np.ones((150, 2, 1))], 2)
THIN = RNG.random((150, 2, 4)) < [1.0, 1.0, 1.0, 0.05]
ODD = {
    "all constant": (CONSTANT, None, "Use equal weights.", "0: rule 0, rule 1, rule 2, rule 3. Drop such rules."),
    "one constant": (ONE_CONSTANT, None, "Use agreement weights.", "Never varies, prefers nothing"),
    "fewer prompts than rules": (
        np.tile(RATINGS[:3, :2], (20, 1, 1)),
        np.tile(np.arange(3), 20),
        "",
        "3 prompts for 4",
    ),
    "hardly rated": (np.where(THIN, RATINGS[:, :2], np.nan), None, "Use agreement weights.", "Too rarely rated"),
    "three comparisons": (RATINGS[:3, :2], None, "Use equal weights.", "3 prompts for 4 rules"),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_is_named_and_what_can_still_be_done_is_said(case):
    ratings, prompt, use, note = ODD[case]
    found = enc.reliability(ratings, where=np.isfinite(ratings), prompt=prompt, draws=20)
    said = notes(found)
    assert any(note in line for line in said), said
    assert repr(found).startswith(use) and all(line in repr(found) for line in said)
    assert all("\n" not in line for line in said)
    if "agreement" in found.weights:
        assert np.isfinite(found.weights["agreement"]).all() and found.weights["agreement"].sum() == pytest.approx(1)


def test_a_rule_that_labels_call_wrong_is_to_be_left_out_first():
    draw = np.random.default_rng(1)
    quality = draw.normal(size=(200, 2))
    ratings = np.stack([*(quality + 0.3 * draw.normal(size=(200, 2)) for _ in range(3)), -quality], -1)
    better = (quality[:, 1] > quality[:, 0]).astype(int)
    found = enc.reliability(ratings, better, rules=["kind", "true", "safe", "short"])
    assert recommendation(found).count("short") == 1
    words = (
        "First leave short out, or turn its direction round (direction -1 in the pool): by the labels it prefers the"
    )
    assert words in recommendation(found)
    alone = enc.reliability(ratings, rules=["kind", "true", "safe", "short"])
    assert "First leave" not in recommendation(alone) and "short runs against it" in recommendation(alone)


@pytest.mark.parametrize(("labels", "points"), [(3, False), (19, False), (20, True), (100, True)])
def test_a_difference_in_points_is_said_of_twenty_labels_and_more(labels, points):
    draw = np.random.default_rng(2)
    quality = draw.normal(size=(100, 2))
    ratings = quality[..., None] + np.array([0.3, 0.5, 4.0]) * draw.normal(size=(100, 2, 3))
    better = np.where(np.arange(100) < labels, quality[:, 1] > quality[:, 0], -1).astype(int)
    said = recommendation(enc.reliability(ratings, better))
    assert f"{labels} labels" in said and ("points from equal weights" in said) == points
