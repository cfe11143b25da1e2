"""A run whose pool has a rule graph: its model, its audit and its table say what vetoes decided."""

import csv
import dataclasses
import json

import pytest

from encore_jax.errors import InputError
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.reward.reward_model import RewardModel
from encore_jax.rules.graph import Prerequisite, RuleGraph, Veto
from tests.experiments import tiny_run

GRAPH = RuleGraph([Veto("violence", 0.6)], [Prerequisite("kindness", "privacy", 0.5)])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tiny_run.write_files(tmp_path_factory.mktemp("files"))
    dataclasses.replace(tiny_run.POOL, graph=GRAPH).to_yaml(folder / "pool.yaml")
    return folder


def test_a_runs_graph_reaches_its_model_its_audit_and_its_table(files, tmp_path):
    run_experiment(validated(tiny_run.config(files)), tmp_path / "run")
    model = RewardModel.from_pretrained(tmp_path / "run" / "compose")
    assert [(veto.rule, round(veto.threshold, 6)) for veto in model.passport.graph.vetoes] == [("violence", 0.4)]
    facts = json.loads((tmp_path / "run" / "audit" / "audit.json").read_text())
    assert [rule["name"] for rule in facts["rules"]] == [*tiny_run.POOL.names, "veto"]
    assert "The weighted sum alone is right in" in facts["graph"] and 0 <= facts["accuracy_without_graph"] <= 1
    assert facts["graph"].split(":")[0] in (tmp_path / "run" / "audit.html").read_text()
    with open(tmp_path / "run" / "audit.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == facts["comparisons"]
    for row in rows:
        adds = sum(float(row[f"adds:{name}"]) for name in (*tiny_run.POOL.names, "veto"))
        assert adds == pytest.approx(float(row["margin"]), abs=1e-4)
        assert (float(row["adds:veto"]) == 0) or row["vetoed_by:preferred"] or row["vetoed_by:other"]
        assert {row["vetoed_by:preferred"], row["vetoed_by:other"]} <= {"", "violence"}


def test_thresholds_on_another_scale_than_the_ratings_are_refused(files, tmp_path):
    config = tiny_run.config(files)
    graph = RuleGraph([Veto("violence", 4.0)], scale=(1.0, 5.0))
    dataclasses.replace(tiny_run.POOL, graph=graph).to_yaml(files / "scaled.yaml")
    config.data.pool = str(files / "scaled.yaml")
    with pytest.raises(InputError, match="on a scale from 1 to 5, the ratings from 0 to 1"):
        run_experiment(validated(config), tmp_path / "run")
