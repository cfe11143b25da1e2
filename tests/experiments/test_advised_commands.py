"""Commands that a report advises run, with the user's own files, however these are called."""

import csv
import random
import re
import shlex

import pytest

import encore_jax as enc
from encore_jax.cli import reliability
from encore_jax.cli.command import Given
from encore_jax.cli.config_file import load_config
from encore_jax.cli.from_run import take_from
from encore_jax.cli.main import COMMANDS, expanded
from encore_jax.cli.overrides import apply_overrides, split_arguments, switches_of
from encore_jax.data import SkipCounter
from encore_jax.errors import InputError
from encore_jax.evaluation.fit_advice import Rated, how_for_ratings
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.rating_config import JudgeConfig, RatingConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.sources import rule_pool
from encore_jax.recipes.stages.rating_tables import table_comparisons
from encore_jax.recipes.stages.train import TrainedHeads
from encore_jax.reward.reward_model import RewardModel
from encore_jax.rules import RulePool
from tests.experiments import tiny_model, tiny_run

RULES = ("Safe", "honest", "kind tone")
SIDED = [f"{rule}_{side}" for rule in RULES for side in "ab"]


def write_csv(path, head, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *rows])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ratings in all forms, in a folder and in files whose names a shell would split."""
    folder = tmp_path_factory.mktemp("my data")
    tiny_model.write(folder / "model")
    rng, pairs, wide = random.Random(0), [], []
    for i in range(30):
        goodness = [rng.gauss(0, 1), rng.gauss(0, 1)]
        rated = [[min(5, max(1, round(3 + g + 0.5 * rng.gauss(0, 1)))) for _ in RULES] for g in goodness]
        texts = [f"Answer {i} {side}" for side in "AB"]
        best = "ab"[goodness[1] > goodness[0]]
        pairs.append([f"Question {i}", *texts, best, *(rated[s][k] for k in range(len(RULES)) for s in range(2))])
        wide += [[f"Question {i}", text, *row] for text, row in zip(texts, rated, strict=True)]
    head = ["prompt", "response_a", "response_b"]
    write_csv(folder / "labelled pairs.csv", [*head, "preferred", *SIDED], pairs)
    write_csv(folder / "no labels.csv", [*head, *SIDED], [[*row[:3], *row[4:]] for row in pairs])
    write_csv(folder / "PAIRS.csv", [*head, "preferred"], [row[:4] for row in pairs])
    write_csv(folder / "single responses.csv", ["prompt", "response", *RULES], wide)
    write_csv(folder / "numbers.csv", RULES, [row[2:] for row in wide])
    return folder


def line_of(file, capsys, *flags):
    reliability.main(reliability.parse([str(file), "--draws=20", *flags]))
    return capsys.readouterr().out.splitlines()[0]


def command_in(line):
    return re.search(r"encore fit .*?--config\.compose\.method=\w+", line)[0]


def carry_out(command, folder, workdir):
    """As the shell and `encore fit` would, with a tiny model, up to the heads: configuration and rules."""
    words = [str(folder / "PAIRS.csv") if word == "PAIRS" else word for word in shlex.split(command)]
    assert words[:2] == ["encore", "fit"]
    config = load_config("encore_hh")
    arguments = expanded(COMMANDS["fit"], words[2:])
    given = split_arguments([word for word in arguments if not word.startswith("--from=")], switches_of(config))
    config = apply_overrides(config, given.overrides)
    for word in arguments:
        if word.startswith("--from="):
            take_from(config, Given(config, "encore_hh", {}), word.removeprefix("--from="))
    config.model.path, config.model.buckets, config.train.folds = str(folder / "model"), (128,), 3
    config.baselines.gate.steps, config.model.dtype = 0, "float32"
    config = validated(config)
    run_experiment(config, workdir, until="train")  # a random model's scores may refuse agreement weights
    return config, TrainedHeads.load(workdir / "train").passport.rules


@pytest.mark.parametrize(
    ("file", "flags"),
    [("labelled pairs.csv", []), ("single responses.csv", []), ("labelled pairs.csv", ["--scale=1,5"]),
     ("no labels.csv", ["--scale=1,5"])],
)  # fmt: skip
def test_what_reliability_advises_for_a_table_trains_a_model(folder, tmp_path, capsys, file, flags):
    command = command_in(line_of(folder / file, capsys, *flags))
    assert shlex.quote(str(folder / file)) in command and ("--config.data.scale=1,5" in command) == bool(flags)
    if file == "no labels.csv":  # after the labels are in, as the line says
        (tmp_path / "now labelled.csv").write_text((folder / "labelled pairs.csv").read_text())
        command = command.replace(str(folder / file), str(tmp_path / "now labelled.csv"))
    config, rules = carry_out(command, folder, tmp_path / "run")
    assert rules == ("safe", "honest", "kind_tone") and config.compose.method == command.split("=")[-1]


def test_without_labels_the_line_says_where_they_go_and_python_needs_none(folder, capsys):
    line = line_of(folder / "no labels.csv", capsys)
    assert "first say of 10 or more prompts which of two responses people prefer (column preferred: a or b)" in line
    python = re.search(r"in Python: (enc\..*)\.$", line)[1]
    python = python.replace("))", f"), backbone={str(folder / 'model')!r}, buckets=(128,))", 1)
    model = eval(python, {"enc": enc})
    assert isinstance(model, RewardModel) and len(model.passport.weights) == len(RULES)


def test_ratings_without_texts_are_no_file_to_train_on(folder, capsys):
    line = line_of(folder / "numbers.csv", capsys)
    assert line.endswith("write the texts beside them: columns prompt and response.") and "encore fit" not in line


@pytest.mark.parametrize("labelled", [True, False])
def test_a_rating_run_is_named_itself_and_without_labels_its_ratings(folder, tmp_path, capsys, labelled):
    files = tiny_run.write_files(tmp_path / "files")
    if not labelled:
        text = (files / "pairs.jsonl").read_text()
        text = re.sub(r'"chosen": ("[^"]*"), "rejected": ("[^"]*")', r'"responses": [\1, \2]', text)
        (files / "pairs.jsonl").write_text(text)
    data = DataConfig(source="files", pool=str(files / "pool.yaml"), path=str(files / "pairs.jsonl"),
                      ratings_path=str(files / "rated.jsonl"))  # fmt: skip
    run = tmp_path / "rating run"
    run_experiment(validated(RatingConfig(name="rated", data=data, judge=JudgeConfig(kind="table"))), run)
    printed = capsys.readouterr().out
    line = line_of(run, capsys)
    given = str(run) if labelled else f"PAIRS {shlex.quote(f'{run}/rate/rated.jsonl')}"
    assert (shlex.quote(given) if labelled else given) in command_in(line)
    assert command_in(printed) == command_in(line), "the run's own report advises the same"
    assert carry_out(command_in(line), folder, tmp_path / "fitted")[1] == tiny_run.POOL.names


def test_the_rules_of_a_file_are_those_it_names_or_of_the_pool_beside_it(tmp_path, folder, caplog):
    config = DataConfig(source="files", pool="auto", path=str(folder / "labelled pairs.csv"))
    pool = rule_pool(config)
    assert pool.names == ("safe", "honest", "kind_tone") and pool["kind_tone"].text == "kind tone"
    assert set(pool.directions) == {1}
    shipped = RulePool.shipped("openai_rbr_23")
    assert -1 in shipped.directions
    rows = [["Q", "A", *["1"] * 23], ["Q", "B", *["0"] * 23]]
    write_csv(tmp_path / "r.csv", ["prompt", "response", *shipped.names], rows)
    pairs, ratings = str(folder / "PAIRS.csv"), str(tmp_path / "r.csv")
    named = rule_pool(DataConfig(source="files", pool="auto", path=pairs, ratings_path=ratings))
    assert sorted(named.names) == sorted(shipped.names) and set(named.directions) == {1}, "as reliability takes them"
    assert "the shipped pool openai_rbr_23 has rules of these names and says what is better" in caplog.text
    tiny_run.POOL.to_yaml(tmp_path / "pool.yaml")
    own = DataConfig(source="files", pool="auto", path=str(folder / "PAIRS.csv"), ratings_path=str(tmp_path / "r.csv"))
    assert rule_pool(own) == tiny_run.POOL
    with pytest.raises(InputError, match="PAIRS.csv: no column holds ratings.*ratings_path=FILE"):
        rule_pool(DataConfig(source="files", pool="auto", path=str(folder / "PAIRS.csv")))
    with pytest.raises(InputError, match=r"config.data.pool: is for files"):
        rule_pool(DataConfig(pool="auto"))


def test_columns_in_capitals_are_the_rules_that_they_name(tmp_path):
    columns = ["prompt", "response_a", "response_b", "preferred", "Safe_a", "Safe_b", "Kind Tone_a", "Kind Tone_b"]
    rows = [["Q", "A", "B", "a", "5", "1", "4", "2"], ["R", "A", "B", "b", "1", "5", "2", "3"]]
    write_csv(tmp_path / "p.csv", columns, rows)
    pool = rule_pool(DataConfig(source="files", pool="auto", path=str(tmp_path / "p.csv")))
    found, _ = table_comparisons(tmp_path / "p.csv", pool, (1, 5), SkipCounter(), rated=True)
    assert pool.names == ("safe", "kind_tone") and found[0].ratings.tolist() == [[1, 0.75], [0, 0.25]]


def test_nothing_is_advised_where_no_weighting_is(tmp_path):
    assert how_for_ratings("", Rated("pairs", "x.csv")) == ""
