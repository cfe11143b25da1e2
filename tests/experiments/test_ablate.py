"""An ablation from a view file to its report: rows are what their columns say, a killed run ends as a whole one."""

import dataclasses
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from encore_jax.cli.ablate import SHORT, with_field
from encore_jax.cli.command import Given
from encore_jax.composition import entropy_weights, rating_entropy
from encore_jax.errors import InputError
from encore_jax.evaluation.ablation_tables import training_draws
from encore_jax.evaluation.methods import half_credit
from encore_jax.evaluation.rule_agreement import rule_agreement
from encore_jax.evaluation.view import Pairs, View
from encore_jax.recipes.ablation_config import AblateConfig
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.ablation_source import AblationSource, Reading
from encore_jax.settings import fields_of
from tests.evaluation import views
from tests.experiments.forked import environment
from tests.experiments.test_config import changed
from tests.report.page_checks import check_page

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def view_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("view") / "view-heads.npz"
    views.view(train=40, test=50).save(path)
    return path


@pytest.fixture(scope="module")
def finished(view_file, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("run")
    made = AblateConfig(scores=str(view_file), seeds=(3,), shares=(0.5, 1.0), replicates=2, part=700)
    run_experiment(validated(made), workdir)
    return workdir


def rows_of(folder: Path) -> dict[str, np.ndarray]:
    table = pq.read_table(sorted((folder / "decide").glob("part-*.parquet"))).sort_by("index")
    return {name: np.asarray(table[name].to_pylist()) for name in table.column_names}


@pytest.mark.filterwarnings("ignore::encore_jax.composition.RatingsWarning")
def test_every_setting_occurs_once_and_is_what_its_columns_say(finished, view_file):
    rows, view = rows_of(finished), View.load(view_file)
    settings = 2 * 5 * 2 * 2 * 8 * 15 * 3
    np.testing.assert_array_equal(rows["index"], np.arange(settings))
    subsets = pq.read_table(finished / "prepare" / "subsets.parquet")["rules"].to_pylist()
    draw = dict(zip((0.5, 1.0), training_draws(view.rating_cluster, (3,), (0.5, 1.0)), strict=True))
    delta = view.test.first_preferred[:, 0] - view.test.first_preferred[:, 1]
    for i in np.random.default_rng(0).choice(np.flatnonzero(rows["replicate"] == 0), 40, replace=False):
        number, kind = rows["grid"][i].split()
        options = {kind: int(number), "estimator": rows["estimator"][i], "normalize": rows["normalize"][i]}
        entropy = rating_entropy(view.ratings, view.rated & draw[rows["share"][i]][:, None], **options)
        inside = np.isin(view.rules, subsets[rows["subset"][i]])
        if rows["tau"][i] < math.inf:
            weights = np.asarray(entropy_weights(np.asarray(entropy)[inside], float(rows["tau"][i])))
        else:
            weights = np.full(inside.sum(), 1 / inside.sum())
        reward = delta[:, inside].astype(np.float64) @ weights
        close = abs(reward) < 1e-6
        expected = ((reward > 0) & ~close).mean() + 0.5 * close.mean()
        assert abs(rows["accuracy"][i] - expected) <= 0.5 * close.mean() + 1e-6
    accuracy = (rows["correct"] + rows["ties"] / 2)[rows["replicate"] == 0] / len(view.test)
    np.testing.assert_allclose(rows["accuracy"][rows["replicate"] == 0], accuracy, rtol=1e-6)


def test_the_report_shares_out_all_of_the_variance(finished):
    results = json.loads((finished / "results.json").read_text())
    found, rows = results["found"], rows_of(finished)
    shares = [row["share"] for row in found["main"] + found["pairs"]]
    assert sum(shares) + found["rest"] == pytest.approx(1)
    assert found["mean"] == pytest.approx(rows["accuracy"].mean(dtype=np.float64), abs=1e-7)
    assert results["settings"] == len(rows["index"])
    own = rows["replicate"] == 0
    whole = own & (rows["subset"] == rows["subset"].max())  # all rules
    for row in found["marginals"]["grid"]:
        mean = rows["accuracy"][whole & (rows["grid"] == row["value"])].mean(dtype=np.float64)
        assert row["accuracy"]["value"] == pytest.approx(mean, abs=1e-6)
    uniform = rows["accuracy"][whole & np.isinf(rows["tau"])].mean(dtype=np.float64)
    for row in found["gain"]:
        tau = float(row["tau"])
        mean = rows["accuracy"][whole & (rows["tau"] == tau)].mean(dtype=np.float64)
        assert row["gain"]["value"] == pytest.approx(mean - uniform, abs=1e-6)
    assert results["extremes"][0]["accuracy"] == pytest.approx(rows["accuracy"][own].max())
    page = (finished / "report.html").read_text()
    check_page(page)
    assert "human-rated" in page and "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")


