"""Rule graphs in pool files: what is read is what was written, and what cannot mean anything is refused by line."""

import re

import pytest

from encore_jax.composition.rule_graph import compile_graph
from encore_jax.errors import InputError
from encore_jax.rules import Rule, RulePool
from encore_jax.rules.graph import Prerequisite, RuleGraph, Veto

RULES = """\
name: kitchen
rules:
- {name: lawful, text: It helps with nothing illegal.}
- {name: honest, text: It is honest.}
- {name: helpful, text: It helps.}
- {name: refusal, text: It refuses., direction: -1}
"""
GRAPH = """\
graph:
  vetoes:
  - {rule: lawful, below: 0.3}
  - {rule: refusal, above: 0.8, reward: 0.1}
  prerequisites:
  - {rule: helpful, needs: honest, at_least: 0.5}
  - {rule: honest, needs: refusal, at_most: 0.75}
"""


def load(folder, graph):
    path = folder / "pool.yaml"
    path.write_text(RULES + graph)
    return RulePool.from_yaml(path)


def test_a_graph_is_read_and_written_back_as_it_is(tmp_path):
    pool = load(tmp_path, GRAPH)
    assert [(veto.rule, veto.threshold, veto.reward) for veto in pool.graph.vetoes] == [
        ("lawful", 0.3, None), ("refusal", 0.8, 0.1),
    ]  # fmt: skip
    pool.to_yaml(tmp_path / "again.yaml")
    again = RulePool.from_yaml(tmp_path / "again.yaml")
    assert again == pool and again.graph.digest == pool.graph.digest
    oriented = pool.oriented_graph
    assert oriented.vetoes[1].threshold == pytest.approx(0.2) and oriented.vetoes[0].reward == 0
    assert oriented.prerequisites[1].threshold == pytest.approx(0.25)


def test_a_graph_changes_no_question_and_so_no_digest_of_the_pool(tmp_path):
    plain = load(tmp_path, "")
    assert plain.graph is None and plain.oriented_graph is None
    assert plain.digest == load(tmp_path, GRAPH).digest
    assert not load(tmp_path, "graph: {}\n").oriented_graph


def test_thresholds_are_on_the_scale_that_the_graph_declares(tmp_path):
    pool = load(tmp_path, "graph: {scale: [1, 5], vetoes: [{rule: refusal, above: 4}, {rule: lawful, below: 2.5}]}\n")
    assert [(veto.threshold, veto.reward) for veto in pool.oriented_graph.vetoes] == [(2.0, 1.0), (2.5, 1.0)]


