"""Parts of joint training: its texts and trees, its numbers against NumPy, and what it refuses."""

import dataclasses

import numpy as np
import pytest

from encore_jax.composition.settings import ENCORE, UNIFORM
from encore_jax.errors import InputError
from encore_jax.evaluation.joint import PREFERENCE_HEAD, accuracy_rows, error_rows
from encore_jax.evaluation.ramo import interval_of_means
from encore_jax.model.heads import PREFERENCE
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.outside import Sources
from encore_jax.recipes.run import run_experiment
from encore_jax.recipes.run_config import validated
from encore_jax.recipes.stages.ingest import Ingested, ingest
from encore_jax.recipes.stages.joint_texts import joint_targets, joint_texts, joint_trees
from encore_jax.rules import Rule, RulePool
from tests.experiments import tiny_joint, tiny_run
from tests.experiments.tiny_joint import config


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_joint.write_files(tmp_path_factory.mktemp("files"))


def test_comparisons_and_other_rated_responses_become_trees_of_their_own(files):
    run = ingested(files)
    texts = joint_texts(run, "subset", 0.5, 0)
    assert texts.domains == ["far", "near"] and not texts.rated[:, -1].any()
    assert texts.texts[-1][1] == "Never compared." and texts.rated[-1].tolist() == [True, False, True, False]
    known = {(r.prompt, r.response): r for r in run.rated}
    for text, ratings, rated in zip(texts.texts, texts.ratings, texts.rated, strict=True):
        record = known.get(text)
        assert rated[:-1].tolist() == ([False] * 3 if record is None else record.mask.tolist())
        np.testing.assert_allclose(ratings[:-1], 0 if record is None else np.where(record.mask, record.ratings, 0))
    rng = np.random.default_rng(0)
    sequences = [rng.integers(0, 50, rng.integers(3, 9)) for _ in texts.texts]
    trees = joint_trees(texts, sequences, 32)
    keys = [tree.keys for tree in trees.chosen(texts, np.ones(len(texts.texts), bool))]
    assert sorted(key for tree in keys for key in tree) == list(range(len(texts.texts)))
    assert [len(tree) for tree in keys] == [2] * texts.comparisons + [1] * (len(texts.texts) - 2 * texts.comparisons)
    assert joint_targets(texts, {}).pairs.tolist() == [[2 * n, 2 * n + 1] for n in range(texts.comparisons)]


def ingested(files) -> Ingested:
    return ingest(Sources(config(files).data), 0)


def test_accuracy_and_error_against_numpy():
    """Two domains, one model of each arm; the difference is paired, and unrated comparisons have no error."""
    rng = np.random.default_rng(0)
    cells = [{"arm": arm, "trained_on": "a", "name": arm} for arm in ("preferences", "rules", "joint")]
    scores = {cell["name"]: rng.standard_normal((40, 2, 3)).astype(np.float32) for cell in cells}
    weights = {"a": {ENCORE: np.array([0.8, 0.2], np.float32), UNIFORM: np.array([0.5, 0.5], np.float32)}}
    domain, cluster = np.array(["a"] * 25 + ["b"] * 15), np.arange(40) // 2
    rows = {(r["tested_on"], r["arm"], r["method"]): r
            for r in accuracy_rows(cells, scores, weights, domain, cluster, 0, 200)}  # fmt: skip
    right = scores["joint"][25:, :, :2] @ weights["a"][ENCORE]
    base = scores["preferences"][25:, :, 2]
    joint = rows["b", "joint", ENCORE]
    assert joint["accuracy"]["value"] == pytest.approx((right[:, 0] > right[:, 1]).mean())
    expected = (right[:, 0] > right[:, 1]).mean() - (base[:, 0] > base[:, 1]).mean()
    assert joint["minus_preferences"]["value"] == pytest.approx(expected) and joint["together"] is None
    head = rows["b", "joint", PREFERENCE_HEAD]
    right, base = ((scores[arm][25:, 0, 2] > scores[arm][25:, 1, 2]).astype(float) for arm in ("joint", "preferences"))
    expected = interval_of_means(right - base, cluster[25:], 0, 200, level=0.975)  # of two differences
    assert head["together"] == pytest.approx(expected)
    width = {key: head[key]["high"] - head[key]["low"] for key in ("together", "minus_preferences")}
    assert width["together"] > width["minus_preferences"]
    ratings, rated = rng.random((40, 2, 2)).astype(np.float32), rng.random((40, 2, 2)) < 0.4
    rated[30:] = False
    found = error_rows(cells, scores, ratings, rated, {"a": np.zeros(2)}, domain, cluster, 0, 200)
    errors = {(row["tested_on"], row["arm"]): row for row in found}
    each = [((scores["rules"][n, :, :2] - ratings[n])[rated[n]] ** 2).mean() for n in range(25) if rated[n].any()]
    assert errors["a", "rules"]["error"]["value"] == pytest.approx(np.mean(each), rel=1e-5)
    assert errors["a", "rules"]["n"] == len(each) and errors["b", "joint"]["n"] <= 5
    assert errors["a", "rules"]["minus_rules"] is None and errors["a", "constant"]["minus_rules"] is not None


@pytest.mark.parametrize(("changes", "field", "said"), [
    ({"trainable": "heads"}, "train.trainable", "share no parameter"),
    ({"loss": "bradley_terry"}, "train.loss", "use one of joint"),
    ({"method": "ridge"}, "train.method", "use one of gradient"),
    ({"rating_weight": -1.0}, "train.rating_weight", "not negative"),
    ({"train_on": ("near", "near")}, "train.train_on", "no domain twice"),
    ({"domain": "language"}, "domain", "use one of source, subset"),
])  # fmt: skip
def test_choices_that_make_no_sense_are_refused(files, changes, field, said):
    with pytest.raises(InputError, match=rf"config\.{field}: .*{said}"):
        config(files, **changes)


def test_what_cannot_be_trained_on_is_refused(files, tmp_path):
    with pytest.raises(InputError, match="no comparison is of 'elsewhere'.*far, near"):
        run_experiment(config(files, train_on=("elsewhere",)), tmp_path / "domain", until="train")
    refused = {
        PREFERENCE: "'preference'.*rename the rule",
        "silent": r"rule 'silent', domain near: 0 of \d+ rated responses .*: \d+ are not rated on it",
    }
    for rule, said in refused.items():
        path = tmp_path / f"{rule}.yaml"
        RulePool((*tiny_run.POOL.rules, Rule(rule, "The response is liked.")), "more").to_yaml(path)
        made = config(files)
        made = dataclasses.replace(made, data=dataclasses.replace(made.data, pool=str(path)))
        with pytest.raises(InputError, match=said):
            run_experiment(validated(made), tmp_path / rule, until="train")


def test_the_loss_has_a_recipe_of_its_own(files):
    other = tiny_run.config(files)
    other.train = TrainConfig(method="gradient", loss="joint")
    with pytest.raises(InputError, match=r"config\.train\.loss: .*joint_smollm2"):
        validated(other)
