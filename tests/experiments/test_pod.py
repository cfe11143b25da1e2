"""The parts of a whole run that need Python: files joined and merged, labels by rules, an estimate, a table."""

import json

import numpy as np
import pytest

from encore_jax.data import Comparison, Message, SkipCounter, read_comparisons
from encore_jax.data.jsonl import write_comparisons
from encore_jax.errors import InputError
from encore_jax.parallel.slices import parse_slice
from experiments import pod
from tests.experiments import tiny_run

POOL = tiny_run.POOL
RATINGS = {  # violence, privacy (both: higher is worse), kindness; oriented when read
    "first wins": ([[0.0, 0.9, 0.5], [1.0, 0.0, 0.5]], [[1, 0, 0], [1, 0, 0]], 0),
    "second wins": ([[1.0, 0.0, 0.1], [0.5, 1.0, 0.9]], [[1, 0, 1], [1, 0, 1]], 1),
    "a tie": ([[0.5, 0.0, 0.5], [0.5, 1.0, 0.5]], [[1, 0, 1], [1, 0, 1]], None),
    "one side alone": ([[0.5, 0.0, 0.5], [0.5, 1.0, 0.9]], [[1, 0, 0], [1, 0, 1]], None),
}


def rated(name, as_given, mask):
    """Ratings as the judge gave them, oriented as they are in memory."""
    oriented = np.array(as_given, np.float32)
    for k, rule in enumerate(POOL):
        oriented[:, k] = 1 - oriented[:, k] if rule.direction == -1 else oriented[:, k]
    return Comparison((Message("user", name),), ("a", "b"), 0, rules=POOL.names, ratings=oriented,
                      mask=np.array(mask, bool), id=name)  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """pool.yaml; all.jsonl, of six comparisons without ratings; rated.jsonl, of four of them with some."""
    POOL.to_yaml(tmp_path / "pool.yaml")
    some = [rated(name, values, mask) for name, (values, mask, _) in RATINGS.items()]
    bare = [Comparison((Message("user", name),), ("a", "b"), 0, id=name) for name in (*RATINGS, "new", "newer")]
    write_comparisons(tmp_path / "all.jsonl", bare)
    write_comparisons(tmp_path / "rated.jsonl", some, pool=POOL)
    return tmp_path


def test_labels_are_those_of_the_rules_that_both_responses_are_rated_on(files):
    print(pod.write_labels(str(files / "rated.jsonl"), str(files / "pool.yaml"), files / "labels.jsonl"))
    labels = {c.id: c.preferred for c in read_comparisons(files / "labels.jsonl", "encore")}
    assert labels == {name: label for name, (_, _, label) in RATINGS.items() if label is not None}
    assert all(c.ratings is None for c in read_comparisons(files / "labels.jsonl", "encore", pool=POOL))


def test_without_a_decided_comparison_there_is_an_error(files):
    with pytest.raises(InputError, match="not one comparison is decided"):
        pod.write_labels(str(files / "all.jsonl"), str(files / "pool.yaml"), files / "labels.jsonl")


def test_ratings_are_merged_into_the_file_that_was_rated(files):
    given = [str(files / "all.jsonl"), str(files / "rated.jsonl")]
    assert "6 comparisons, 4 of them rated" in pod.merge_ratings(given, str(files / "pool.yaml"), files / "m.jsonl")
    merged = list(read_comparisons(files / "m.jsonl", "encore", pool=POOL))
    assert [c.id for c in merged if c.ratings is None] == ["new", "newer"]
    again = {c.id: c for c in read_comparisons(files / "rated.jsonl", "encore", pool=POOL)}
    for one in merged[:4]:
        np.testing.assert_array_equal(one.mask, again[one.id].mask)
        np.testing.assert_allclose(one.ratings[one.mask], again[one.id].ratings[one.mask])


def test_ratings_of_comparisons_that_are_not_there_are_refused(files):
    write_comparisons(files / "few.jsonl", [Comparison((Message("user", "new"),), ("a", "b"), 0, id="new")])
    with pytest.raises(InputError, match="4 rated comparisons are not among those of"):
        pod.merge_ratings(
            [str(files / "few.jsonl"), str(files / "rated.jsonl")], str(files / "pool.yaml"), files / "m.jsonl"
        )
    with pytest.raises(InputError, match="1 files"):
        pod.merge_ratings([str(files / "few.jsonl")], "safety_10", files / "m.jsonl")


def test_hours_follow_from_flops_chips_and_tokens(files):
    number, once, each = pod.tokens_of([str(files / "all.jsonl")])
    assert number == 6 and once <= each
    pairs = [str(files / "all.jsonl")]
    work = {w.name: w.flops for w in pod.works(pairs, pairs, ["encore_llama31_8b", "bt_llama31_8b"], 10)}
    assert set(work) == {"judge", "train encore_llama31_8b", "train bt_llama31_8b", "score"}
    entries = work["train encore_llama31_8b"] / (6 * once)
    assert entries == pytest.approx(6.98e9, rel=0.01)  # the matrices of Llama-3.1-8B's layers
    tpu = parse_slice("v5e:4x4")
    hour = pod.Work("train", tpu.chips * tpu.peak_flops * pod.MFU * 3600)
    assert "1.00 h        32.00" in pod.cost_table([hour], tpu.name, 2.0)


