"""One call from Python trains a model: no configuration, no stages."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encore_jax.checkpoints.assemble import Extras
from encore_jax.data.prefix_tree import make_trees
from encore_jax.errors import InputError
from encore_jax.parallel.mesh import MeshSettings, make_mesh
from encore_jax.train import goodput, trackers
from encore_jax.train.batches import Targets
from encore_jax.train.fine_tune import Task, _score_head, fine_tune
from encore_jax.train.settings import TrainSettings
from tests.experiments import tiny_model

LENGTH, PAIRS = 32, 64
GOOD, BAD = 7, 9
SETTINGS = dict(rows=2, length=LENGTH, tokens_per_end=8, trainable="all", loss="bradley_terry", lr=0.02, epochs=4)


def task():
    """The preferred answer ends with one token, the other with another; the last comparisons are held out."""
    rng = np.random.default_rng(0)
    prompts = [rng.integers(20, 200, 5).tolist() for _ in range(PAIRS)]
    trees = [
        tree
        for i, p in enumerate(prompts)
        for tree in make_trees([p + 4 * [GOOD], p + 4 * [BAD]], [2 * i, 2 * i + 1], LENGTH)
    ]
    nothing = np.zeros((2 * PAIRS, 1), np.float32)
    targets = Targets(nothing, nothing.astype(bool), [(2 * i, 2 * i + 1) for i in range(PAIRS)])
    one = np.ones(1, np.float32)
    return Task(trees[:-4], targets, trees[-4:], targets, one, 0 * one)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model.write(tmp_path_factory.mktemp("model"))


def tuned(model, folder, identity=None, **changes):
    return fine_tune(
        tiny_model.decoder_config(), model, task(), TrainSettings(**(SETTINGS | changes)),
        mesh=make_mesh(MeshSettings(), jax.devices()[:1]), dtype=jnp.float32, seed=0,
        checkpoints=folder / "checkpoints", metrics=folder, identity=identity or {"data": "by hand"},
    )  # fmt: skip


def test_it_learns_resumes_and_refuses_checkpoints_of_another_run(model, tmp_path):
    first, asked = tuned(model, tmp_path), task()
    scores = first.scores(asked.watched, asked.watched_targets)
    held_out = sorted(scores)
    assert held_out == list(range(2 * PAIRS - 8, 2 * PAIRS))
    assert all(scores[key][0] > scores[key + 1][0] for key in held_out[::2]), "it was not learnt which answer is better"
    again = tuned(model, tmp_path)
    assert again.summary["steps"] == first.summary["steps"] == again.summary["used_step"]
    assert first.summary["steps_of_this_process"] and not again.summary["steps_of_this_process"]
    for ours, theirs in zip(first.heads, again.heads, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(InputError, match="data"):
        tuned(model, tmp_path, {"data": "other"})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    watched = [line["held_out_loss"] for line in lines if "held_out_loss" in line]
    assert len(watched) >= 2 and watched[-1] < watched[0], "what is held out is measured, and written down"


class Recorder:
    """Stands for the package's, and keeps what is recorded."""

    def __init__(self):
        self.methods, self.steps = [], []

    def __getattr__(self, method):
        def record(step=None, **times):
            self.methods.append(method)
            self.steps += [step] if step is not None else []

        return record


def test_a_frozen_backbone_is_read_again_where_a_run_goes_on(model, tmp_path, monkeypatch):
    """It is in no checkpoint. Every step is told to ml-goodput-measurement, once."""
    scores, recorder = [], Recorder()
    monkeypatch.setattr(goodput, "connect", lambda job: recorder)
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda name: name)
    for _ in range(2):
        found, asked = tuned(model, tmp_path, trainable="heads", epochs=1, trackers=("goodput",)), task()
        scores.append(found.scores(asked.watched, asked.watched_targets))
    assert not found.summary["steps_of_this_process"], "the second time it only reads its checkpoint"
    for key, own in scores[0].items():
        np.testing.assert_array_equal(own, scores[1][key])
    assert recorder.steps == list(range(found.summary["steps"])) and recorder.methods[0] == "record_job_start_time"
    assert [method for method in recorder.methods if method != "flush"][-1] == "record_job_end_time"
    assert recorder.methods.count("record_custom_badput_event_end_time") >= 1, "checkpoints"


def test_a_reward_head_of_other_rules_is_refused_with_their_number(tmp_path):
    two = Extras({}, score=np.zeros((16, 2), np.float32))
    for extras, words in ((two, "2 heads"), (Extras({}), "no reward head")):
        with pytest.raises(InputError, match=f"the checkpoint has {words}, and training is to start from 1"):
            _score_head(extras, tmp_path, 1)
    assert _score_head(two, tmp_path, 2).shape == (16, 2)
