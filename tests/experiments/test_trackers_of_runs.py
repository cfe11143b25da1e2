"""Trackers by name in a run's settings: each is known, and one that is missing is refused before the first stage."""

import importlib.util

import pytest

from encore_jax.errors import InputError
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.train import trackers
from tests.experiments import tiny_run


@pytest.mark.parametrize("name", trackers.NAMES)
def test_every_tracker_may_be_named(name):
    TrainConfig(trackers=(name,)).check()


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    config = tiny_run.config(tiny_run.write_files(tmp_path / "files"))
    config.train = TrainConfig(method="gradient", trackers=("trackio",))
    found = importlib.util.find_spec
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: None if name == "trackio" else found(name))
    with pytest.raises(InputError, match="pip install trackio"):
        run_experiment(validated(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()
