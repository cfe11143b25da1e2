"""`enc.fit(method="gradient")`: heads and backbone by gradient give the same kind of model as heads in closed form."""

import jax
import numpy as np
import pytest

import encore_jax as enc
from encore_jax.checkpoints.huggingface import load_backbone
from encore_jax.errors import InputError
from encore_jax.recipes.fit import fit
from encore_jax.reward.calibration import HELD_OUT
from encore_jax.reward.rated_rows import rated_rows
from tests.experiments import tiny_model
from tests.experiments.test_fit import RULES, records

FAST = dict(rows=2, length=256, tokens_per_end=16)
LR = {"heads": 0.05, "lora": 0.01, "all": 0.01}
PROMPTS, RESPONSES = ["Question 1?"], [["yes yes", "no no no"]]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_model.write(tmp_path_factory.mktemp("backbone"))


def trained(backbone, trainable, count=12, epochs=8, **options):
    settings = enc.TrainSettings(trainable=trainable, epochs=epochs, lr=LR[trainable], **FAST)
    return fit(records(count), backbone=backbone, buckets=(128, 256), method="gradient", train=settings, **options)


@pytest.fixture(scope="module", params=["heads", "lora", "all"])
def model(request, backbone):
    return trained(backbone, request.param, epochs=80 if request.param == "heads" else 8), request.param


def test_what_is_to_change_changes_and_learns(model, backbone):
    made, trainable = model
    _, before, _ = load_backbone(backbone, np.float32, lm_head=False)
    same = [np.array_equal(a, b) for a, b in zip(jax.tree.leaves(made.params), jax.tree.leaves(before), strict=True)]
    assert all(same) if trainable == "heads" else not any(same) if trainable == "all" else not all(same)
    rows = rated_rows(records(12))
    scores = np.concatenate(made.scores([p for p, _ in rows.texts], [[r] for _, r in rows.texts]))
    assert ((scores - rows.ratings) ** 2).mean() < rows.ratings.var(0).mean(), "better than always saying the mean"


def test_it_has_the_weights_of_its_ratings_and_a_passport(model, backbone):
    made, trainable = model
    closed = fit(records(12), backbone=backbone, buckets=(128, 256), folds=2)
    np.testing.assert_allclose(made.weights, closed.weights)
    assert made.rules == RULES and made.passport.weighting == "ENCORE"
    assert (made.passport.model_sha256 == closed.passport.model_sha256) is (trainable == "heads")
    assert made.passport.data_revision == closed.passport.data_revision


def test_saved_and_exported_it_scores_the_same(model, tmp_path):
    made, trainable = model
    rewards = made.rewards(PROMPTS, RESPONSES)[0]
    made.save(tmp_path / "out")
    again = enc.RewardModel.from_pretrained(tmp_path / "out")
    np.testing.assert_allclose(again.rewards(PROMPTS, RESPONSES)[0], rewards, atol=1e-5)
    assert again.rules == RULES and np.allclose(again.weights, made.weights)
    made.save(tmp_path / "out")  # over an earlier one
    folded = enc.RewardModel.from_pretrained(made.export(tmp_path / "hf", folded=True))
    np.testing.assert_allclose(folded.rewards(PROMPTS, RESPONSES)[0], rewards, atol=1e-5)
    if trainable != "heads":
        with pytest.raises(InputError, match="backbone: is not what these heads were trained with"):
            made.save(tmp_path / "other", backbone="elsewhere")


def test_with_checkpoints_the_same_call_trains_nothing_again(backbone, tmp_path):
    options = {"count": 6, "epochs": 2, "checkpoints": tmp_path, "held_out": records(4, seed=1)}
    first = trained(backbone, "all", **options)
    steps = (tmp_path / "metrics.jsonl").read_text()
    again = trained(backbone, "all", **options)
    assert (tmp_path / "metrics.jsonl").read_text() == steps and "held_out_loss" in steps
    np.testing.assert_array_equal(first.kernel, again.kernel)
    assert first.passport == again.passport
    with pytest.raises(InputError, match="another run|differ|identity|data_revision"):
        trained(backbone, "all", **(options | {"count": 7}))


def test_agreement_weights_come_from_the_trained_heads_scores(backbone):
    made = trained(backbone, "heads", 60, 2, compose=enc.CompositionSettings(method="agreement"))
    assert made.weights.sum() == pytest.approx(1, abs=1e-5) and (made.weights >= 0).all()


@pytest.mark.parametrize(("options", "told"), [
    ({"method": "sgd"}, "method: 'sgd' is unknown. Fix: use one of ridge, gradient"),
    ({"train": enc.TrainSettings()}, "train: method 'ridge' does not read it. Fix: pass method='gradient'"),
    ({"checkpoints": "x"}, "checkpoints: method 'ridge' does not read it"),
    ({"mesh": enc.MeshSettings(data=3)}, "mesh: .* does not fit 8 devices"),
    ({"held_out": []}, "held_out: method 'ridge' does not read it"),
    ({"method": "gradient", "train": {"lr": 1}}, "train: is a dict"),
    ({"method": "gradient", "train": enc.TrainSettings(lr=-1)}, "^train.lr: is out of range. Fix: a value that is"),
    ({"method": "gradient", "train": enc.TrainSettings(trainable="mlp")}, "^train.trainable: 'mlp' is unknown"),
    ({"method": "gradient", "train": enc.TrainSettings(loss="bradley_terry")}, "train.loss: 'bradley_terry' does not"),
    ({"method": "gradient", "train": enc.TrainSettings(use="best")}, "train.use: 'best' needs something to tell by"),
    ({"method": "gradient", "held_out": records(2, rules=("a", "b", "c"))}, "held_out: is rated on a, b, c"),
    ({"method": "gradient", "train": enc.TrainSettings(length=4)}, "are longer than the 4 tokens"),
    ({"method": "gradient", "mesh": enc.MeshSettings(data=3)}, "mesh: .* does not fit 8 devices"),
])  # fmt: skip
def test_what_it_refuses(options, told, backbone):
    with pytest.raises(InputError, match=told):
        fit(records(6), **{"backbone": backbone, "buckets": (128, 256)} | options)


def test_its_intervals_come_from_what_is_held_out(backbone, tmp_path):
    assert trained(backbone, "heads", count=6, epochs=1).calibration is None
    held_out = records(30, seed=1)
    made = trained(backbone, "lora", count=6, epochs=1, held_out=iter(held_out), coverage=0.8)
    assert made.passport.intervals.by == HELD_OUT and made.passport.intervals.prompts == 15
    assert made.calibration.note == made.calibrated(held_out, coverage=0.8).calibration.note
    made.save(tmp_path / "out")  # with its backbone, as an export
    again = enc.RewardModel.from_pretrained(tmp_path / "out").rewards(PROMPTS, RESPONSES, intervals=True)[0]
    right = made.rewards(PROMPTS, RESPONSES, intervals=True)[0]
    np.testing.assert_allclose(again.lower, right.lower, atol=1e-4)