def test_the_work_directory_has_the_page_and_all_numbers(finished):
    for name in ("results.json", "report.html", "choices.csv"):
        assert (finished / name).read_bytes() == (finished / "report" / name).read_bytes()


def test_equal_weights_are_always_among_the_settings(view_file, tmp_path):
    few = dict(scores=str(view_file), taus=(1.0,), grids=("3 bins", "5 bins"), subsets="full",
               estimators=("plug_in",), normalize=("none",))  # fmt: skip
    run_experiment(validated(AblateConfig(**few)), tmp_path / "run")
    assert set(rows_of(tmp_path / "run")["tau"].tolist()) == {1.0, math.inf}
    full = json.loads((tmp_path / "run" / "results.json").read_text())["full"]
    assert full["settings"] == 4 and set(full["best"]["values"]) == {"tau", "grid"}


def test_a_runs_folder_stands_for_its_scores(view_file, tmp_path):
    source = AblationSource(str(tmp_path))
    with pytest.raises(InputError, match="holds no ratings of a rating run.*has scored or rated"):
        source.view(Reading())
    (tmp_path / "score").mkdir()
    shutil.copyfile(view_file, tmp_path / "score" / "view-heads.npz")
    np.testing.assert_array_equal(source.view(Reading()).ratings, View.load(view_file).ratings)


@pytest.mark.parametrize("name", SHORT)
def test_short_flags_are_fields(name):
    config = AblateConfig()
    text = str(fields_of(config)[name])
    given = with_field(Given(config, "ablation", {}), name, text)
    assert fields_of(given.config) == fields_of(config) and name in given.overrides
    with pytest.raises(InputError, match=f"--{name}: is given beside --config.{name}"):
        with_field(given, name, text)


def test_a_short_flag_is_named_as_it_was_typed():
    with pytest.raises(InputError, match=r"--taus: 'a' is not values separated .*e\.g\. --taus=") as refused:
        with_field(Given(AblateConfig(), "ablation", {}), "taus", "a")
    assert "--config" not in str(refused.value)


def test_run_again_nothing_is_done_anew(finished, view_file, capsys):
    before = {path: path.stat().st_mtime_ns for path in finished.glob("*/*")}
    made = AblateConfig(scores=str(view_file), seeds=(3,), shares=(0.5, 1.0), replicates=2, part=700)
    run_experiment(validated(made), finished)
    assert {path: path.stat().st_mtime_ns for path in finished.glob("*/*")} == before
    assert "share of variance" in capsys.readouterr().out


