"""A whole experiment in miniature, from files to results: what it says, and when it runs again."""

import json
import math
import shutil

import jax
import numpy as np
import pytest

from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.cli.idle_settings import idle_fields
from encore_jax.data import iter_comparisons, iter_rated, prompt_key
from encore_jax.data.probes import over_refusal_probe
from encore_jax.data.split import is_test
from encore_jax.errors import InputError
from encore_jax.evaluation.view import View
from encore_jax.recipes.run import plan_of, run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.probe import load_probe, probe_results
from encore_jax.recipes.stages.rate import Ratings
from encore_jax.reward.reward_model import RewardModel
from encore_jax.settings import fields_of
from encore_jax.train.features import extract_features
from tests.experiments import tiny_run
from tests.experiments.observed import counting, fields_read, observed

JUDGES = 3
EVERY = "ingest rate features train baselines score compose evaluate audit report".split()
strict_json = json.JSONDecoder(parse_constant=lambda name: pytest.fail(f"{name} is not JSON")).decode


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_run.write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def observed_run(files, tmp_path_factory):
    """The work directory of a complete run, its configuration, the fields of it that were read, how often it loaded
    the backbone, and how many plans of batches it ran."""
    workdir = tmp_path_factory.mktemp("runs") / "first"
    config = validated(tiny_run.config(files, JUDGES))
    with observed() as read, counting(load_backbone) as loaded, counting(extract_features) as computed:
        run_experiment(config, workdir)
    return workdir, config, fields_read(config, read), len(loaded), len(computed)


@pytest.fixture(scope="module")
def finished(observed_run):
    """The work directory of a complete run."""
    return observed_run[0]


@pytest.fixture(scope="module")
def results(finished):
    return strict_json((finished / "results.json").read_text())


@pytest.fixture
def again(files, finished, tmp_path):
    """Runs a copy of the finished work directory again; returns which stages did not skip."""
    workdir = tmp_path / "copy"
    shutil.copytree(finished, workdir)

    def run(change=lambda config: None, folder=None, **options):
        config = tiny_run.config(folder or files, JUDGES)
        change(config)
        stages = plan_of(config, workdir).stages
        before = {stage: (workdir / stage / "manifest.json").stat().st_mtime_ns for stage in stages}
        run_experiment(validated(config), workdir, **options)
        after = {stage: (workdir / stage / "manifest.json").stat().st_mtime_ns for stage in stages}
        return [stage for stage in stages if after[stage] != before[stage]]

    run.workdir = workdir
    return run


def test_a_run_reads_every_field_that_is_not_idle_and_no_idle_one(observed_run):
    _, config, read, *_ = observed_run
    fields, idle = set(fields_of(config)), set(idle_fields(config))
    whichever = {"train.loss", "train.checkpoints"}  # which chain it is, and what a rerun must not find
    assert fields - idle == read - whichever


def test_the_frozen_backbone_is_loaded_once_and_runs_texts_prompts_and_probe_once(observed_run):
    """Two kinds of ratings, the baselines, the gate and the over-refusal probe share it."""
    workdir, *_, loaded, computed = observed_run
    assert (loaded, computed) == (1, 3) and not list(workdir.rglob("batches"))


# What the results say


def view_of(results, name):
    return next(view for view in results["views"] if view["name"] == name)


def test_every_rule_is_told(results):
    main = view_of(results, "heads")
    assert main["label"] == "model-rated"
    assert [rule["name"] for rule in main["rules"]] == list(tiny_run.POOL.names)
    for rule in main["rules"]:
        assert rule["n"] > 0 and rule["bins"] == 5 and 0 < rule["entropy"] <= math.log(5) + 1e-6
        assert 0 <= rule["accuracy_ties_wrong"] <= rule["accuracy"]["value"] <= 1
        assert rule["accuracy"]["low"] <= rule["accuracy"]["high"] and 0 < rule["weight"] < 1
    assert sum(rule["weight"] for rule in main["rules"]) == pytest.approx(1, abs=1e-5)


def test_every_method_is_told_overall_and_by_subset(results):
    for view in results["views"]:
        names = [method["name"] for method in view["methods"]]
        assert len(set(names)) == len(names)
        assert {"ENCORE", "uniform", "random (Dirichlet)", "Bradley-Terry weights", "heuristic: refusal"} <= set(names)
        assert {"inverse variance", "best single rule", "best single rule (oracle)"} <= set(names)
        assert {"rule-based reward (hinge)"} <= set(names)
        assert {"ArmoRM gate", "single Bradley-Terry head"} <= set(names) or view["name"] != "heads"
        for method in view["methods"]:
            assert method["n"] == view["comparisons"]["test"] > 0
            assert method["accuracy"]["low"] <= method["accuracy"]["value"] <= method["accuracy"]["high"]
            assert set(method["subsets"]) == {"near", "far"}
            for total in ("n", "correct", "ties"):
                parts = sum(part[total] for part in method["subsets"].values())
                assert parts == pytest.approx(method[total], abs=1e-4)
            half = (method["correct"] + 0.5 * method["ties"]) / method["n"]
            assert method["accuracy"]["value"] == pytest.approx(half, abs=1e-5)
            assert method["accuracy_ties_wrong"] == pytest.approx(method["correct"] / method["n"], abs=1e-5)


