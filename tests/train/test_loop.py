"""The loop: the same result after every kind of interruption, nothing lost, nothing silent."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from encore_jax.errors import InputError
from encore_jax.parallel.mesh import MeshSettings
from encore_jax.train import checkpoint
from encore_jax.train.checkpoint import Checkpoints, _Best
from encore_jax.train.loop import fit
from encore_jax.train.metrics import MetricsLog, read_metrics
from encore_jax.train.packing import count_steps, packed_steps, step_shape
from encore_jax.train.preemption import EXIT_PREEMPTED, Preempted
from encore_jax.train.state import TrainState
from tests.train.tiny_training import (
    CFG,
    UNIFORM,
    assert_close,
    assert_identical,
    batches,
    params,
    program,
    settings,
    start,
    targets,
    trees,
)

EPOCHS = 8
COMPILED = {}
"""Programs by settings: every run on the same ones uses the same compiled step."""
PASSPORT = {"rules": ["a", "b", "c"], "seed": 0}


class Killed(Exception):
    """Stands for a kill."""


def number_of_steps(config):
    return count_steps(packed_steps(trees(), step_shape(config), 0, EPOCHS))[0]


def train(folder, *, kill_at=None, mesh=None, devices=1, evaluate=None, on_step=None, spoilt=-1, **changes):
    """Trains for some epochs, killed after reporting step `kill_at` if one is given; returns state and losses."""
    config = settings(**changes)
    steps, losses = number_of_steps(config), {}
    key = f"{config} {mesh} {devices}"
    made = COMPILED.setdefault(key, program(config, mesh, devices, steps))

    def report(number, metrics):
        losses[number] = metrics["loss"]
        if on_step:
            on_step(number)
        if number == kill_at:
            raise Killed

    def frozen():
        return {name: value for name, value in start(made).frozen.items()}

    with Checkpoints(folder, PASSPORT, keep=config.keep, best=config.keep_best) as checkpoints:
        state = fit(
            made, lambda: start(made), frozen, batches(config, EPOCHS, spoilt=spoilt), UNIFORM, checkpoints,
            steps=steps, report=report, evaluate=evaluate,
        )  # fmt: skip
    assert made.jitted_step._cache_size() <= 1  # compiled once for all runs, restored or not
    return state, losses


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return train(tmp_path_factory.mktemp("whole"))


def test_loss_falls(undisturbed):
    _, losses = undisturbed
    assert sorted(losses) == list(range(len(losses))) and len(losses) > 12
    values = list(losses.values())
    assert np.mean(values[-4:]) < 0.5 * np.mean(values[:4])


@pytest.mark.parametrize("kill_at", [2, 6])
def test_interrupted_runs_end_bit_identical(undisturbed, tmp_path, kill_at):
    with pytest.raises(Killed):
        train(tmp_path, kill_at=kill_at)
    resumed, rest = train(tmp_path)
    assert min(rest) == kill_at // 4 * 4
    assert_identical(undisturbed[0], resumed)
    again, nothing = train(tmp_path)
    assert not nothing
    assert_identical(undisturbed[0], again)


@pytest.mark.parametrize("trainable", [pytest.param("heads", marks=pytest.mark.slow), "lora"])
def test_a_frozen_backbone_is_not_stored_and_comes_back(tmp_path, trainable):
    whole, _ = train(tmp_path / "whole", trainable=trainable, lora_rank=2)
    with pytest.raises(Killed):
        train(tmp_path / "cut", kill_at=6, trainable=trainable, lora_rank=2)
    resumed, rest = train(tmp_path / "cut", trainable=trainable, lora_rank=2)
    assert min(rest) == 4
    assert_identical(whole, resumed)


def test_sigterm_saves_and_leaves_with_a_code_of_its_own(undisturbed, tmp_path):
    def terminate(number):
        if number == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Preempted) as stopped:
        train(tmp_path, on_step=terminate)
    assert stopped.value.code == EXIT_PREEMPTED == 75
    assert 6 <= stopped.value.step <= 8 and stopped.value.step % 4  # not a step at which it would have saved anyway
    assert signal.getsignal(signal.SIGTERM) is before
    resumed, rest = train(tmp_path)
    assert min(rest) == stopped.value.step
    assert_identical(undisturbed[0], resumed)


EIGHT, FOUR = dict(mesh=MeshSettings(fsdp=4, tensor=2), devices=8), dict(mesh=MeshSettings(data=2), devices=4)


def test_a_run_moves_to_more_devices(undisturbed, tmp_path):
    """One device's run, killed and gone on with on two, agrees up to rounding with the undisturbed one."""
    with pytest.raises(Killed):
        train(tmp_path, kill_at=6)
    moved, rest = train(tmp_path, mesh=MeshSettings(), devices=2)
    assert min(rest) == 4
    for x, y in zip(jax.tree.leaves(undisturbed[0].trainable), jax.tree.leaves(moved.trainable), strict=True):
        x, y = np.asarray(x), np.asarray(y)
        assert np.linalg.norm(x - y) <= 1e-5 * np.linalg.norm(x)


