"""A newcomer's own data: rules of one's own, ratings of any scale in any of the usual forms, the command as it is."""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from encore_jax.cli import select_pool
from encore_jax.data import iter_rated, write_comparisons, write_rated
from encore_jax.data.comparison import Comparison, parse_prompt
from encore_jax.data.rated_comparisons import CONFIGS, prepare
from encore_jax.errors import InputError
from encore_jax.recipes.config import DataConfig
from encore_jax.recipes.outside import Sources
from encore_jax.recipes.stages.ablation_source import AblationSource, Reading
from encore_jax.recipes.stages.ingest import ingest
from encore_jax.rules import Rule, RulePool
from tests.experiments import tiny_model

REPOSITORY = Path(__file__).resolve().parents[2]
POOL = RulePool(tuple(Rule(name, f"The response is {name}.", -1 if name == "rude" else 1)
                      for name in ("helpful", "honest", "rude", "brief", "safe")), "mine")  # fmt: skip
SCALES = {"0,1": (0, 1), "1,5": (1, 5), "-3,3": (-3, 3), "0,100": (0, 100)}


def rows(pairs, scale, seed=0):
    """Comparisons of HH-RLHF's derived kind and ratings of their responses: whole numbers on the scale, or quarters."""
    rng, (low, high) = random.Random(seed), scale
    found, rated = [], []
    for i in range(pairs):
        prompt, words = f"{i} what now?", lambda: " ".join(rng.choices("tea cake road lamp love help".split(), k=4))
        good, bad = f"{words()} good", f"{words()} bad"
        found.append({"prompt": prompt, "chosen": good, "rejected": bad})
        for text, lean in ((good, 3), (bad, 1)):
            steps = {name: min(4, max(0, lean + rng.choice([-1, 0, 0, 1]))) for name in POOL.names}
            steps["rude"] = 4 - steps["rude"]
            ratings = {name: low + (high - low) * step / 4 for name, step in steps.items()}
            rated.append({"prompt": prompt, "response": text, "ratings": ratings})
    return found, rated


def write(path, given):
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    POOL.to_yaml(folder / "rules.yaml")
    tiny_model.write(folder / "model")
    for name, scale in SCALES.items():
        pairs, rated = rows(12, scale)
        write(folder / "pairs.jsonl", pairs)
        write(folder / f"rated {name}.jsonl", rated)
        columns = [{"prompt": row["prompt"], "response": row["response"]} | row["ratings"] for row in rated]
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(columns), folder / f"columns {name}.parquet")
        own = []
        for i, pair in enumerate(pairs):
            two = rated[2 * i : 2 * i + 2]
            ratings = {rule: [row["ratings"][rule] for row in two] for rule in POOL.names}
            own.append({"prompt": pair["prompt"], "responses": [row["response"] for row in two], "preferred": 0})
            own[-1]["ratings"] = ratings
        write(folder / f"comparisons {name}.jsonl", own)
    return folder


def config(files, **data):
    usual = {"source": "files", "pool": str(files / "rules.yaml"), "path": str(files / "pairs.jsonl")}
    return DataConfig(**(usual | data))


def ratings_of(config, folder):
    config.check()
    made = ingest(Sources(config), 0)
    folder.mkdir(parents=True, exist_ok=True)
    made.save(folder)
    rated = type(made).load(folder).rated
    return np.array([record.ratings for record in rated]), [record.response for record in rated]


@pytest.mark.parametrize("name", SCALES)
def test_every_scale_and_form_gives_the_same_ratings_from_0_to_1(files, tmp_path, name):
    expected, texts = ratings_of(config(files, ratings_path=str(files / "rated 0,1.jsonl")), tmp_path / "unit")
    assert set(np.unique(expected)) <= {0, 0.25, 0.5, 0.75, 1}
    scale = {"scale": SCALES[name]}
    for i, data in enumerate([
        {"ratings_path": str(files / f"rated {name}.jsonl")},
        {"ratings_path": str(files / f"columns {name}.parquet")},
        {"path": str(files / f"comparisons {name}.jsonl")},
    ]):  # fmt: skip
        found, responses = ratings_of(config(files, **data, **scale), tmp_path / f"{i}")
        assert responses == texts
        np.testing.assert_array_equal(found, expected)
    counts = json.loads((tmp_path / "0" / "counts.json").read_text())
    assert counts["rating_scale"] == list(SCALES[name])


