"""Composition under a rule graph: the reference in plain Python, monotone in every score, smooth in the limit exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore_jax.composition.rule_graph import NOBODY, compile_graph, compose_graph, decide
from encore_jax.errors import InputError
from encore_jax.rules.graph import Prerequisite, RuleGraph, Veto

RULES = ("a", "b", "c", "d", "e")
K, N = len(RULES), 16
PATHS = [("b", "a"), ("c", "b"), ("d", "b"), ("e", "d"), ("e", "a"), ("d", "a")]
"""Prerequisites without a circle."""


@st.composite
def graphs(draw):
    """Graphs whose thresholds lie off the scores' grid, so that no score is on one."""
    threshold = st.integers(1, 9).map(lambda n: n / 10 + 0.05)
    cap = st.sampled_from([None, 0.0, 0.15, 0.35, 0.55])
    vetoes = [Veto(rule, draw(threshold), draw(cap)) for rule in draw(st.sets(st.sampled_from(RULES), max_size=3))]
    needed = [Prerequisite(*pair, draw(threshold)) for pair in draw(st.sets(st.sampled_from(PATHS), max_size=4))]
    graph = RuleGraph(vetoes, needed)
    try:
        graph.check(RULES, [1] * K)
    except InputError:  # a prerequisite that a veto makes pointless
        graph = RuleGraph(vetoes)
    return graph


scores_of = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).integers(0, 11, (N, K)).astype(np.float32) / 10
)
weights_of = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).dirichlet(np.ones(K)).astype(np.float32)
)


def reference(scores, weights, graph):
    """One response at a time, as the sentences say it."""
    value = dict(zip(RULES, scores.tolist(), strict=True))

    def counts(rule):
        return all(value[p.needs] >= p.threshold and counts(p.needs) for p in graph.prerequisites if p.rule == rule)

    reward = sum(
        w * (value[rule] if counts(rule) else min(value[rule], 0.0)) for rule, w in zip(RULES, weights, strict=True)
    )
    decided, best = None, None
    for veto in graph.vetoes:
        if value[veto.rule] < np.float32(veto.threshold) and reward > graph.cap(veto):
            order = (graph.cap(veto), -(veto.threshold - value[veto.rule]), RULES.index(veto.rule))
            if best is None or order[:1] < best[:1] or (order[0] == best[0] and order[1] < best[1] - 1e-6):
                decided, best = veto, order
    return (reward if decided is None else graph.cap(decided)), decided


@given(graphs(), scores_of, weights_of)
@settings(max_examples=40, deadline=None)
def test_the_decision_is_what_the_sentences_say(graph, scores, weights):
    found = decide(scores, weights, compile_graph(graph, RULES))
    for i in range(N):
        reward, veto = reference(scores[i], weights, graph)
        assert found.rewards[i] == pytest.approx(reward, abs=1e-6)
        if veto is None:
            assert found.decided_by[i] == NOBODY and found.rewards[i] == found.before[i]
        else:  # of equal caps and equal shortfalls the first
            by = RULES[found.decided_by[i]]
            mine = next(v for v in graph.vetoes if v.rule == by)
            assert graph.cap(mine) == graph.cap(veto)


@given(graphs(), scores_of, weights_of)
@settings(max_examples=15, deadline=None)
def test_arrays_and_the_decision_agree_and_a_cold_temperature_is_exact(graph, scores, weights):
    compiled = compile_graph(graph, RULES)
    exact = decide(scores, weights, compiled).rewards
    with jax.disable_jit():
        assert np.asarray(compose_graph(scores, weights, compiled)) == pytest.approx(exact, abs=1e-6)
        assert np.asarray(compose_graph(scores, weights, compiled, 1e-3)) == pytest.approx(exact, abs=1e-5)


@given(graphs(), scores_of, weights_of, st.integers(0, K - 1), st.floats(0.0, 0.5))
@settings(max_examples=40, deadline=None)
def test_a_better_score_never_lowers_the_reward(graph, scores, weights, rule, more):
    compiled, better = compile_graph(graph, RULES), scores.copy()
    better[:, rule] += np.float32(more)
    assert (decide(better, weights, compiled).rewards >= decide(scores, weights, compiled).rewards - 1e-6).all()
    assert (decide(scores - 1, weights, compiled).rewards <= decide(scores, weights, compiled).rewards + 1e-6).all()