@pytest.mark.slow
def test_a_run_moves_between_meshes(tmp_path):
    """8 devices restored to 8 are bit-identical to the undisturbed 8; 8 to 4 to 8 agree up to rounding."""
    whole, _ = train(tmp_path / "whole", rows=4, save_every=2, **EIGHT)
    for folder in ("same", "moved"):
        with pytest.raises(Killed):
            train(tmp_path / folder, kill_at=4, rows=4, save_every=2, **EIGHT)
    same, _ = train(tmp_path / "same", rows=4, save_every=2, **EIGHT)
    assert_identical(whole, same)
    with pytest.raises(Killed):
        train(tmp_path / "moved", kill_at=6, rows=4, save_every=2, **FOUR)
    moved, rest = train(tmp_path / "moved", rows=4, save_every=2, **EIGHT)
    assert min(rest) == 6
    for x, y in zip(jax.tree.leaves(whole.trainable), jax.tree.leaves(moved.trainable), strict=True):
        assert np.linalg.norm(x - y) <= 1e-6 * np.linalg.norm(x)


def damage(folder):
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_damaged_newest_checkpoint_falls_back_and_a_fully_damaged_folder_is_refused(undisturbed, tmp_path):
    folder = tmp_path / "run"
    train(folder)
    steps = sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())
    assert len(steps) == 2
    damage(folder / str(steps[-1]))
    resumed, rest = train(folder)
    assert min(rest) == steps[0]
    assert_identical(undisturbed[0], resumed)
    assert sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) == steps
    damage(folder / str(steps[-1]))
    train(folder)
    aside = folder / "damaged"  # nothing is thrown away
    assert sorted(p.name for p in aside.iterdir()) == [str(steps[-1]), f"{steps[-1]}.1", "README"]
    for step in steps:
        damage(folder / str(step))
    with pytest.raises(InputError, match="none of the checkpoints"):
        train(folder)
    assert sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) == steps


def test_a_checkpoint_of_another_run_is_refused_naming_the_difference(tmp_path):
    train(tmp_path)
    made = program(settings())
    with Checkpoints(tmp_path, PASSPORT | {"seed": 1}) as other:
        with pytest.raises(InputError, match="seed: 0 there, 1 here"):
            other.restore(made.abstract_state)


def test_a_checkpoint_of_another_shape_is_not_silently_used(tmp_path):
    train(tmp_path, trainable="heads")
    with pytest.raises(InputError, match="none of the checkpoints"):
        train(tmp_path, trainable="all")


def test_a_checkpoint_of_another_run_and_shape_is_called_another_runs(tmp_path):
    train(tmp_path / "run", trainable="heads")
    made = program(settings(trainable="all"))
    with Checkpoints(tmp_path / "run", PASSPORT | {"seed": 1}) as other:
        with pytest.raises(InputError, match="another run: seed: 0 there, 1 here"):
            other.restore(made.abstract_state)
    assert not (tmp_path / "run" / "damaged").exists()


