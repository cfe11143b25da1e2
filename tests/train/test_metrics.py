"""What a resumed run keeps of the metrics that a killed one wrote."""

import json

from encore_jax.train.metrics import MetricsLog, read_metrics


def test_resuming_keeps_what_is_known_of_the_checkpoint_and_nothing_later(tmp_path):
    """The state after 3 steps was measured and saved; steps 3 and 4 were written and are made again."""
    log = MetricsLog(tmp_path)
    for step in range(3):
        log(step, {"loss": float(step)})
    log(3, {"held_out_loss": 0.5})
    for step in (3, 4):
        log(step, {"loss": float(step)})
    log(5, {"held_out_loss": 0.4})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    written = read_metrics(tmp_path / "metrics.jsonl")
    again = MetricsLog(tmp_path)
    again(3, {"loss": 0.25})
    again.close()
    expected = [*written[:4], {"step": 3, "loss": 0.25}]
    assert [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == expected


def test_from_nothing_nothing_is_kept_and_where_no_step_is_left_everything_is(tmp_path):
    for loss in (1.0, 2.0):
        log = MetricsLog(tmp_path)
        log(0, {"loss": loss})
        log.close()
    MetricsLog(tmp_path).close()
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 0, "loss": 2.0}]
