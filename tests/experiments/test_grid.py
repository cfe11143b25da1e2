"""A grid's text becomes fields and values, and cells with names."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encore_jax.cli import grid
from encore_jax.errors import InputError
from encore_jax.recipes.config import ExperimentConfig


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "--grid: is empty"),
        ("seed", "'seed': is no FIELD=VALUES"),
        ("=1", "is no FIELD=VALUES"),
        ("seed=1;seed=2", "seed is there twice"),
        ("seed=1,1", "a value is there twice"),
        ("seed=0..2,1", "a value is there twice"),
        ("seed=1,,2", "a value is missing"),
        ("seed=3..1", "3..1 is empty. Fix: write 1..3"),
        ("model.buckets=(1,2", "do not match"),
        ("name='a", "do not match"),
        ("name='a'b", "no quoted text"),
        ("train.lr=0..1:log3", "needs positive ends"),
        ("train.lr=1e-5..1e-3:log1", "at least 2 values"),
    ],
)
def test_a_grid_that_makes_no_sense_is_named(text, said):
    with pytest.raises(InputError, match=re.escape(said)):
        grid.parse_grid(text)


def test_values_between_ends():
    axes = grid.parse_grid("a=-1..1,7;b=1e-6..1e-4:log5;c='0..2'")
    assert axes["a"] == ("-1", "0", "1", "7") and axes["c"] == ("0..2",)
    values = [float(value) for value in axes["b"]]
    ratios = [after / before for before, after in zip(values, values[1:], strict=False)]
    assert values[0] == 1e-6 and values[-1] == 1e-4 and ratios == pytest.approx([10**0.5] * 4, rel=1e-5)


texts = st.text(min_size=1, max_size=150)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z][a-z_.]{0,20}", fullmatch=True), texts, min_size=1, max_size=3), texts)
def test_names_of_cells_are_folders_and_tell_cells_apart(overrides, other):
    name = grid.cell_name(overrides)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=,+-]*", name) and len(name) < 120
    assert grid.cell_name(dict(reversed(overrides.items()))) == name
    field = next(iter(overrides))
    assert (grid.cell_name(overrides | {field: other}) == name) == (overrides[field] == other)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("compose.taw", "did you mean compose.tau"),
        ("tau", "did you mean compose.tau"),
        ("evaluate.replicate", "did you mean evaluate.replicates"),
        ("compose", "is a group of fields. Fix: use one of compose."),
        ("xyzzy", "use one of name, seed, "),
    ],
)
def test_an_unknown_field_is_answered_by_the_nearest(field, said):
    with pytest.raises(InputError, match=f"--grid, {re.escape(field)}: .*{re.escape(said)}"):
        grid.check_fields({field: ("1",)}, ExperimentConfig())