VETO, NEED = "graph:\n  vetoes:\n  - {%s}\n", "graph:\n  prerequisites:\n  - {%s}\n"
BOTH = (
    "graph:\n  vetoes: [{rule: lawful, below: 0.5%s}]\n"
    "  prerequisites: [{rule: helpful, needs: lawful, at_least: %s}]\n"
)
REFUSED = {
    "unknown rule": (VETO % "rule: lawfull, below: 0.3", "there is no rule 'lawfull'. Fix: did you mean lawful"),
    "unknown need": (NEED % "rule: helpful, needs: kind, at_least: 0.3", "prerequisite of 'helpful': there is no rule"),
    "unknown key": (VETO % "rule: lawful, bellow: 0.3", "pool.yaml:9: a veto has the unknown key 'bellow'. Fix: did"),
    "unknown part": ("graph: {veto: []}\n", "unknown key 'veto'. Fix: did you mean 'vetoes'"),
    "no threshold": (VETO % "rule: lawful", "has neither of below and above"),
    "two thresholds": (VETO % "rule: lawful, below: 0.3, above: 0.7", "has both of below and above"),
    "text": (VETO % "rule: lawful, below: low", "must be a finite decimal number, not the value"),
    "truth": (VETO % "rule: lawful, below: yes", "must be a finite decimal number, not a true/false"),
    "infinite": (VETO % "rule: lawful, below: .inf", "must be a finite decimal number"),
    "not a number": (VETO % "rule: lawful, below: .nan", "must be a finite decimal number"),
    "off the scale": (VETO % "rule: lawful, below: 3", "below: 3 parts no ratings from 0 to 1.*scale: \\[1, 5\\]"),
    "never": (VETO % "rule: lawful, below: 0", "above 0, at most 1"),
    "always met": (NEED % "rule: helpful, needs: lawful, at_least: 0", "at_least: 0 parts no ratings"),
    "never above": (VETO % "rule: refusal, above: 1", "above: 1 parts no ratings.*at least 0, below 1"),
    "wrong way": (VETO % "rule: refusal, below: 0.3", "below contradicts the direction of 'refusal'.*write above"),
    "other way": (NEED % "rule: helpful, needs: honest, at_most: 0.3", "at_most contradicts the direction of 'honest'"),
    "twice": ("graph: {vetoes: [{rule: lawful, below: 0.3}, {rule: lawful, below: 0.4}]}\n", "vetoes twice"),
    "needed twice": (
        "graph: {prerequisites: [{rule: helpful, needs: lawful, at_least: 0.3}, "
        "{rule: helpful, needs: lawful, at_least: 0.4}]}\n", "'lawful' is needed twice",
    ),
    "itself": (NEED % "rule: helpful, needs: helpful, at_least: 0.3", "helpful needs helpful: a circle"),
    "circle": (
        "graph: {prerequisites: [{rule: helpful, needs: honest, at_least: 0.3}, "
        "{rule: honest, needs: lawful, at_least: 0.3}, {rule: lawful, needs: honest, at_least: 0.2}]}\n",
        "(honest needs lawful needs honest|lawful needs honest needs lawful): a circle",
    ),
    "pointless": (BOTH % ("", "0.4"), "can decide nothing.*need more than the veto"),
    "cap": (VETO % "rule: lawful, below: 0.3, reward: 1", "caps nothing, or is off the scale"),
    "cap below": (VETO % "rule: lawful, below: 0.3, reward: -1", "caps nothing, or is off the scale"),
    "scale": ("graph: {scale: [1], vetoes: []}\n", "the scale has 1 ends"),
    "empty scale": ("graph: {scale: [1, 1], vetoes: []}\n", "the scale is 1.0 to 1.0"),
    "list": ("graph: [lawful]\n", "the graph must be a mapping"),
    "no list": ("graph: {vetoes: lawful}\n", "field 'vetoes' holds the value"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_mean_anything_is_refused(name, tmp_path):
    graph, problem = REFUSED[name]
    with pytest.raises(InputError) as caught:
        load(tmp_path, graph)
    assert re.search(problem, str(caught.value)), str(caught.value)
    assert "pool.yaml:" in str(caught.value) and "\n" not in str(caught.value)


def test_a_prerequisite_beyond_its_veto_or_under_a_softer_one_has_an_effect(tmp_path):
    assert load(tmp_path, BOTH % ("", "0.7")).graph and load(tmp_path, BOTH % (", reward: 0.2", "0.4")).graph


def test_a_pool_made_in_python_is_held_to_the_same():
    rules = (Rule("a", "A."), Rule("b", "B."))
    with pytest.raises(InputError, match="there is no rule 'c'"):
        RulePool(rules, graph=RuleGraph([Veto("c", 0.5)]))
    with pytest.raises(InputError, match="the graph is a dict"):
        RulePool(rules, graph={})
    assert str(RuleGraph()) == "no vetoes and no prerequisites"
    assert RuleGraph([Veto("a", 0.5)], [Prerequisite("b", "a", 0.7)]).of_rules(["a"]) == RuleGraph([Veto("a", 0.5)])


def test_a_long_chain_is_no_circle_and_needs_no_recursion():
    rules = tuple(Rule(f"r{i}", f"Rule {i}.") for i in range(2000))
    chain = [Prerequisite(f"r{i + 1}", f"r{i}", 0.5) for i in range(1999)]
    pool = RulePool(rules, graph=RuleGraph((), chain))
    assert compile_graph(pool.oriented_graph, pool.names).rests_on[-1].all()
    with pytest.raises(InputError, match="a circle"):
        RulePool(rules, graph=RuleGraph((), [*chain, Prerequisite("r0", "r1999", 0.5)]))
