"""The first line of every kind of report: one honest sentence, whatever the results."""

import pytest

from encore_jax.evaluation.first_line import comparisons_to_settle, first_line, single_line


def interval(value, half):
    return {"value": value, "low": value - half, "high": value + half}


def single(accuracy, half, ahead=None, spread=0.05):
    rival = {"name": "shorter", "accuracy": interval(0.5, 0.1), "model_ahead_by": interval(ahead or 0, spread)}
    return [{"name": "m", "n": 200, "accuracy": interval(accuracy, half)}] + ([rival] if ahead is not None else [])


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        (single(0.7, 0.05), "above chance."),
        (single(0.3, 0.05), "below chance: it prefers what people do not."),
        (single(0.52, 0.05), "which chance explains as well (about 1,200 comparisons would settle"),
        (single(0.5, 0.05), "no number of comparisons that anybody labels"),
        (single(0.7, 0.05, 0.1), "the best that reads no model: use the model."),
        (single(0.6, 0.05, -0.1), "do not use it for such data yet."),
        (single(0.7, 0.05, 0.02), "not settled; about 1,200 comparisons would settle"),
        ([{"name": "m", "n": 0, "accuracy": {"value": None, "low": None, "high": None}}], "nothing was compared"),
    ],
)
def test_one_reward_stands_beside_chance_and_the_best_heuristic(methods, words):
    assert words in single_line(methods, "One head")


def test_what_would_settle_a_difference_shrinks_its_interval_to_it():
    assert comparisons_to_settle(100, interval(0.1, 0.05)) == ""
    assert "about 1,600 comparisons" in comparisons_to_settle(100, interval(-0.02, 0.08))


def claims(*verdicts):
    return [{"title": f"claim {i}", "verdict": verdict} for i, verdict in enumerate(verdicts)]


def cell(winner, refused=False):
    return {"winner": winner, "accuracy": {"agreement": None if refused else 0.9}}


def test_the_theory_says_how_many_claims_held_and_what_wins_where():
    results = {"claims": claims("confirmed", "contradicted"), "views": [],
               "junk": [cell("agreement"), cell("agreement"), cell("ENCORE", True)]}  # fmt: skip
    line = first_line(results)
    assert line.startswith("1 of 2 claims held; contradicted: claim 1")
    assert "use agreement weights: they win in 2 of 3 settings" in line and "in 1 agreement is refused" in line
    assert "No real judge was measured" in line


def judged(name, verdict, **gains):
    methods = [{"name": "uniform", "minus_uniform": interval(0, 0)}]
    methods += [{"name": method, "minus_uniform": interval(gain, 0.01)} for method, gain in gains.items()]
    return {"name": name, "verdict": verdict, "methods": methods}


def test_real_judges_say_where_which_weighting_differs_by_more_than_chance():
    line = first_line({"studies": [
        judged("A", "one common factor", agreement=0.05, ENCORE=-0.03),
        judged("B", "the pool splits", agreement=0.09, ENCORE=0.0),
    ]})  # fmt: skip
    assert line.startswith("Use agreement weights where the rules share one factor: on 2 sets")
    assert "beat equal weights on A, entropy weights (ENCORE) lose on A; on B agreement is refused" in line


@pytest.mark.parametrize(
    ("results", "words"),
    [
        ({"views": [{"agreement": {"recommendation": "Use\nequal weights."}}]}, "This model: use equal weights."),
        ({"views": [{}]}, "older version"),
        ({"advice": {"recommendation": "Use agreement weights."}}, "Use agreement weights."),
        ({"advice": None, "summary": {}}, "Nothing is rated"),
        ({"agreement": {"methods": single(0.7, 0.05)}}, "Verdicts on pairs"),
        ({"held_out": {"methods": single(0.7, 0.05)}}, "One head, and nothing to weigh"),
        ({"found": {}}, "older version"),
        ({}, "older version"),
    ],
)
def test_every_kind_of_results_has_a_first_line_of_one_line(results, words):
    line = first_line(results)
    assert words in line and "\n" not in line
