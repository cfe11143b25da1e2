"""`encore halo`: two or three rating runs side by side, and one line for what cannot be compared."""

import json
from pathlib import Path

import numpy as np
import pytest

from encore_jax.cli import halo
from encore_jax.data.digest import file_sha256
from encore_jax.errors import InputError
from encore_jax.evaluation.halo import measure_halo
from encore_jax.rules import Rule, RulePool

RULES = ("kind", "true", "safe")
PROMPTS = 30


def ratings(seed=0, noise=0.0):
    """``[prompts, 2, rules]``, of one seed the same but for noise."""
    values = np.random.default_rng(0).uniform(size=(PROMPTS, 2, len(RULES)))
    return np.clip(values + noise * np.random.default_rng(seed).normal(size=values.shape), 0, 1).round(4)


def write_run(
    folder,
    values,
    rules_per_call=1,
    *,
    order=RULES,
    model="m",
    prompts=range(PROMPTS),
    words="It is {}.",
    direction=1,
):
    """A finished rating run, and of it the folder."""
    stage = folder / "rate"
    stage.mkdir(parents=True)
    RulePool([Rule(name, words.format(name), direction) for name in order]).to_yaml(stage / "pool.yaml")
    place = [RULES.index(name) for name in order]
    rows = [
        {"prompt": f"Question {i}", "responses": ["A", f"B {i}"], "preferred": 0,
         "ratings": {name: one[:, k].tolist() for name, k in zip(order, place, strict=True)}}
        for i, one in zip(prompts, values, strict=True)
    ]  # fmt: skip
    single = [
        {"prompt": row["prompt"], "response": response, "ratings": {k: own[j] for k, own in row["ratings"].items()}}
        for row in rows for j, response in enumerate(row["responses"])
    ]  # fmt: skip
    for name, written in (("comparisons.jsonl", rows), ("rated.jsonl", single)):
        (stage / name).write_text("".join(json.dumps(row) + "\n" for row in written))
    decoding = {} if rules_per_call == 1 else {"rules_per_call": rules_per_call}
    told = {"identity": {"model": model}, "label": "model-rated", "decoding": decoding}
    (stage / "summary.json").write_text(json.dumps(told))
    outputs = {path.name: file_sha256(path) for path in stage.iterdir()}
    (stage / "manifest.json").write_text(json.dumps({"inputs": {}, "outputs": outputs, "seconds": 0.0, "versions": {}}))
    return str(folder)


@pytest.fixture
def runs(tmp_path):
    """Rule by rule, in calls, and in calls in the reversed order."""
    return (
        write_run(tmp_path / "isolated", ratings()),
        write_run(tmp_path / "together", ratings(1, 0.05), 0),
        write_run(tmp_path / "reversed", ratings(2, 0.05), 0, order=RULES[::-1]),
    )


def run(*arguments):
    halo.main(halo.parse(["--draws=50", *arguments]))


def test_three_runs_are_measured_as_their_arrays_are(runs, capsys):
    one, more, back = runs
    run(one, more, f"--reversed={back}")
    told = capsys.readouterr().out
    flat = [values.reshape(-1, len(RULES)) for values in (ratings(), ratings(1, 0.05), ratings(2, 0.05))]
    found = measure_halo(*flat, RULES, np.repeat(np.arange(PROMPTS), 2), draws=50)
    assert told.startswith("m, model-rated: 3 rules, all in a call, beside each by itself; 60 responses to 30 prompts")
    for rule in found.rules:
        row = next(line for line in told.splitlines() if line.startswith(f"| {rule.rule} |")).split(" | ")
        assert row[1] == "60" and row[2].startswith(f"{100 * rule.same.value:.1f} [")
        assert row[3:5] == [f"{rule.difference:.3f}", f"{rule.correlation:.2f}"]
        assert row[5].startswith(f"{100 * rule.same_reversed.value:.1f} [")
    assert found.trust == "yes" and "Ratings of several rules in one call can stand for" in told
    assert f"difference {found.halo.value:+.2f} [" in told and "left out" not in told


def test_without_the_reversed_order_it_is_never_yes_and_no_column_is_empty(runs, capsys):
    run(runs[0], runs[1])
    told = capsys.readouterr().out
    assert "nobody asked in the reversed order" in told and "This sample cannot tell" in told
    assert "n/a" not in told and "reversed: same side" not in told


def test_only_responses_that_all_have_rated_count_and_the_others_are_told(runs, tmp_path, capsys):
    part = write_run(tmp_path / "part", ratings()[5:], 0, prompts=range(5, PROMPTS))
    run(runs[0], part)
    told = capsys.readouterr().out
    assert "50 responses to 25 prompts" in told and f"{runs[0]}: 10 of its responses left out" in told
    assert "| mean |  | 100.0 [100.0, 100.0] | 0.000 | 1.00 |" in told, "matched by their texts"