def test_a_prepared_data_set_brings_its_scale_along(files, tmp_path):
    expected, _ = ratings_of(config(files, path=str(files / "comparisons 0,1.jsonl")), tmp_path / "unit")
    import dataclasses

    made = dataclasses.replace(CONFIGS["files"], path=str(files / "comparisons 1,5.jsonl"), pool=POOL, scale=(1, 5))
    folder = prepare(made, tmp_path / "tfds").data_dir
    found, _ = ratings_of(DataConfig(source="tfds", path=str(folder)), tmp_path / "ingest")
    np.testing.assert_array_equal(np.sort(found, 0), np.sort(expected, 0))


def test_where_a_scale_is_not_inferred_the_error_says_what_can_be_typed(files, tmp_path):
    said = "--config.data.scale=LOWEST,HIGHEST, e.g. --config.data.scale=1,5;"
    for data in (
        {"ratings_path": str(files / "rated 1,5.jsonl")},
        {"ratings_path": str(files / "columns 1,5.parquet")},
        {"path": str(files / "comparisons 1,5.jsonl")},
    ):
        with pytest.raises(InputError, match="the ratings of this file lie between 1 and 5") as caught:
            ratings_of(config(files, **data, scale=(1, 4)), tmp_path / "x")
        assert said in caught.value.fix and caught.value.where.startswith(str(files))
    with pytest.raises(InputError, match="--scale=LOWEST,HIGHEST, e.g. --scale=1,5;"):
        select_pool.read(str(files / "rated 1,5.jsonl"), POOL, (0.0, 1.0))
    ablate = AblationSource(str(files / "comparisons 1,5.jsonl"), pool=str(files / "rules.yaml"))
    with pytest.raises(InputError, match="--config.scale=LOWEST,HIGHEST, e.g. --config.scale=1,5;"):
        ablate.view(Reading(scale=(1, 4)))
    prepared = subprocess.run(  # a process of its own: its flags have the names of other commands' flags
        [
            sys.executable, "-m", "encore_jax.data.rated_comparisons", f"--path={files / 'comparisons 1,5.jsonl'}",
            f"--pool={files / 'rules.yaml'}", f"--data_dir={tmp_path}",
        ],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert prepared.returncode == 2 and "--scale=LOWEST,HIGHEST, e.g. --scale=1,5;" in prepared.stderr


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"scale": (5, 1)}, "data.scale: .*the lower one first"),
        ({"scale": (1,)}, "data.scale: .*two numbers"),
        ({"scale": (0, float("inf"))}, "data.scale"),
        ({"scale": (1, 5), "source": "pyrit"}, "data.scale: .*left out"),
        ({"ratings_path": "r.jsonl", "source": "tfds"}, "data.ratings_path: .*a prepared data set has its own"),
        ({"ratings_format": "helpsteer"}, "use one of auto, encore, columns, openai_rbr"),
    ],
)
def test_settings_that_cannot_be_are_refused(files, data, said):
    with pytest.raises(InputError, match=said):
        config(files, **data).check()


def test_a_scale_without_effect_is_refused(files, tmp_path):
    own = config(files, scale=(1, 5))
    with pytest.raises(InputError, match="data.scale: no ratings are read on it"):
        ingest(Sources(own, rated=False), 0, need_rated=False)


def test_ratings_of_no_known_form_are_told_what_they_lack(files, tmp_path):
    path = write(tmp_path / "rated.jsonl", [{"prompt": "Q", "response": "A", "helpful": 1, "honest": 2}])
    with pytest.raises(InputError, match="neither 'ratings' nor a column for every rule.*rude"):
        ratings_of(config(files, ratings_path=str(path)), tmp_path / "x")
    path = write(tmp_path / "rated.jsonl", [{"instruction": "Q", "output": "A", "ratings": {"helpful": 1}}])
    with pytest.raises(InputError, match="field 'instruction': unknown field"):
        ratings_of(config(files, ratings_path=str(path)), tmp_path / "x")