@given(graphs(), scores_of, weights_of)
@settings(max_examples=20, deadline=None)
def test_each_row_is_decided_alone_and_the_order_of_rules_does_not_matter(graph, scores, weights):
    compiled = compile_graph(graph, RULES)
    whole = decide(scores, weights, compiled)
    assert decide(scores[3:4], weights, compiled).rewards[0] == whole.rewards[3]
    order = [3, 1, 4, 0, 2]
    names = [RULES[k] for k in order]
    permuted = decide(scores[:, order], weights[order], compile_graph(graph, names))
    assert permuted.rewards == pytest.approx(whole.rewards, abs=1e-6)


GRAPH = compile_graph(
    RuleGraph([Veto("a", 0.3), Veto("b", 0.2, 0.25)], [Prerequisite("c", "b", 0.5), Prerequisite("d", "c", 0.5)]), RULES
)
WEIGHTS = np.full(K, 0.2, np.float32)


def test_the_smooth_reward_is_monotone_differentiable_and_teaches_the_conditions():
    rng = np.random.default_rng(0)
    scores = jnp.asarray(rng.random((N, K)), jnp.float32)
    gradient = jax.jit(jax.grad(lambda s, t: compose_graph(s, WEIGHTS, GRAPH, t).sum()))
    slopes = np.asarray(gradient(scores, 0.1))
    assert np.isfinite(slopes).all() and (slopes >= 0).all()
    assert (slopes[:, :3] > 0).any(0).all()  # also of the rules that only open the way for others
    cold = np.asarray(gradient(scores, 1e-30))
    assert np.isfinite(cold).all()
    step = 1e-3
    finite = (
        compose_graph(scores.at[:, 1].add(step), WEIGHTS, GRAPH, 0.1) - compose_graph(scores, WEIGHTS, GRAPH, 0.1)
    ) / step
    assert np.asarray(finite) == pytest.approx(slopes[:, 1], abs=2e-2)


def test_what_decided_is_named():
    scores = np.array([
        [1.0, 1.0, 1.0, 1.0, 1.0], [0.2, 1.0, 1.0, 1.0, 1.0], [1.0, 0.1, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0],
        [0.1, 0.1, 1.0, 1.0, 1.0], [1.0, 0.4, 1.0, 1.0, 1.0], [1.0, 1.0, 0.4, 1.0, 1.0],
    ], np.float32)  # fmt: skip
    found = decide(scores, WEIGHTS, GRAPH)
    assert found.decided_by.tolist() == [NOBODY, 0, 1, NOBODY, 0, NOBODY, NOBODY]
    assert found.rewards == pytest.approx([1.0, 0.0, 0.25, 0.0, 0.0, 0.48, 0.68])
    assert np.flatnonzero(found.not_counted[5]).tolist() == [2, 3]  # d rests on c, and c on b
    missing = decide(np.full((1, K), np.nan), WEIGHTS, GRAPH)
    assert np.isnan(missing.rewards).all() and missing.decided_by[0] == NOBODY and not missing.not_counted.any()


def test_weights_of_every_text_and_an_empty_graph():
    rng = np.random.default_rng(1)
    scores, weights = rng.random((N, K)).astype(np.float32), rng.dirichlet(np.ones(K), N).astype(np.float32)
    empty = compile_graph(RuleGraph(), RULES)
    assert decide(scores, weights, empty).rewards == pytest.approx((scores * weights).sum(1))
    assert np.asarray(compose_graph(scores, weights, empty)) == pytest.approx((scores * weights).sum(1), abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((np.zeros((2, 3)), WEIGHTS), "for a graph of 5 rules"),
        ((np.zeros((2, K)), np.ones(3)), "for a graph of 5 rules"),
        ((np.full((2, K), np.nan), WEIGHTS), "not finite"),
        ((np.zeros((2, K)), WEIGHTS, GRAPH, 0.0), "above 0"),
        ((np.zeros((2, K)), WEIGHTS, GRAPH, -1.0), "above 0"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, problem):
    with pytest.raises(InputError, match=problem):
        compose_graph(*arguments[:2], GRAPH, *arguments[3:])
