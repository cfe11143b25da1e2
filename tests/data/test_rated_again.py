"""One text rated several times, and the best of a prompt's responses."""

import numpy as np
import pytest

from encore_jax.data import Message, RatedResponse
from encore_jax.data.rated_again import best_of, merged, quality_of
from encore_jax.errors import InputError

PROMPT = (Message("user", "Hi"),)


def rated(response, ratings, quality=None, mask=None, id=""):
    extra = {} if quality is None else {"quality": quality}
    return RatedResponse(PROMPT, response, ("a", "b"), np.array(ratings, np.float32), mask, id=id, extra=extra)


def test_each_rule_is_averaged_over_those_that_rate_it():
    found = merged([rated("x", [0.2, 0.4], 1), rated("y", [1, 1]), rated("x", [0.6, 0.0], 2, [True, False])], "f")
    assert [one.response for one in found] == ["x", "y"]
    np.testing.assert_allclose(found[0].ratings, [0.4, 0.4], rtol=1e-6)
    assert found[0].mask.all() and quality_of(found[0], "f") == 1.5


@pytest.mark.parametrize("quality", ["good", [1], {"a": 1}, float("inf"), float("nan")])
def test_a_quality_that_is_no_number_is_named_also_where_a_text_is_rated_again(quality):
    twice = [rated("x", [0, 1], 1), rated("x", [1, 1], quality, id="row 2")]
    for records in (twice[1:], twice):
        with pytest.raises(InputError, match="f, response row 2: extra.quality is"):
            [quality_of(one, "f") for one in merged(records, "f")]


def test_the_best_is_known_only_where_all_are_graded_and_one_leads():
    cases = [([1, 2], 1), ([2, 2], -1), ([np.nan, 2], -1), ([3], 0), ([np.nan], -1)]
    assert [best_of(np.array(q, float)) for q, _ in cases] == [best for _, best in cases]