def test_the_correlation_has_both_intervals(results):
    for view in results["views"]:
        premise = view["premise"]
        assert -1 <= premise["r"] <= 1 and len(premise["fisher"]) == len(premise["bootstrap"]) == 2
        assert premise["rules"] == len(view["rules"]) and premise["verdict"] and premise["reasons"]


def test_semi_synthetic_views_are_labelled_so(results):
    labels = {view["name"]: view["label"] for view in results["views"]}
    given = {"ratings": "as-rated", "heads": "model-rated"}
    assert labels == given | {"judges": "semi-synthetic", "judges-heads": "semi-synthetic"}
    assert len(view_of(results, "judges")["rules"]) == JUDGES
    assert "Not a measurement of any real judge" in view_of(results, "judges")["description"]
    assert set(results["noise_study"]["noise"]) == {"guess", "gaussian", "shrink", "flip"}


def test_what_a_number_depends_on_is_told(results, files, finished):
    passport = results["passport"]
    assert passport["rules"] == list(tiny_run.POOL.names) and passport["pool_sha256"] == tiny_run.POOL.digest
    assert (passport["pooling"], passport["dtype"], passport["max_length"]) == ("last", "float32", 256)
    assert passport["model"] == "model" and len(passport["model_sha256"]) == len(passport["template_sha256"]) == 64
    assert passport["pad_id"] == 257
    assert passport["entropy"] == [rule["entropy"] for rule in view_of(results, "heads")["rules"]]
    assert passport["weights"] == [rule["weight"] for rule in view_of(results, "heads")["rules"]]
    assert results["seeds"] == {"seed": 0} and results["name"] == "tiny"
    for package in ("jax", "flax", "numpy", "transformers", "encore_jax", "python"):
        assert results["versions"][package]
    assert results["config"]["data"]["path"] == str(files / "pairs.jsonl")
    assert results["device"] == f"{jax.device_count()} x {jax.devices()[0].device_kind}"
    sources = results["counts"]["ingest"]["sources"]
    assert set(sources) == {"comparisons", "ratings", "pool"} and sources["pool"] == tiny_run.POOL.digest
    assert results["counts"]["train"]["texts"] == tiny_run.PROMPTS * 3


def test_the_published_copies_are_the_stages_own(finished):
    for name in ("results.json", "report.html"):
        assert (finished / name).read_bytes() == (finished / "report" / name).read_bytes()
    assert (finished / "results.json").read_bytes() == (finished / "evaluate" / "results.json").read_bytes()


# What the stages did


def test_held_out_prompts_are_never_trained_on(finished):
    rated = list(iter_rated(finished / "ingest" / "rated.jsonl", pool=tiny_run.POOL))
    keys = [prompt_key(record.prompt) for record in rated]
    held = is_test(keys, 0.5, seed=0)
    trained = np.load(finished / "train" / "rows.npy")
    assert not held[trained].any() and 0 < held.sum() and len(trained) == (~held).sum()
    for path in (finished / "score").glob("view-*.npz"):
        view = View.load(path)
        train, test = set(view.train.cluster.tolist()), set(view.test.cluster.tolist())
        given = view.name == "ratings"  # of whole comparisons only
        rated_prompts = set(view.rating_cluster.tolist())
        assert not train & test and (rated_prompts > train if given else rated_prompts == train)
        assert given or len(view.train) + len(view.test) == 2 * tiny_run.PROMPTS


def test_rules_of_negative_direction_are_turned_once(finished, files):
    ratings = Ratings.load(finished / "rate")
    raw = [json.loads(line)["ratings"] for line in (files / "rated.jsonl").read_text().splitlines()]
    np.testing.assert_allclose(ratings.human[:, 0], [1 - row["violence"] for row in raw])
    np.testing.assert_array_equal(ratings.rated[:, 2], [row["kindness"] is not None for row in raw])
    harmless = [1 - (row["violence"] + row["privacy"]) / 2 for row in raw]
    np.testing.assert_allclose(ratings.quality, harmless, atol=1e-6)
    assert ratings.simulated.shape == (len(raw), JUDGES) and np.isfinite(ratings.simulated).all()