def test_files_of_judges_are_taken_on_their_scale(tmp_path, capsys):
    values = np.random.default_rng(0).integers(1, 6, (60, 2))

    def table(name, rows):
        lines = [f"Question {i // 2},Answer {i % 2},{a},{b}" for i, (a, b) in enumerate(rows)]
        (tmp_path / name).write_text("\n".join(["prompt,response,kind,safe", *lines]))
        return str(tmp_path / name)

    one, more = table("one.csv", values), table("more.csv", 6 - values)
    run(one, more)
    told = capsys.readouterr().out
    assert f"{one} and {more}, ratings: 2 rules, in calls, beside each by itself; 60 responses to 30 prompts" in told
    turned = np.abs(6 - 2 * values).mean(0) / 4
    assert f"{turned[0]:.3f} | -1.00 |" in told and f"{turned[1]:.3f} | -1.00 |" in told
    high = table("high.csv", 2 * values)
    with pytest.raises(InputError, match="high.csv: has ratings from 1 to 10, and .*one.csv from 1 to 5. Fix: .*--sc"):
        run(one, high)
    run(one, high, "--scale=1,10")
    with pytest.raises(InputError, match="ratings.*1 to 4|not on the scale"):
        run(one, more, "--scale=1,4")


def test_a_file_without_its_pool_is_not_read_in_another_direction_than_the_run(tmp_path):
    down = write_run(tmp_path / "down", ratings(), direction=-1)
    calls = write_run(tmp_path / "calls", ratings(1, 0.05), 0, direction=-1)
    bare = tmp_path / "bare.jsonl"
    bare.write_bytes((Path(calls) / "rate" / "comparisons.jsonl").read_bytes())
    for more in ((), ("--pool", str(write_pool(tmp_path / "up.yaml")))):
        with pytest.raises(InputError, match="bare.jsonl: rule 'kind' is read in another direction than in .*down"):
            run(down, str(bare), *more)
    run(down, str(bare), "--pool", str(Path(down) / "rate" / "pool.yaml"))


def write_pool(path):
    RulePool([Rule(name, f"It is {name}.") for name in RULES]).to_yaml(path)
    return path


def refused(tmp_path, **change):
    """A run of calls with one thing that is not as it must be."""
    values = ratings()[: len(change.get("prompts", range(PROMPTS)))]
    return write_run(tmp_path / "changed", values, change.pop("rules_per_call", 0), **change)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"order": RULES[:2]},
            "changed: has other rules than .*isolated: only .*isolated has safe. Fix: ask about",
        ),
        ({"words": "Is it {}?"}, "changed: rule 'kind' has other words or another direction than in .*isolated"),
        ({"model": "x"}, "changed: was rated by x, and .*isolated by m. Fix: let one judge"),
        ({"prompts": range(100, 110)}, "halo: no response was rated in every way .*these are other comparisons"),
        ({"rules_per_call": 1}, "changed: asked about every rule by itself. Fix: rate with --config.judge.rules_per"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_what_is_wrong(change, words, runs, tmp_path):
    with pytest.raises(InputError, match=words):
        run(runs[0], refused(tmp_path, **change))


def test_runs_in_the_wrong_places_are_refused(runs, tmp_path):
    one, more, back = runs
    pairs = write_run(tmp_path / "pairs", ratings(), 2, order=RULES[::-1])
    for arguments, words in [
        ((more, one), "together: asked about several rules in a call. Fix: give the run .*first"),
        ((one, one), "isolated: is given twice"),
        ((one, more, f"--reversed={one}"), "isolated: is given twice"),
        ((one, more, f"--reversed={pairs}"), "pairs: asked about 2 rules in a call, and .*together about all"),
        ((one, more, f"--reversed={write_run(tmp_path / 'again', ratings(), 0)}"), "again: asked in the same order as"),
        ((one, f"{tmp_path}/none"), "none: there is no such file or folder"),
        ((one, more, "--scale=1,5"), "--scale: has no effect"),
        ((one, more, "--pool=safety_10"), "--pool: has no effect"),
        ((one, more, "--draws=3"), "--draws: 3 is out of range"),
        ((one, str(tmp_path)), "holds no ratings of a rating run"),
    ]:
        with pytest.raises(InputError, match=words):
            run(*arguments)
    (tmp_path / "view.npz").write_bytes(b"")
    with pytest.raises(InputError, match="holds scores of a model"):
        run(one, f"{tmp_path}/view.npz")
    (tmp_path / "together/rate/summary.json").write_text('{"identity": 3}')
    with pytest.raises(InputError, match="summary.json: .*changed|summary.json: field"):
        run(one, more)