def test_a_checkpoint_that_cannot_be_moved_aside_is_left_where_it_is(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    train(folder)
    newest = max(int(p.name) for p in folder.iterdir() if p.name.isdigit())
    damage(folder / str(newest))
    (folder / "damaged").write_text("in the way")
    with pytest.raises(InputError, match=rf"\[{newest}\] cannot be read, and not be moved either: .*by hand"):
        train(folder)
    assert (folder / str(newest)).exists()


def test_the_best_checkpoint_is_kept_besides_the_newest(tmp_path):
    values = iter([3.0, 1.0, 2.0, 5.0, 4.0, 6.0, 7.0, 8.0])
    train(tmp_path, evaluate=lambda state: {"loss": next(values)}, keep=1, save_every=3)
    with Checkpoints(tmp_path, PASSPORT, keep=1, best="loss") as found:
        assert found.best_step == 6 and len(found.steps) == 2
        made = program(settings())
        best = found.restore(made.abstract_state, found.best_step)
    assert int(best.state.step) == 6


def small_state(step):
    return TrainState(jnp.int32(step), {"w": jnp.float32(step)}, {"m": jnp.float32(-step)}, {})


METRICS = {"loss": [3.0, 1.0, 2.5, float("nan"), 2.0, 1.0, 0.5, 4.0],
           "accuracy": [0.1, 0.9, 0.6, float("inf"), 0.8, 0.9, 0.95, 0.2],
           "recall": [-2.0, -0.1, -0.5, float("nan"), -0.3, -0.1, 0.0, -9.0]}  # fmt: skip
"""Best at the second step, then worse, then not finite, worse, equal (the first stays best), better and worse."""


@pytest.mark.parametrize("metric", METRICS)
def test_the_best_checkpoint_is_remembered_over_restarts(metric, tmp_path):
    """The lowest loss, the highest accuracy or recall; other metrics beside it decide nothing."""
    best = [1, 2, 2, 2, 2, 2, 7, 7]
    others = {name: values[0] for name, values in METRICS.items()}
    for step, value in enumerate(METRICS[metric], 1):  # every save in a process of its own, as it were
        with Checkpoints(tmp_path, PASSPORT, keep=1, best=metric) as checkpoints:
            checkpoints.save(small_state(step), {"at": step}, others | {metric: value})
            checkpoints.wait()
            assert checkpoints.best_step == best[step - 1]
            assert checkpoints.steps == sorted({best[step - 1], step})
    with Checkpoints(tmp_path, PASSPORT, keep=1, best=metric) as checkpoints:
        for step in (7, None):
            state, iterator = checkpoints.restore(jax.eval_shape(lambda: small_state(0)), step)
            assert float(state.trainable["w"]) == iterator["at"] == (step or 8)
            assert float(state.optimizer["m"]) == -(step or 8)
        other = next(name for name in METRICS if name != metric)
    with Checkpoints(tmp_path, PASSPORT, keep=1, best=other) as checkpoints:
        assert checkpoints.best_step is None  # a note of another metric says nothing


def test_heads_start_where_they_are_told_to():
    """Of a fitted head both parts are taken over, each alone too, and what is not given is drawn by the key."""
    made = program(settings(trainable="heads"))
    backbone, key = jax.device_put(params()["backbone"], made.param_shardings["backbone"]), jax.random.key(5)
    drawn = made.start(backbone, key).trainable["heads"]
    bias, kernel = np.arange(3.0) + 1, np.ones((CFG.width, 3)) / 7
    for given in ({}, {"bias": bias}, {"kernel": kernel}, {"bias": bias, "kernel": kernel}):
        heads = made.start(backbone, key, **given).trainable["heads"]
        np.testing.assert_allclose(heads["bias"], given.get("bias", np.zeros(3)))
        np.testing.assert_allclose(heads["kernel"], given.get("kernel", drawn["kernel"]), rtol=1e-6)


def test_processes_make_sure_that_they_share_the_folder_before_they_use_it(tmp_path, monkeypatch):
    def refuse(folder):
        raise InputError("is not shared", where=str(folder))

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(checkpoint, "check_shared", refuse)
    with pytest.raises(InputError, match="is not shared"):
        Checkpoints(tmp_path / "of two", PASSPORT)
    assert not (tmp_path / "of two").exists()


def test_without_a_metric_no_checkpoint_is_best(tmp_path):
    with Checkpoints(tmp_path, PASSPORT, keep=2, best="") as checkpoints:
        for step in range(1, 5):
            checkpoints.save(small_state(step), {}, {"loss": float(step)})
        checkpoints.wait()
        assert checkpoints.best_step is None and checkpoints.steps == [3, 4]
    with pytest.raises(InputError, match="keep_best: 'auc' is unknown. Fix: use one of .*accuracy"):
        Checkpoints(tmp_path, PASSPORT, best="auc")


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (PASSPORT | {"seed": 1}, "seed: 1 there, 0 here"),
        (PASSPORT | {"rules": ["a", "c", "b"]}, "rules: .* there"),
        ({"rules": PASSPORT["rules"]}, "seed: None there, 0 here"),
        (PASSPORT | {"more": 3}, "more: 3 there, None here"),
    ],
)
def test_another_runs_checkpoint_is_refused_whichever_field_differs(theirs, said, tmp_path):
    like = jax.eval_shape(lambda: small_state(0))
    with Checkpoints(tmp_path, theirs) as checkpoints:
        checkpoints.save(small_state(1), {})
    with Checkpoints(tmp_path, PASSPORT) as checkpoints:
        with pytest.raises(InputError, match=f"it belongs to another run: {said}"):
            checkpoints.restore(like)
        wanted = {
            "w": jax.ShapeDtypeStruct((), jnp.float32, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[0]))
        }
        with pytest.raises(InputError, match="it belongs to another run: .* differ"):
            checkpoints.restore_trainable(wanted, 1, PASSPORT | {"more": None})
        with pytest.raises(InputError, match="there is no checkpoint 2"):
            checkpoints.restore_trainable(wanted, 2, PASSPORT)
    with Checkpoints(tmp_path, theirs) as checkpoints:
        assert float(checkpoints.restore_trainable(wanted, 1, theirs)["w"]) == 1