def test_records_written_on_a_scale_come_back_on_it(tmp_path):
    """What `to_unit` makes of a record read on 1 to 5 is what a file on 0 to 1 holds, exactly on a grid."""
    record = Comparison(parse_prompt("Q"), ("a", "b"), 0, POOL.names, np.float32([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]]))
    write_comparisons(tmp_path / "a.jsonl", [record], pool=POOL, scale=(1, 5))
    row = json.loads((tmp_path / "a.jsonl").read_text())
    assert row["ratings"]["helpful"] == [1, 5] and row["ratings"]["rude"] == [3, 3]
    (found,) = iter_rated(write_one(tmp_path / "b.jsonl", record), pool=POOL, scale=(1, 5))
    assert found.ratings.tolist() == [1, 2, 3, 4, 5]


def write_one(path, comparison):
    from encore_jax.data import RatedResponse

    rated = RatedResponse(comparison.prompt, "a", comparison.rules, comparison.ratings[0])
    write_rated(path, [rated], pool=POOL, scale=(1, 5))
    return path


def test_five_rules_ratings_from_1_to_5_and_500_pairs_run_through_the_command(files, tmp_path):
    """encore_hh as it is shipped, with a tiny model and short baselines: every stage, and a report."""
    pairs, rated = rows(500, (1, 5), seed=1)
    rated[7]["response"] = "a long word " * 30  # too long for a row
    write(tmp_path / "pairs.jsonl", pairs), write(tmp_path / "rated.jsonl", rated)
    command = [
        sys.executable, "-m", "experiments.run", "--config=encore_hh",
        f"--config.data.pool={files / 'rules.yaml'}", f"--config.data.path={tmp_path / 'pairs.jsonl'}",
        f"--config.data.ratings_path={tmp_path / 'rated.jsonl'}", "--config.data.scale=1,5", "--config.data.limit=0",
        f"--config.model.path={files / 'model'}", "--config.model.buckets=(128,)", f"--workdir={tmp_path / 'run'}",
        "--config.baselines.gate.steps=0", "--config.evaluate.replicates=200",
        "--config.compose.draws=50",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_NUM_CPU_DEVICES": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["views"][0]["name"] == "ratings"
    view = next(view for view in results["views"] if view["name"] == "heads")
    assert [rule["name"] for rule in view["rules"]] == list(POOL.names)
    counts = json.loads((tmp_path / "run" / "ingest" / "counts.json").read_text())
    assert counts["comparisons"] == 500 and counts["rated_responses"] == 1000
    uniform = next(method for method in view["methods"] if method["name"] == "uniform")
    assert uniform["accuracy"]["value"] > 0.6, uniform["accuracy"]
    assert "not trained on" in (tmp_path / "run" / "report.html").read_text()
    for what, read in (("Rated responses: ", 1000), ("Comparisons: ", 500)):
        (line,) = re.findall(rf"{what}[\d,]+ read.*?\.", " ".join(done.stdout.split()))
        counts = [int(number.replace(",", "")) for number in re.findall(r"[\d,]*\d(?= [a-z])", line)]
        assert counts[0] == read == sum(counts[1:]), line
        assert "other reasons" not in line


@pytest.mark.parametrize("some", [False, True])
def test_where_no_compared_response_is_rated_a_run_says_so(files, tmp_path, caplog, some):
    rated = [json.loads(line) for line in (files / "rated 1,5.jsonl").read_text().splitlines()]
    for row in rated[some:]:
        row["response"] += " indeed"
    path = write(tmp_path / "rated.jsonl", rated)
    with caplog.at_level("WARNING"):
        ingest(Sources(config(files, ratings_path=str(path), scale=(1, 5))), 0)
    assert ("none of the compared responses is rated" in caplog.text) is not some
