"""Selecting a pool from files: what comes out is diverse, named, and accounted for."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from encore_jax.cli.select_pool import main, parse
from encore_jax.data import Message, RatedResponse, write_rated
from encore_jax.errors import InputError
from encore_jax.rules import Rule, RulePool

NAMES = [f"rule_{i}" for i in range(8)]


@pytest.fixture
def given(tmp_path):
    """Eight candidates, of which each odd one is rated as the even one before it, nearly."""
    pool = RulePool([Rule(name, f"The response is number {i}.", (-1) ** (i // 2)) for i, name in enumerate(NAMES)])
    pool.to_yaml(tmp_path / "candidates.yaml")
    rng = np.random.default_rng(0)
    ratings = np.repeat(rng.random((60, 4)), 2, axis=1)
    ratings[:, 1::2] = np.clip(ratings[:, 1::2] + 0.02 * rng.standard_normal((60, 4)), 0, 1)
    rated = [
        RatedResponse((Message("user", f"{i}"),), "A.", pool.names, row, mask=rng.random(8) < 0.9)
        for i, row in enumerate(ratings)
    ]
    write_rated(tmp_path / "rated.jsonl", rated, pool=pool)
    return Namespace(
        candidates=str(tmp_path / "candidates.yaml"), ratings=str(tmp_path / "rated.jsonl"), scale=(0.0, 1.0), size=4,
        method="greedy", seed=None, name="", out=str(tmp_path / "chosen.yaml"), overwrite=False,
    )  # fmt: skip


@pytest.mark.parametrize("method", ["greedy", "kdpp"])
def test_one_of_each_pair_is_chosen(given, method, tmp_path):
    given.method = method
    main(given)
    pool, candidates = RulePool.from_yaml(given.out), RulePool.from_yaml(given.candidates)
    assert pool.name == "chosen" and len(pool) == 4 and all(rule in candidates for rule in pool)
    assert [NAMES.index(name) // 2 for name in pool.names] == [0, 1, 2, 3]
    report = json.loads((tmp_path / "chosen.report.json").read_text())
    assert report["log_det"] > report["log_det_of_first"]
    for left, resembles in report["left_out"].items():
        assert NAMES.index(left) // 2 == NAMES.index(resembles["rule"]) // 2 and abs(resembles["correlation"]) > 0.8
    assert set(report["left_out"]) | set(pool.names) == set(NAMES)
    assert (sum(report["gains"].values()) == pytest.approx(report["log_det"], abs=1e-3)) == (method == "greedy")


def test_a_seed_of_what_draws_nothing_is_refused(given):
    given.seed = 0
    with pytest.raises(InputError, match="--seed: greedy draws nothing. Fix: leave it out, or give --method=kdpp"):
        main(given)


def test_rules_without_ratings_are_refused(given):
    pool = RulePool.from_yaml(given.candidates)
    extended = RulePool([*pool, Rule("unrated", "Nobody looked.")])
    extended.to_yaml(given.candidates)
    with pytest.raises(InputError, match="rule 'unrated' has fewer than 2 ratings"):
        main(given)


def test_the_command_says_what_it_needs():
    command = [sys.executable, "-m", "encore_jax.cli.select_pool", "--help"]
    assert "--candidates" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("scale", [(0, 1), (1, 5), (0, 100)])
def test_the_scale_is_inferred_and_changes_nothing(given, tmp_path, kind, scale, caplog):
    """The same ratings on any scale, in this project's format and as a table, choose the same pool."""
    low, high = scale
    main(given)
    expected = (tmp_path / "chosen.report.json").read_text()
    rows = [json.loads(line) for line in Path(given.ratings).read_text().splitlines()]
    for row in rows:
        row["ratings"] = {k: None if v is None else low + (high - low) * v for k, v in row["ratings"].items()}
    own = tmp_path / f"scaled.{kind}"
    if kind == "jsonl":
        own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        cells = [[row["prompt"][0]["content"], row["response"], *row["ratings"].values()] for row in rows]
        lines = [["prompt", "response", *rows[0]["ratings"]], *cells]
        own.write_text("\n".join(",".join("" if cell is None else str(cell) for cell in line) for line in lines))
    out = tmp_path / "again.yaml"
    flags = [f"--candidates={given.candidates}", f"--ratings={own}", "--size=4", f"--out={out}"]
    with caplog.at_level("INFO"):
        main(parse(flags))
    assert f"scale {low} to {high}, inferred from the ratings" in caplog.text
    assert RulePool.from_yaml(out).names == RulePool.from_yaml(given.out).names
    main(parse([*flags, f"--scale={low},{high}", "--overwrite"]))
    found, wanted = json.loads((tmp_path / "again.report.json").read_text()), json.loads(expected)
    assert found["log_det"] == pytest.approx(wanted["log_det"], rel=1e-4)


@pytest.mark.parametrize(
    ("scale", "problem"),
    [
        (["5", "1"], "--scale 5 1: is no scale.*--scale=1,5"),
        (["one"], "is no scale"),
        (["0", "0.5"], "the ratings of this file lie between 0.*--scale="),
    ],
)
def test_scales_that_are_none_or_too_short_are_refused(given, scale, problem):
    given.scale = scale
    with pytest.raises(InputError, match=problem):
        main(given)
