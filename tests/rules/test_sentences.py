"""Pools from sentences: names from the words, different from each other, the same whatever else is in the list."""

import pytest

from encore_jax.errors import InputError
from encore_jax.rules import Rule, RulePool
from encore_jax.rules.rule import as_pool

SENTENCES = [
    "The response contains no slurs.", "The response contains slurs.", "It is kind to the reader!", "Is it kind?",
    "The answer gives no medical advice to children at home.", "The answer gives no medical advice to children at sea.",
    "2 sources are named", "Don't insult.", "Ne t\u2019énerve pas.", "回答是友好的。", "回答是真实的。",
    "the", "The", "?",
    "word " * 100, "word " * 101, "x" * 500,
]  # fmt: skip


def test_names_are_short_different_and_made_of_the_words():
    pool = RulePool.from_sentences(SENTENCES, name="mine")
    assert [rule.text for rule in pool] == [text.strip() for text in SENTENCES] and pool.name == "mine"
    assert len(set(pool.names)) == len(SENTENCES) and max(map(len, pool.names)) <= 60
    assert pool.names[:4] == ("contains_no_slurs", "contains_slurs", "kind_reader", "kind")
    assert pool.names[6:9] == ("rule_2_sources_named", "dont_insult", "ne_tenerve_pas")
    assert all(rule.direction == 1 for rule in pool)


def test_names_do_not_depend_on_order_or_on_other_sentences():
    names = dict(zip(SENTENCES, RulePool.from_sentences(SENTENCES).names, strict=True))
    turned = dict(zip(SENTENCES[::-1], RulePool.from_sentences(SENTENCES[::-1]).names, strict=True))
    assert turned == names
    for text in [*SENTENCES[:4], *SENTENCES[6:11]]:
        assert RulePool.from_sentences([text, "Another one."]).names[0] == names[text]


def test_given_names_are_kept_and_made_ones_avoid_them():
    pool = RulePool.from_sentences([("kind", "It is rude."), "It is kind.", ["brief", " It is brief. "]])
    assert pool.names[0] == "kind" and pool.names[1].startswith("kind_") and pool["brief"].text == "It is brief."
    assert RulePool.from_sentences({"kind": "It is kind."}).names == ("kind",)


def test_a_pool_survives_its_file(tmp_path):
    pool = RulePool.from_sentences(SENTENCES)
    pool.to_yaml(tmp_path / "pool.yaml")
    assert RulePool.load(tmp_path / "pool.yaml").digest == pool.digest


def test_what_stands_for_a_pool():
    pool, rules = RulePool.from_sentences(["It is kind."]), [Rule("a", "A.", -1)]
    assert as_pool(pool) is pool and as_pool(None) is None and as_pool(rules) == RulePool(rules)
    assert as_pool(["It is kind."]) == pool


@pytest.mark.parametrize(
    ("sentences", "problem"),
    [("It is kind.", "rules: got str 'It is kind.', no list of sentences"), (7, "got int '7'"), ([], "at least one"),
     (["A a.", " "], "rules, entry 2: is blank"), (["It is kind.", "It is kind. "], "rules, entry 2: is the same as"),
     ([3], "rules, entry 1: is of type int: '3'"), ([("a", "b", "c")], "rules, entry 1: is of type tuple"),
     ({"a": 3}, "entry 1"),
     ({"No slurs": "There are no slurs."}, "rename it 'no_slurs'"), ([("kind", "A."), ("kind", "B.")], "both named"),
     (["half \ud800 pair"], "field 'text'"), ([None], "entry 1: is of type NoneType")],
)  # fmt: skip
def test_what_is_no_sentence_is_refused(sentences, problem):
    with pytest.raises(InputError, match=problem):
        RulePool.from_sentences(sentences)