@pytest.mark.parametrize(
    "content",
    ["[]", "{", "[" * 10_000, '{"metric": "loss"}', '{"metric": "loss", "step": 1.5, "value": 0}',
     '{"metric": "loss", "step": 1, "value": NaN}', '{"metric": "loss", "step": 1, "value": -Infinity}',
     '{"metric": "loss", "step": 1, "value": "0"}', '{"metric": ["loss"], "step": 1, "value": 0}', "\xff"],
)  # fmt: skip
def test_a_note_of_the_best_that_cannot_be_is_none(content, tmp_path):
    """A value of NaN or minus infinity would never be improved on."""
    path = epath.Path(tmp_path / "best.json")
    (tmp_path / "best.json").write_bytes(content.encode("latin-1"))
    best = _Best(path, "loss")
    assert best.step is None
    best.update(7, 3.0)
    assert _Best(path, "loss").step == 7


def test_nan_stops_the_run_naming_step_and_texts(tmp_path):
    key = int(np.flatnonzero(targets().rated.any(1))[0])
    with pytest.raises(InputError, match=rf"step \d+, texts .*\b{key}\b"):
        train(tmp_path, spoilt=key, save_every=100)


def test_no_state_is_saved_whose_loss_was_not_finite(tmp_path):
    key, seen = int(np.flatnonzero(targets().rated.any(1))[0]), []
    with pytest.raises(InputError, match="step (\\d+), texts"):
        train(tmp_path, spoilt=key, save_every=1, on_step=seen.append)
    made = program(settings())
    with Checkpoints(tmp_path, PASSPORT) as found:
        newest = found.restore(made.abstract_state)
    assert (newest is None) == (not seen) and len(seen) < number_of_steps(settings())
    if newest:
        assert int(newest.state.step) == len(seen)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves(newest.state.trainable))


def test_metrics_are_read_one_step_late_and_states_are_donated(tmp_path):
    """The host reads a step's metrics only once the device has the next step."""
    made, order, given = program(settings(), steps=number_of_steps(settings())), [], []

    class Watched:
        def __getattr__(self, name):
            return getattr(made, name)

        def step(self, state, batch, weights):
            order.append(("step", len(given)))
            given.append(state)
            return made.step(state, batch, weights)

    with Checkpoints(tmp_path, PASSPORT) as checkpoints:
        fit(Watched(), lambda: start(made), dict, batches(made.settings, EPOCHS), UNIFORM, checkpoints, steps=6,
            report=lambda number, metrics: order.append(("read", number)))  # fmt: skip
    # saved after 4 steps, for which the loss of the fourth must be known
    steps = [("step", 0), ("step", 1), ("read", 0), ("step", 2), ("read", 1), ("step", 3), ("read", 2), ("read", 3)]
    assert order == [*steps, ("step", 4), ("step", 5), ("read", 4), ("read", 5)]
    assert all(x.is_deleted() for state in given for x in jax.tree.leaves(state.trainable))


def test_metrics_survive_a_kill_without_gaps_or_repeats(tmp_path):
    log = MetricsLog(tmp_path)
    for step in range(5):
        log(step, {"loss": 1.0 / (step + 1)})
    log.close()
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-7])  # killed in the middle of a line
    assert [line["step"] for line in read_metrics(path)] == [0, 1, 2, 3]
    log = MetricsLog(tmp_path)
    for step in (2, 3):
        log(step, {"loss": 0.5})
    log.close()
    assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [(0, 1.0), (1, 0.5), (2, 0.5), (3, 0.5)]


def test_held_out_totals_equal_the_unsharded_ones():
    from encore_jax.model.decoder import Backbone
    from encore_jax.train.batches import held_out_batches
    from encore_jax.train.gradient import batch_totals

    made = program(settings(rows=4), MeshSettings(tensor=2), 8)
    state = start(made)
    plain = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), state.params)
    for batch in held_out_batches(trees(), targets(), made.shape):
        sharded = made.totals(state.params, batch, UNIFORM)
        assert_close(sharded, batch_totals(Backbone(CFG), plain, batch, UNIFORM, made.settings))