def test_features_beside_the_view_are_those_that_its_scores_come_from(finished):
    view = View.load(finished / "score" / "view-heads.npz")
    features, heads = (np.load(finished / path) for path in ("score/features.npz", "train/heads-human.npz"))
    with features, heads:
        assert len(features["rated"]) == len(view.ratings)
        np.testing.assert_allclose(features["test"] @ heads["kernel"] + heads["bias"], view.test.scores, atol=1e-5)


def test_judges_scores_are_their_answers_on_the_compared_texts(finished):
    ratings, view = Ratings.load(finished / "rate"), View.load(finished / "score" / "view-judges.npz")
    records = list(iter_rated(finished / "ingest" / "rated.jsonl", pool=tiny_run.POOL))
    row = {(record.prompt, record.response): i for i, record in enumerate(records)}
    comparisons = list(iter_comparisons(finished / "ingest" / "comparisons.jsonl"))
    held = is_test([prompt_key(c.prompt) for c in comparisons], 0.5, seed=0)
    answers = [
        [ratings.simulated[row[c.prompt, text]] for text in c.responses]
        for c, test in zip(comparisons, held, strict=True)
        if test
    ]
    np.testing.assert_array_equal(view.test.scores, answers)


# Doing it again


def test_a_second_run_with_the_same_seed_is_equal_to_the_bit(files, finished, tmp_path):
    run_experiment(validated(tiny_run.config(files, JUDGES)), tmp_path / "second")
    for path in sorted(finished.rglob("*")):
        if path.is_file() and path.name != "manifest.json" and path.suffix != ".html":
            assert (tmp_path / "second" / path.relative_to(finished)).read_bytes() == path.read_bytes(), path


def test_a_complete_run_skips_everything(again):
    assert again() == []


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        (lambda c: setattr(c.compose, "tau", 0.5), ["compose", "evaluate", "audit", "report"]),
        pytest.param(lambda c: setattr(c, "name", "renamed"), ["evaluate", "audit", "report"], marks=pytest.mark.slow),
        pytest.param(lambda c: setattr(c.data, "limit", 70), EVERY, marks=pytest.mark.slow),
        (lambda c: setattr(c.train, "remat", "none"), []),  # no more than rounding
    ],
    ids=["tau", "name", "limit", "remat"],
)
def test_a_changed_setting_runs_what_depends_on_it(again, change, stages):
    assert again(change) == stages


def test_a_lost_copy_of_the_results_comes_back(again):
    for name in ("results.json", "report.html", "audit.html"):
        (again.workdir / name).unlink()
    assert again() == []
    assert (again.workdir / "audit.html").read_bytes() == (again.workdir / "audit" / "audit.html").read_bytes()
    assert (again.workdir / "results.json").read_bytes() == (again.workdir / "report" / "results.json").read_bytes()


def test_a_damaged_artefact_is_made_again_and_what_follows_is_not(again):
    (again.workdir / "rate" / "ratings.npz").write_bytes(b"junk")
    assert again() == ["rate"]


def test_a_stage_can_be_run_again_and_later_ones_follow_only_if_it_changed(again):
    assert again(rerun="ingest") == ["ingest"]


