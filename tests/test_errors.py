"""The one exception for bad input."""

import copy
import pickle

import pytest

from encore_jax.errors import InputError


@pytest.mark.parametrize(
    ("where", "fix", "text"),
    [
        ("a.jsonl:3", "mend it", "a.jsonl:3: broken. Fix: mend it"),
        ("", "mend it", "broken. Fix: mend it"),
        ("a.jsonl:3", "", "a.jsonl:3: broken"),
        ("", "", "broken"),
    ],
)
def test_it_says_where_what_and_what_to_do(where, fix, text):
    error = InputError("broken.", where=where, fix=fix)
    assert str(error) == text and isinstance(error, ValueError)
    assert (error.problem, error.where, error.fix) == ("broken", where, fix)


def test_it_survives_pickling_so_that_other_processes_can_raise_it():
    error = InputError("broken", where="a.jsonl:3", fix="mend it")
    for clone in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert str(clone) == str(error) and clone.where == "a.jsonl:3"


def test_it_is_one_line_that_can_be_read_whatever_is_in_it():
    text = str(InputError("x\n" * 10**5, where="y\x1b" * 10**5, fix="z" * 10**5))
    assert text.isprintable() and len(text) < 3000 and text.index("x") > text.index("y") and "Fix: z" in text