def test_killed_and_run_again_it_ends_with_the_same_files(view_file, tmp_path):
    command = [sys.executable, "-m", "tests.experiments.ablate_and_kill", view_file, tmp_path]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment(1, tmp_path / "compiled"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["status"] == 0 and told["kept"] >= 3 and not told["done_again"], (told, done.stderr)
    for stage in ("prepare", "decide", "report"):
        whole, killed = (
            json.loads((tmp_path / run / stage / "manifest.json").read_text())["outputs"] for run in ("whole", "killed")
        )
        assert killed == whole, stage


def test_heads_are_fitted_anew_on_every_draw(tmp_path, view_file):
    """Features are mixed ratings under much noise, so that fewer prompts make other heads."""
    rng, view = np.random.default_rng(0), View.load(view_file)
    rules = len(view.rules)
    mixing = rng.normal(size=(rules, 12)).astype(np.float32)
    noise = lambda *shape: 2.0 * rng.normal(size=(*shape, 12)).astype(np.float32)  # noqa: E731
    rated = view.ratings @ mixing + noise(len(view.ratings))
    np.savez(tmp_path / "features.npz", rated=rated, test=view.test.scores @ mixing + noise(len(view.test), 2))
    made = AblateConfig(
        scores=str(view_file), features=str(tmp_path / "features.npz"), subsets="full", taus=(math.inf,),
        grids=("5 levels",), estimators=("plug_in",), normalize=("none",), seeds=(0, 1), shares=(0.2, 1.0),
    )  # fmt: skip
    run_experiment(validated(made), tmp_path / "run")
    accuracy = rows_of(tmp_path / "run")["accuracy"].reshape(2, 2)
    assert accuracy[0, 1] == accuracy[1, 1], "all of the data is the same under every seed"
    assert accuracy[0, 0] != accuracy[1, 0] or accuracy[0, 0] != accuracy[0, 1]
    with pytest.raises(InputError, match="stands beside the view"):
        np.savez(tmp_path / "features.npz", rated=rated[:-1], test=noise(len(view.test), 2))
        run_experiment(validated(made), tmp_path / "run")


@pytest.mark.parametrize(
    ("field", "value"),
    [("taus", (0.0,)), ("taus", ()), ("seeds", (1, 1)), ("shares", (1.5,)), ("subsets", "some"), ("part", 0)]
    + [("estimators", ("exact",)), ("normalize", ("max",)), ("bases", (1.0,)), ("replicates", -1), ("sampled", 0)],
)
def test_axes_that_make_no_sense_are_refused_by_field(field, value):
    with pytest.raises(InputError, match=rf"config\.{field}"):
        validated(changed(field, value, AblateConfig(scores="view.npz")))


def test_a_grid_of_ratings_is_refused_with_what_it_should_look_like():
    with pytest.raises(InputError, match="write e.g. '11 levels' or '10 bins'"):
        validated(AblateConfig(scores="view.npz", grids=("11",)))


def test_files_that_are_no_views_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"config\.scores: is empty"):
        validated(AblateConfig())
    with pytest.raises(InputError, match="none.npz: there is no such file"):
        run_experiment(validated(AblateConfig(scores=str(tmp_path / "none.npz"))), tmp_path / "run")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(InputError, match="this is no view"):
        run_experiment(validated(AblateConfig(scores=str(tmp_path / "other.npz"))), tmp_path / "run")


def test_agreement_is_an_axis_or_refused_in_words(view_file, tmp_path):
    few = dict(scores=str(view_file), taus=(1.0, math.inf), grids=("5 levels",), estimators=("plug_in",),
               normalize=("none",), subsets="full", agreement=("no", "yes"))  # fmt: skip
    view = View.load(view_file)
    found = rule_agreement(view.train, view.rules)
    if found.refused or found.by_labels:
        with pytest.raises(InputError, match="agreement is refused: .*use no"):
            run_experiment(validated(AblateConfig(**few)), tmp_path)
        rng, n = np.random.default_rng(0), 200
        quality = rng.normal(size=(n, 2, 1))
        scores = (quality * [2, 1, 1, 0.5] + rng.normal(size=(n, 2, 4))).astype(np.float32)
        train = Pairs(scores, quality[..., 0].argmax(1), np.arange(n), np.full(n, "all"))
        view = dataclasses.replace(view, train=train)
        found = rule_agreement(view.train, view.rules)
    view.save(tmp_path / "view.npz")
    run_experiment(validated(AblateConfig(**few | {"scores": str(tmp_path / "view.npz")})), tmp_path / "run")
    rows = rows_of(tmp_path / "run")
    at = (rows["agreement"] == "yes") & np.isinf(rows["tau"])
    assert rows["accuracy"][at].item() == pytest.approx(half_credit(view.test, found.weights)[0].mean())