def test_ratings_of_the_compared_responses_are_evaluated_as_they_are_before_heads_trained_on_them(files, tmp_path):
    """Every response rated on every rule: the composed ratings decide, without a model, what they can decide."""
    rows = [json.loads(line) for line in (files / "rated.jsonl").read_text().splitlines()]
    for row in rows:
        row["ratings"] = {name: 0.5 if value is None else value for name, value in row["ratings"].items()}
    (tmp_path / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = tiny_run.config(files)
    config.data.ratings_path = str(tmp_path / "rated.jsonl")
    run_experiment(validated(config), tmp_path / "run")
    results = strict_json((tmp_path / "run" / "results.json").read_text())
    assert [(view["name"], view["label"]) for view in results["views"]] == [
        ("ratings", "as-rated"), ("heads", "model-rated"),
    ]  # fmt: skip
    given = {(row["prompt"], row["response"]): row["ratings"] for row in rows}
    test = [c for c in iter_comparisons(tmp_path / "run" / "ingest" / "comparisons.jsonl", pool=tiny_run.POOL)
            if is_test([prompt_key(c.prompt)], config.data.test_fraction, config.seed)[0]]  # fmt: skip

    def reward(comparison, text):
        return sum(given[comparison.prompt[0].content, text][rule.name] * rule.direction for rule in tiny_run.POOL)

    margin = np.array([reward(c, c.responses[c.preferred]) - reward(c, c.responses[1 - c.preferred]) for c in test])
    expected = np.where(np.abs(margin) < 1e-9, 0.5, margin > 0).mean()
    methods = {method["name"]: method for method in results["views"][0]["methods"]}
    assert methods["uniform"]["accuracy"]["value"] == pytest.approx(expected) and methods["uniform"]["n"] == len(test)
    assert results["passport"]["weights"] == [rule["weight"] for rule in results["views"][1]["rules"]]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Your ratings: " in page and "no ratings of their own" not in page
    assert page.index("composed without any model") < page.index("Rule heads on the frozen backbone")


def test_ratings_as_they_are_leave_out_comparisons_that_lack_one_and_say_how_many(results, finished):
    view = view_of(results, "ratings")
    used, total = view["comparisons"]["train"] + view["comparisons"]["test"], results["counts"]["ingest"]["comparisons"]
    assert 0 < used < total
    assert f"{used} of the {total} comparisons" in view["description"]
    assert f"the other {total - used} are left out" in view["description"]


def test_a_changed_rule_text_changes_the_rule_pool_and_everything(again, files, tmp_path):
    copied = tmp_path / "files"
    shutil.copytree(files, copied)
    again(folder=copied)
    pool = (copied / "pool.yaml").read_text()
    (copied / "pool.yaml").write_text(pool.replace("is kind", "is very kind"))
    assert again(folder=copied, until="rate")[0] == "ingest"
    assert "is very kind" in (again.workdir / "ingest" / "pool.yaml").read_text()


def test_it_stops_where_it_is_told(files, tmp_path):
    run_experiment(validated(tiny_run.config(files)), tmp_path, until="rate")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["ingest", "rate"]


# What is left out, and the probe


def test_texts_that_are_too_long_are_dropped_whole_and_counted(files, finished, tmp_path):
    config = tiny_run.config(files)
    config.model.buckets = (64,)
    run_experiment(validated(config), tmp_path, until="score")
    counts = json.loads((tmp_path / "train" / "counts.json").read_text())
    view = View.load(tmp_path / "score" / "view-heads.npz")
    assert 0 < counts["dropped"] < counts["texts"]
    assert counts["comparisons_dropped_too_long"] == 80 - len(view.train) - len(view.test) > 0
    assert counts["rated_responses_for_training"] == len(np.load(tmp_path / "train" / "rows.npy"))
    assert np.isnan(np.load(tmp_path / "features" / "texts.npy")).all(1).sum() == counts["dropped"]


def probed(workdir):
    """Scores ``[P, 2, K]`` of the probe's pairs."""
    scores = load_probe(workdir / "train")
    return scores.reshape(-1, 2, scores.shape[1])


def test_the_over_refusal_probe_is_scored_by_the_saved_model_and_shown(results, finished):
    """Byte-level tokens make some of the probe's texts too long for the tiny model: they are left out and counted."""
    found, probe = results["over_refusal"], over_refusal_probe()
    kept = np.isfinite(probed(finished)).all((1, 2))
    assert sum(found["left_out"].values()) == (~kept).sum() and 10 < kept.sum() < len(probe)
    model = RewardModel.from_pretrained(finished / "compose")
    asked = [pair for pair, scored in zip(probe, kept, strict=True) if scored]
    ordered = [[c.responses[c.preferred], c.responses[1 - c.preferred]] for c in asked]
    scores = np.stack(model.scores([c.prompt for c in asked], ordered))
    np.testing.assert_allclose(scores, probed(finished)[kept], atol=1e-4)
    assert {row["name"] for row in found["rules"]} == set(tiny_run.POOL.names) and found["composed"] == "ENCORE"
    assert {"ENCORE", "uniform", "critical rules, r = 1"} <= {row["name"] for row in found["methods"]}
    assert "refuse/help" in (finished / "report.html").read_text() + (finished / "audit.html").read_text()


def test_training_of_an_older_version_says_how_the_probe_is_scored(again):
    (again.workdir / "train" / "probe.npz").unlink()
    probe = load_probe(again.workdir / "train")
    assert "--rerun=train" in probe_results(probe, (), dict, "ENCORE", 0)["not_scored"]


def test_a_reward_composed_by_agreement_or_refused(files, finished, tmp_path):
    """Three rules on forty prompts say little in common: whatever comes of it, it is said."""
    config = tiny_run.config(files, JUDGES)
    config.compose.method = "agreement"
    shutil.copytree(finished, tmp_path / "run")
    try:
        run_experiment(validated(config), tmp_path / "run", until="compose")
    except InputError as refused:
        assert "agreement is refused: " in str(refused) and "--config.compose.method=entropy" in str(refused)
        return
    passport = json.loads((tmp_path / "run" / "compose" / "passport.json").read_text())
    assert passport["weighting"] == "agreement" and passport["weights"] == passport["agreement"]
