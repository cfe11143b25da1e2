"""Overlap of wording: symmetric, complete, blind to case and punctuation."""

import itertools

from encore_jax.rules import Rule, RulePool
from encore_jax.rules.overlap import near_duplicates, word_pieces


def test_equal_wording_overlaps_fully_and_other_wording_hardly():
    rules = [
        Rule("a", "The response contains no slurs."),
        Rule("b", "the response, contains NO slurs"),
        Rule("c", "Sources are cited."),
    ]
    [(first, second, share)] = near_duplicates(rules)
    assert (first, second, share) == ("a", "b", 1.0)
    assert near_duplicates(rules[::-1], 0.0)[0][2] == 1.0 and len(near_duplicates(rules, 0.0)) == 3


def test_shares_are_jaccard_indices():
    pool = RulePool.shipped("safety_10")
    found = {frozenset(pair[:2]): pair.share for pair in near_duplicates(pool, 0.0)}
    assert len(found) == 45
    for a, b in itertools.combinations(pool, 2):
        mine, theirs = word_pieces(a.text), word_pieces(b.text)
        both = sum(piece in theirs for piece in mine)
        assert abs(found[frozenset((a.name, b.name))] - both / (len(mine) + len(theirs) - both)) < 1e-12


def test_the_shipped_pools_hold_no_near_duplicates():
    assert near_duplicates(RulePool.shipped("safety_100")) == []
