"""What running a training stage again must not find: checkpoints outside its folder."""

import pytest

from encore_jax.errors import InputError
from encore_jax.recipes.checkpoints_kept import kept_checkpoints
from encore_jax.recipes.configs import ramo_smollm2
from encore_jax.recipes.run import plan_of, run_experiment
from encore_jax.recipes.run_config import validated
from tests.experiments import tiny_run


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


def test_training_runs_again_from_nothing_or_not_at_all(files, tmp_path):
    """Checkpoints outside the stage's folder outlive it, and would be gone on from."""
    kept = tmp_path / "elsewhere"
    (kept / "human" / "6").mkdir(parents=True)
    config = tiny_run.config(files)
    config.train.checkpoints, config.train.method, config.train.length = str(kept), "gradient", 256
    with pytest.raises(InputError, match=f"--rerun: stage train would go on from the checkpoints in {kept}"):
        run_experiment(validated(config), tmp_path / "run", rerun="train")
    assert not (tmp_path / "run").exists()


def kept(config, stage, tmp_path):
    return kept_checkpoints(plan_of(config, tmp_path / "run"), stage)


@pytest.mark.parametrize("inside", ["human", "damaged/6", "human-damaged/6", "adapter/6", "logs"])
def test_what_training_would_not_go_on_from_is_in_nobodys_way(files, tmp_path, inside):
    place = tmp_path / "place"
    config = tiny_run.config(files)
    config.train.checkpoints, config.train.method = str(place), "gradient"
    assert kept(config, "train", tmp_path) == ""
    (place / inside).mkdir(parents=True)
    assert kept(config, "train", tmp_path) == ""
    (place / "human" / "6").mkdir(parents=True)
    assert kept(config, "train", tmp_path) == str(place)
    config.train.method = "ridge"
    assert kept(config, "train", tmp_path) == "" == kept(config, "evaluate", tmp_path)


def test_an_adapter_has_checkpoints_of_its_own(tmp_path):
    config = ramo_smollm2.get_config()
    config.train.checkpoints, config.train.method, config.adapter.method = str(tmp_path / "t"), "gradient", "gradient"
    (tmp_path / "t" / "adapter" / "6").mkdir(parents=True)
    assert kept(config, "train", tmp_path) == "" and kept(config, "adapter", tmp_path) == str(tmp_path / "t")
    config.adapter.checkpoints = str(tmp_path / "a")
    assert kept(config, "adapter", tmp_path) == ""
    (tmp_path / "a" / "adapter" / "6").mkdir(parents=True)
    assert kept(config, "adapter", tmp_path) == str(tmp_path / "a")
