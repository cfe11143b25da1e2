"""Tables that look like ordinary ones and are not: sums among the rules, ranks as labels, one column too many."""

import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.evaluation.rating_tables import named_columns, read_table

RULES = ("kind", "true", "safe", "clear")
GRADES = np.random.default_rng(0).integers(1, 6, (30, 8))


def _single(**more):
    return [
        {"prompt": f"q{i}", **dict(zip(RULES, row[:4].tolist(), strict=True))} | {k: of(i) for k, of in more.items()}
        for i, row in enumerate(GRADES)
    ]


def _paired(sides, **more):
    names = [f"{rule}_{side}" for rule in RULES for side in sides]
    return [
        dict(zip(names, row.tolist(), strict=True)) | {k: of(i) for k, of in more.items()}
        for i, row in enumerate(GRADES)
    ]


@pytest.mark.parametrize("decimals", [None, 1, 2])
def test_the_sum_or_mean_of_the_rules_is_no_rule(decimals):
    sums = GRADES[:, :4].sum(1) if decimals is None else (GRADES[:, :4].mean(1)).round(decimals)
    rows = _single(overall=lambda i: float(sums[i]))
    found = read_table(rows, None, {})
    assert found.arguments["rules"] == RULES
    kind = "sum" if decimals is None else "mean"
    assert (
        f"'overall' (the {kind} of the 4 other rules in all 30 rows). If it is one: rules=['+overall']"
        in found.columns[0]
    )
    taken_in = read_table(rows, None, {}, rules=named_columns(["+overall"]))
    assert taken_in.arguments["rules"] == (*RULES, "overall") and not taken_in.columns
    nearly = _single(overall=lambda i: float(sums[i]) + (i == 7))
    assert read_table(nearly, None, {}).arguments["rules"] == (*RULES, "overall")


@pytest.mark.parametrize("name", ["Grand total", "Total (30)", "STD", "max", "Overall average:", "Standard deviation"])
@pytest.mark.parametrize("first", [False, True])
def test_rows_that_sum_up_others_are_left_out_wherever_they_stand(name, first):
    total = [{"prompt": name, "kind": 3, "true": 3, "safe": 2, "clear": 4}]
    rows = total + _single() if first else _single() + total
    found = read_table(rows, None, {})
    np.testing.assert_array_equal(found.arguments["ratings"], GRADES[:, :4])
    assert "it sums up others" in found.columns[-1]


def test_a_column_that_always_says_mean_drops_no_row():
    rows = [{"kind_of_value": "mean"} | row for row in _single()]
    assert len(read_table(rows, None, {}).arguments["ratings"]) == 30


@pytest.mark.parametrize("sides", ["ab", ("chosen", "rejected"), "AB"])
@pytest.mark.parametrize("extra", ["winner", "label", "overall", "topic"])
def test_a_column_too_many_leaves_two_responses_a_row(sides, extra):
    values = {"winner": lambda i: sides[i % 2], "label": lambda i: i % 2, "overall": lambda i: 1 + i % 5}
    rows = _paired(sides, **{extra: values.get(extra, lambda i: f"topic {i}")})
    found = read_table(rows, None, {})
    assert found.arguments["rules"] == RULES
    np.testing.assert_array_equal(found.arguments["ratings"], GRADES.reshape(30, 4, 2).swapaxes(1, 2))
    if extra == "winner":
        assert found.arguments["preferred"] == [i % 2 for i in range(30)]
        assert found.label_place.column == "winner"  # another one would come before it
    assert any(f"{extra}" in line for line in found.columns) == (extra in ("label", "overall"))


def test_a_measurement_with_a_slip_is_not_left_out_silently():
    rows = _single(length=lambda i: "long" if i == 3 else 1 + i % 5)
    found = read_table(rows, None, {})
    assert found.columns[0].startswith(
        "Left out, because it is no rule: 'length' (a measurement by its name; 'long' is"
    )
    with pytest.raises(InputError, match="column 'length': 'long' is no rating"):
        read_table(rows, None, {}, rules=named_columns(["+length"]))


@pytest.mark.parametrize("names, words", [
    (["quality", "kind"], "column 'quality' is no rule, but the prompt, an id, a label"),
    (["-prompt"], "column 'prompt' is no rule"),
    (["-kind", "-true", "-safe", "-clear"], "leaves no rule"),
])  # fmt: skip
def test_names_that_cannot_be_rules_are_refused_as_what_they_are(names, words):
    with pytest.raises(InputError, match=words) as refused:
        read_table(_single(quality=lambda i: i % 3), None, {}, rules=named_columns(names))
    assert refused.value.where == "rules"


def test_a_rank_without_responses_is_no_preference():
    with pytest.raises(InputError, match="2 is neither 1 nor 0"):
        read_table(_single(preferred=lambda i: 1 + i % 2), None, {})


@pytest.mark.parametrize(
    ("sides", "first", "fix"),
    [
        ("12", "kind_1 and kind_2", "name these columns kind_a and kind_b"),
        (("left", "Right"), "kind_left and kind_Right", "name these columns kind_a"),
        (("model1", "model2"), "kind_model1 and kind_model2", "name these columns kind_a"),
        ("123", "kind_1 and kind_2 and kind_3", "write a row for every response"),
    ],
)
def test_sides_of_other_names_are_read_as_rules_and_that_is_said(sides, first, fix):
    names = [f"{rule}_{side}" for rule in ("kind", "true") for side in sides]
    rows = [dict(zip(names, row.tolist(), strict=False)) for row in GRADES]
    found = read_table(rows, None, {})
    assert found.arguments["rules"] == tuple(names)
    assert f"({first}, for example), and are read as {len(names)} rules" in found.columns[-1]
    assert fix in found.columns[-1]
    asked = read_table(rows, None, {}, rules=named_columns(names[: len(sides)]))
    assert not asked.columns


def test_sides_that_are_known_and_rules_of_two_words_get_no_such_line():
    assert not any("come in" in line for line in read_table(_paired("ab"), None, {}).columns)
    names = ["code style", "code tests", "text style", "text tests"]
    rows = [dict(zip(names, row.tolist(), strict=False)) for row in GRADES]
    assert not read_table(rows, None, {}).columns
