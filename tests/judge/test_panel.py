"""Judges side by side: the same comparisons, a judge's draws averaged first, and nothing averaged that is not there."""

import dataclasses

import numpy as np
import pytest

from encore_jax.data import Comparison, Message
from encore_jax.data.panel import panel_comparisons, stack_panel
from encore_jax.errors import InputError
from encore_jax.judge.question import distinct_responses

RULES = ("kind", "brief")


def rated(name, n=6, seed=0, missing=()):
    """Comparisons of 2 or 3 responses, the same for every seed but for their ratings."""
    rng, made = np.random.default_rng(seed), []
    for i in range(n):
        count = 2 + i % 2
        mask = np.ones((count, 2), bool)
        for place in missing:
            if place[0] == i:
                mask[place[1:]] = False
        relevance = {rule: rng.random(count).round(3).tolist() for rule in RULES}
        extra = {"judge": {"model": name}, "kept": i} | ({"relevance": relevance} if name == "a" else {})
        responses = tuple(f"answer {i % 4} {j}" for j in range(count))
        ratings = rng.random((count, 2)).astype(np.float32)
        prompt = (Message("user", f"q{i % 4}"),)
        made.append(Comparison(prompt, responses, i % 2 or None, RULES, ratings, mask, id=f"c{i}", extra=extra))
    return made


def test_ratings_are_stacked_and_padded_and_masked():
    judged = {"a": rated("a", seed=1), "b": rated("b", seed=2, missing=[(3, 2, 1)])}
    panel = stack_panel(judged)
    assert panel.ratings.shape == (2, 6, 3, 2) and panel.rules == RULES and panel.judges == ("a", "b")
    for j, rows in enumerate(judged.values()):
        for i, row in enumerate(rows):
            n = len(row.responses)
            np.testing.assert_array_equal(panel.ratings[j, i, :n], np.where(row.mask, row.ratings, 0))
            np.testing.assert_array_equal(panel.mask[j, i, :n], row.mask)
            assert not panel.mask[j, i, n:].any()
    assert panel.preferred.tolist() == [-1, 1, -1, 1, -1, 1]
    assert panel.prompt[0] == panel.prompt[4] != panel.prompt[1]


def test_the_mean_is_over_judges_whose_draws_are_averaged_and_where_all_of_them_rated():
    judged = {"a.1": rated("a", seed=1), "a.2": rated("a", seed=2, missing=[(0, 0, 0)]), "b": rated("b", seed=3)}
    judged["b"] = rated("b", seed=3, missing=[(1, 1, 1)])
    means = list(panel_comparisons(judged, ["a", "a", "b"], "judge-rated"))
    one, two, other = judged.values()
    for i, mean in enumerate(means):
        expected = ((one[i].ratings + two[i].ratings) / 2 + other[i].ratings) / 2
        if i == 0:
            expected[0, 0] = (one[i].ratings + other[i].ratings)[0, 0] / 2  # one draw is enough
        mask = np.ones(mean.ratings.shape, bool)
        mask[1, 1] &= i != 1
        np.testing.assert_array_equal(mean.mask, mask)
        np.testing.assert_allclose(mean.ratings[mask], expected[mask], atol=1e-6)
        assert mean.extra["kept"] == i and mean.extra["judge"]["model"] == "mean of a, b"
        relevance = np.mean([part[i].extra["relevance"]["kind"] for part in (one, two)], 0)
        np.testing.assert_allclose(mean.extra["relevance"]["kind"], relevance, atol=1e-6)
    fewer = list(panel_comparisons(judged, ["a", "a", "b"], "judge-rated", fewest=1))
    assert fewer[1].mask.all()
    np.testing.assert_allclose(fewer[1].ratings[1, 1], (one[1].ratings + two[1].ratings)[1, 1] / 2, atol=1e-6)
    responses = list(distinct_responses(means))
    assert len(responses) == len({(c.prompt, r) for c in means for r in c.responses})
    assert responses[0].extra["judge"]["kind"] == "panel" and isinstance(responses[0].extra["relevance"]["kind"], float)


def changed(i, **fields):
    rows = rated("b")
    rows[i] = dataclasses.replace(rows[i], **fields)
    return rows


BAD = {
    "one judge": ({"a": rated("a")}, None, "judges: got 1; a panel has at least 2"),
    "nobody": ({}, None, "judges: got 0"),
    "fewer": ({"a": rated("a"), "b": rated("b")[:4]}, None, "judge 'b': has 4 comparisons, and judge 'a' has more"),
    "more": ({"a": rated("a")[:5], "b": rated("b")}, None, "judge 'a': has 5 comparisons"),
    "another order": ({"a": rated("a"), "b": rated("b")[::-1]}, None, "judge 'b', comparison c5: is about another"),
    "another prompt": (
        {"a": rated("a"), "b": changed(2, prompt=(Message("user", "x"),))},
        None,
        "comparison c2: is ab",
    ),
    "other rules": (
        {"a": rated("a"), "b": changed(1, rules=("kind", "long"))},
        None,
        "is rated on 2 rules .kind, long",
    ),
    "unrated": ({"a": rated("a"), "b": changed(0, rules=(), ratings=None, mask=None)}, None, "c0: has no ratings"),
    "all masked": (
        {"a": rated("a")[:1], "b": changed(0, mask=np.zeros((2, 2), bool))[:1]},
        None,
        "has no rating at all",
    ),
    "no comparison": ({"a": [], "b": []}, None, "panel: there is no comparison"),
    "judges": ({"a": rated("a"), "b": rated("b")}, ["a"], "draws_of: names 1 judges for 2 rows"),
    "blank": ({"a": rated("a"), "": rated("b")}, None, r"judges\[1\]: is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_judges_that_were_not_asked_the_same_are_refused(name):
    judged, judges, problem = BAD[name]
    with pytest.raises(InputError, match=problem) as caught:
        stack_panel(judged, judges)
    assert "\n" not in str(caught.value) and caught.value.fix


def test_a_response_that_is_rated_on_some_rules_is_kept_and_one_on_none_is_not():
    whole, some, none = rated("a", n=3, missing=[(1, 0, 1), (2, 0)])
    found = list(distinct_responses([whole, some, none]))
    assert [r.response for r in found] == [*whole.responses, *some.responses, none.responses[1]]
    assert found[len(whole.responses)].mask.tolist() == [True, False]