@pytest.mark.parametrize("config", ["quickstart", "rate_local", "theory"])
def test_a_config_whose_size_nothing_says_is_refused(config):
    with pytest.raises(InputError, match="names no architecture that is trained"):
        pod.parameters_of(config)


def test_benchmark_runs_stand_in_one_table(tmp_path):
    entry = {"score": 0.875, "low": 0.8, "high": 0.95}
    for name, scores in (("a", {"Safety": entry, "Chat": {"score": None}}), ("b", {})):
        (tmp_path / name).mkdir()
        results = {"benchmark": "rewardbench", "scores": scores, "subsets": {"": entry}, "n": 8}
        (tmp_path / name / "results.json").write_text(json.dumps(results))
    pod.main(["table", f"--out={tmp_path / 'table.md'}", str(tmp_path / "a"), str(tmp_path / "b")])
    lines = (tmp_path / "table.md").read_text().splitlines()
    assert lines[2:] == [
        "| a | rewardbench | Safety | 87.5 | 80.0 to 95.0 | 8 |",
        "| a | rewardbench | Chat | missing |  | 8 |",
        "| b | rewardbench | all | 87.5 | 80.0 to 95.0 | 8 |",
    ]
    (tmp_path / "a" / "results.json").write_text('{"scores": 3}')
    with pytest.raises(InputError, match="is not a benchmark's results"):
        pod.benchmark_rows([tmp_path / "a"])


def test_ratings_that_raw_files_carry_are_left_to_the_judge(tmp_path):
    """In this project's own format, whose rules no pool of the script names."""
    rows = [
        {"prompt": f"p{i}", "responses": ["a", "b"], "preferred": 0, "ratings": {"kind": [1.0 + i % 5, 5.0]}}
        for i in range(20)
    ]
    source = tmp_path / "pairs.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = pod.join_files([str(source)], tmp_path / "out" / "joined.jsonl")
    assert "20 comparisons" in told
    written = (tmp_path / "out" / "joined.jsonl").read_text().splitlines()
    assert len(written) == 20 and all(json.loads(line)["ratings"] is None for line in written)
    assert pod.tokens_of([str(source)])[0] == 20


def test_an_estimate_needs_no_rules_and_says_where_to_look_for_prices(tmp_path, capsys):
    """A benchmark's ratings, of any kind, are passed over and counted."""
    row = {"prompt": "p", "responses": ["a" * 80, "b"], "preferred": 0, "ratings": {"kind": ["n/a", 5.0]}}
    source = tmp_path / "bench.jsonl"
    source.write_text("".join(json.dumps(row | {"id": str(i)}) + "\n" for i in range(3)))
    given = ["cost", "--accelerator=v5e:4x4", "--train=encore_llama31_8b", f"--pairs={source}", f"--benchmark={source}"]
    pod.main(given)
    unpriced = capsys.readouterr().out
    assert "1.20 dollars" in unpriced and unpriced.splitlines()[-1].count(pod.PRICE_PAGE) == 1
    pod.main([*given, "--price=2.50"])
    priced = capsys.readouterr().out
    assert "2.50 dollars" in priced and pod.PRICE_PAGE not in priced
    skips = SkipCounter()
    assert len(list(pod._texts([str(source)], skips))) == 3 and skips.unread == {"ratings": 3}


NO_NUMBERS = {"price": ("nan", "inf", "-1", "-0.01", "1e300", "1e6", "cheap", ""),
              "judged_rules": ("-1", "nan", "1.5", "1e3", "1000000", "9" * 400, "all", "")}  # fmt: skip
"""What no subcommand takes, for every flag that is a number."""


def test_every_flag_that_is_a_number_has_bounds():
    flags = {action.dest for command in pod.COMMANDS for action in pod.parser_of(command)._actions
             if action.type in (int, float)}  # fmt: skip
    assert flags == set(pod.NUMBERS) == set(NO_NUMBERS)


@pytest.mark.parametrize(("flag", "value"), [(flag, value) for flag, bad in NO_NUMBERS.items() for value in bad])
def test_what_is_no_number_is_refused_in_one_line(flag, value, capsys):
    option = f"--{flag.replace('_', '-')}"
    with pytest.raises(SystemExit):
        pod.main(["cost", "--accelerator=v5e:4x4", "--train=a", "--pairs=b", f"{option}={value}"])
    lines = capsys.readouterr().err.strip().splitlines()
    assert option in lines[-1] and len([line for line in lines if "error" in line.lower()]) == 1, lines
