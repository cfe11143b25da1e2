"""A dry run looks for the files that the run will read, and refuses as the run would."""

import pytest

from encore_jax.data.sources import check_local
from encore_jax.errors import InputError
from encore_jax.recipes.config import SMOLLM2, DataConfig
from encore_jax.recipes.outside import AdapterRun, OneFile, Outside, Sources
from encore_jax.recipes.run import plan_of, run_experiment, stages_of
from encore_jax.recipes.run_config import validated
from tests.experiments import tiny_run
from tests.experiments.test_inputs_held import NAMES, configured, fields_read


@pytest.mark.parametrize("field", ["data.path", "data.ratings_path", "data.pool", "model.path"])
def test_a_dry_run_refuses_a_missing_file_in_the_words_of_the_run(tmp_path, field):
    files = tiny_run.write_files(tmp_path / "files")
    assert "ingest: to do" in stages_of(validated(tiny_run.config(files)), tmp_path / "run")
    config = tiny_run.config(files)
    group, name = field.split(".")
    setattr(getattr(config, group), name, str(tmp_path / "nowhere.yaml"))
    config = validated(config)
    with pytest.raises(InputError) as dry:
        stages_of(config, tmp_path / "run")
    assert "nowhere.yaml" in str(dry.value) and "\n" not in str(dry.value) and not (tmp_path / "run").exists()
    with pytest.raises(InputError) as real:
        run_experiment(config, tmp_path / "run")
    assert dry.value.problem == real.value.problem and dry.value.where == real.value.where
    if field == "model.path":
        assert stages_of(config, tmp_path / "other", until="rate"), "no stage until then reads the model"


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_looks_for_its_files_before_it_lists_stages(name, tmp_path, monkeypatch):
    """FILES of `configured` are nowhere: whatever a stage reads that is no uri is missed."""
    monkeypatch.chdir(tmp_path)
    config = configured(name)
    fields, arguments = fields_read(config, tmp_path)
    if not fields & {"data.path", "data", "model", "scores", "views"}:
        assert stages_of(config, tmp_path / "w")
        return
    with pytest.raises(InputError, match="no such file|no such folder|does not exist"):
        stages_of(config, tmp_path / "w")
    assert not (tmp_path / "w").exists()
    assert all(hasattr(one, "check_there") for one in arguments if isinstance(one, Outside))


def test_what_would_be_fetched_is_not_looked_for(tmp_path):
    check_local("hf://nobody/nothing")
    check_local(SMOLLM2)
    Sources(DataConfig(source="files", pool="safety_10", path="hf://datasets/no/thing/file.jsonl")).check_there()
    OneFile("").check_there()
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        AdapterRun(str(tmp_path / "nowhere")).check_there()


def test_a_plan_names_the_stages_of_a_run_whose_files_are_missing(tmp_path):
    """Planning itself reads nothing."""
    config = validated(configured("encore_hh"))
    assert "ingest" in plan_of(config, tmp_path).stages
