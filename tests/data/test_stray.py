"""An inferred scale never rests on a few wrong cells; ratings as people give them are taken as before."""

import csv
import json

import numpy as np
import pytest

import encore_jax as enc
from encore_jax.data.scales import on_inferred_scales
from encore_jax.data.stray import check_stray
from encore_jax.errors import InputError
from encore_jax.evaluation.rating_tables import table_arguments
from encore_jax.rules import RulePool

RULES = ("kind", "true", "brief")
SLIPS = {"55": "1 to 5", "10": "1 to 5", "6": "1 to 5", "0": "1 to 5", "-4": "1 to 5", "555": "1 to 5"}


def grades(n=120, seed=0):
    """``[n, 3]`` on 1 to 5; two responses to a prompt."""
    return np.random.default_rng(seed).integers(1, 6, (n, len(RULES)))


def long_table(path, values):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "response", "rule", "rating"])
        for i, row in enumerate(values):
            writer.writerows([f"p{i // 2}", f"r{i}", rule, value] for rule, value in zip(RULES, row, strict=True))
    return path


def wide_table(path, values):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "response", *RULES])
        writer.writerows([f"p{i // 2}", f"r{i}", *row] for i, row in enumerate(values))
    return path


def lines(path, values):
    rows = [
        {"prompt": f"p{i // 2}", "response": f"r{i}", "ratings": dict(zip(RULES, map(float, row), strict=True))}
        for i, row in enumerate(values)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


FORMS = {"long.csv": (long_table, 1 + 3 * 70 + 2), "wide.csv": (wide_table, 72), "rated.jsonl": (lines, 71)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("slip", SLIPS)
def test_one_wrong_cell_is_refused_where_it_stands(tmp_path, form, slip):
    write, line = FORMS[form]
    values = grades().astype(object)
    values[70, 1] = slip
    path = write(tmp_path / form, values)
    with pytest.raises(InputError) as refused:
        table_arguments(path, None, {})
    said = str(refused.value)
    assert f"{form}:{line}, rule 'true': this rating is {slip}, and the other" in said, said
    assert f"on the scale from {SLIPS[slip]}" in said
    if 1 <= float(slip) <= 10:
        table_arguments(path, None, {}, (1, 10))  # said so, it is taken


@pytest.mark.parametrize("form", FORMS)
def test_a_scale_that_is_used_is_taken(tmp_path, form):
    write, _ = FORMS[form]
    values = np.random.default_rng(1).integers(1, 11, (120, 3))
    table_arguments(write(tmp_path / form, values), None, {})


@pytest.mark.parametrize(
    "name, values",
    [
        ("half of 1 to 7", np.repeat([1.0, 2, 3, 4, 5, 6, 7], [50, 50, 50, 50, 50, 8, 4])),
        ("harm is rare", np.repeat([0.0, 1.0], [990, 10])),
        ("predictions", np.clip(np.random.default_rng(0).normal(0.5, 0.2, 4000), -0.05, 1.05)),
        ("percent", np.random.default_rng(0).uniform(0, 100, 500)),
        ("normal scores", np.random.default_rng(0).normal(0, 2, 500)),
        ("few", np.array([1.0, 2, 3, 9])),
        ("none", np.zeros(0)),
    ],
)
def test_ordinary_ratings_are_no_strays(name, values, caplog):
    scale = (float(values.min()), float(values.max())) if name == "normal scores" else None
    if scale is None:
        from encore_jax.data.rating_cells import Cell, infer_scale

        scale = infer_scale(map(Cell, values))
    check_stray({"kind": values}, {"kind": scale}, "row {1}".format)
    assert not caplog.records


def test_of_few_ratings_it_is_only_said(caplog):
    check_stray({"kind": np.array([1.0, 5, 3, 2, 4] * 4 + [55])}, {"kind": (0, 100)}, "row {1}".format)
    assert "row 20, rule 'kind': this rating is 55, and the other 20" in caplog.text


def test_rules_of_one_scale_are_looked_at_together():
    """A rule that seldom reaches the upper half is on the scale of the others, who do."""
    gentle = np.repeat([1.0, 2, 3, 4, 5, 9], [100, 100, 100, 100, 100, 1])
    check_stray({"a": gentle, "b": np.arange(1.0, 11).repeat(50)}, dict.fromkeys("ab", (1, 10)), "{0} {1}".format)
    with pytest.raises(InputError, match="a 500, rule 'a': this rating is 9"):
        check_stray({"a": gentle}, {"a": (1, 10)}, "{0} {1}".format)


def test_records_in_memory_and_their_readers_are_guarded_too():
    pool = RulePool.from_sentences({"kind": "It is kind."})
    rows = [{"prompt": f"p{i}", "response": "r", "ratings": {"kind": 1.0 + i % 5}} for i in range(200)]
    rows[150]["ratings"]["kind"] = 40.0
    with pytest.raises(InputError, match="row 151, rule 'kind': this rating is 40"):
        on_inferred_scales(lambda scale: (), rows, pool)
    frame = {"kind": [row["ratings"]["kind"] for row in rows], "true": [1.0] * 200}
    with pytest.raises(InputError, match="this rating is 40"):
        enc.reliability([dict(zip(frame, values, strict=True)) for values in zip(*frame.values(), strict=True)])


@pytest.mark.parametrize("measure", [enc.reliability, enc.premise])
def test_arrays_are_guarded_too_and_take_a_scale(measure):
    rng = np.random.default_rng(0)
    values, chosen = rng.integers(1, 6, (200, 2, 3)), rng.integers(0, 2, 200)
    values[7, 1, 2] = 55
    with pytest.raises(InputError, match="comparison 7, response 1, rule '?.*2'?: this rating is 55"):
        measure(values, chosen)
    measure(values, chosen, scale=(1, 55))
    with pytest.raises(InputError, match="55 is not on the scale from 1 to 5"):
        measure(values, chosen, scale=(1, 5))


def test_true_and_false_are_no_indices():
    values = np.random.default_rng(0).integers(1, 6, (50, 2, 3))
    first_is_better = values[:, 0, 0] > values[:, 1, 0]
    for refused in (
        lambda: enc.reliability(values, first_is_better),
        lambda: enc.premise(values, first_is_better),
        lambda: enc.margins(values.astype(np.float32), first_is_better),
        lambda: enc.rule_accuracy(values.astype(np.float32), first_is_better),
    ):
        with pytest.raises(InputError, match="holds True and False.*where.first_is_better, 0, 1"):
            refused()


@pytest.mark.parametrize("wrong, right", [("promt", "prompt"), ("reponse", "response")])
def test_a_mistyped_column_is_named(tmp_path, wrong, right):
    path = long_table(tmp_path / "ratings.csv", grades(12))
    path.write_text(path.read_text().replace(right, wrong, 1))
    with pytest.raises(InputError, match=f"rename '{wrong}' to '{right}'"):
        table_arguments(path, None, {})


def test_a_rule_that_the_slip_put_on_a_scale_of_its_own_is_counted_with_the_others(tmp_path):
    """Of 80 responses by two rules, so that neither rule alone has a hundred ratings."""
    values = grades(80)[:, :2].astype(object)
    values[30, 1] = 55
    rows = ["prompt,response,kind,true", *(f"p{i // 2},r{i},{a},{b}" for i, (a, b) in enumerate(values))]
    path = tmp_path / "wide.csv"
    path.write_text("\n".join(rows))
    with pytest.raises(InputError, match="wide.csv:32, rule 'true': this rating is 55"):
        table_arguments(path, None, {})
