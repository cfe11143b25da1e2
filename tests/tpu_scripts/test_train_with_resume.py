"""The loop that trains to the end on slices that may be taken away, against a fake Google Cloud."""

import re
import signal

from tests.tpu_scripts.fake_cloud import CONFIG, SLICE, until

TRAIN = ("train_with_resume.sh", f"--config={CONFIG}", "--spot")


def train(cloud, *arguments, **settings):
    return cloud.run(*TRAIN, *arguments, **SLICE, BUCKET="gs://my-bucket/", **settings)


def test_success_at_once(cloud):
    cloud.plan({})
    done = train(cloud)
    assert done.returncode == 0, done.stderr
    ((_, arguments),) = cloud.runs()
    assert arguments == [
        f"--config={CONFIG}",
        "--multihost=auto",
        "--workdir=../encore_runs/encore/work",
        "--checkpoints=gs://my-bucket/encore/checkpoints",
    ]
    assert cloud.state == "NONE", "a slice is left and costs money"
    local = cloud.checkout / "runs" / "encore"
    assert (local / "results.json").read_text() == "{}\n" and not (local / "train" / "features.npz").exists()
    for worker in (0, 1):
        log = (local / "tpu" / "attempt-1" / f"worker-{worker}.log").read_text()
        assert f"Python was here, worker {worker}, in encore_jax" in log and "exit code 0" in log
    uploads = [call for call in cloud.calls() if call[:2] == ["storage", "cp"]]
    assert len(uploads) == 2 and all(call[3].startswith("gs://my-bucket/encore/logs/") for call in uploads)


def test_preempted_once_it_goes_on_with_the_same_arguments_on_a_new_slice(cloud):
    cloud.plan({"codes": [(75, 75)], "taken": "SUSPENDED"}, {"codes": [(0, 0)]})
    done = train(cloud, """--config.name=it's "my" $HOME name""")
    assert done.returncode == 0, done.stderr
    (first, arguments), (second, again) = cloud.runs()
    assert (first, second) == (1, 2) and arguments == again
    assert """--config.name=it's "my" $HOME name""" in arguments
    assert cloud.count("queued-resources", "create") == 2 and cloud.state == "NONE"


def test_a_slice_that_vanishes_without_a_word_is_a_preemption(cloud):
    cloud.plan({"codes": [("hang", "hang")]}, {})
    process = cloud.start(*TRAIN, **SLICE, BUCKET="b")
    until(lambda: cloud.runs())
    cloud.take_away("SUSPENDING")
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert [number for number, _ in cloud.runs()] == [1, 2]


def test_a_run_that_crashes_because_its_slice_goes_away_is_a_preemption(cloud):
    cloud.plan({"codes": [(134, 134)], "taken": "SUSPENDING"}, {})
    assert train(cloud).returncode == 0
    assert len(cloud.runs()) == 2


def test_preempted_while_it_is_being_created(cloud):
    cloud.plan({"states": ["WAITING_FOR_RESOURCES", "FAILED"]}, {"states": ["PROVISIONING", "SUSPENDED"]}, {})
    done = train(cloud)
    assert done.returncode == 0, done.stderr
    assert [number for number, _ in cloud.runs()] == [3]


def test_a_worker_that_was_started_anew_is_a_preemption(cloud):
    cloud.plan({"codes": [("reboot", "hang")]}, {})
    done = train(cloud, GRACE_SECONDS="2")
    assert done.returncode == 0, done.stderr
    assert [number for number, _ in cloud.runs()] == [1, 2]


def test_a_failed_run_ends_it_with_its_code_and_last_lines(cloud):
    cloud.plan({"codes": [(137, 137)]})
    done = train(cloud)
    assert done.returncode == 137
    assert len(cloud.runs()) == 1 and cloud.state == "NONE"
    assert re.search("Python was here, worker [01]", done.stderr) and "exit code 137" in done.stderr


def test_the_worker_that_failed_first_decides_and_the_others_are_stopped(cloud):
    cloud.plan({"codes": [("hang", 3)]})  # worker 0 waits for worker 1 for ever, and saves and leaves when told to
    done = train(cloud, GRACE_SECONDS="2")
    assert done.returncode == 3, done.stderr
    assert "worker 1 ended with exit code 3; stopping the others" in done.stderr
    assert "Python was here, worker 1" in done.stderr
    assert "exit code 75" in (cloud.checkout / "runs/encore/tpu/attempt-1/worker-0.log").read_text()


def test_attempts_are_bounded(cloud):
    cloud.plan({"codes": [(75, 75)], "taken": "SUSPENDED"})
    done = train(cloud, "--attempts=2")
    assert done.returncode == 75
    assert len(cloud.runs()) == 2 and cloud.state == "NONE"
    assert "preempted 2 times" in done.stderr


def test_settings_that_the_cloud_refuses_end_it_at_once(cloud):
    cloud.plan({})
    cloud.refuse("create", 1)
    done = train(cloud)
    assert done.returncode == 1 and cloud.count("queued-resources", "create") == 1 and not cloud.runs()


def test_later_a_refused_creation_is_tried_again(cloud):
    cloud.plan({"codes": [(75, 75)]}, {})
    process = cloud.start(*TRAIN, **SLICE, BUCKET="b")
    until(lambda: cloud.runs())
    cloud.refuse("create", 2)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert cloud.count("queued-resources", "create") == 4 and len(cloud.runs()) == 2


def test_a_cloud_that_does_not_answer_for_a_while_is_waited_for(cloud):
    cloud.plan({"codes": [(0, 0)], "takes": 0.5})
    process = cloud.start(*TRAIN, **SLICE, BUCKET="b")
    until(lambda: cloud.runs())
    cloud.refuse("ssh", 3)
    cloud.refuse("list", 4)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 0, stderr
    assert len(cloud.runs()) == 1 and cloud.count("queued-resources", "create") == 1


def test_setting_up_is_tried_again_while_the_slice_is_up(cloud):
    cloud.plan({})
    cloud.refuse("scp", 2)
    done = train(cloud)
    assert done.returncode == 0 and "try 2 of 3" in done.stderr


def test_the_slice_can_be_kept(cloud):
    cloud.plan({})
    done = train(cloud, "--keep")
    assert done.returncode == 0 and cloud.state == "ACTIVE"
    assert "delete.sh --project=my-project --zone=us-west4-a --name=encore" in done.stderr
    assert train(cloud).returncode == 0, "a kept slice is used again"
    assert [number for number, _ in cloud.runs()] == [1, 1] and cloud.state == "NONE"


def test_interrupted_and_started_again_it_joins_the_run_that_is_going_on(cloud):
    cloud.plan({"codes": [(0, 0)], "takes": 1.5})
    process = cloud.start(*TRAIN, **SLICE, BUCKET="b")
    until(lambda: cloud.runs())
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130 and "may still cost money" in stderr and cloud.state == "ACTIVE"
    done = train(cloud)
    assert done.returncode == 0, done.stderr
    assert len(cloud.runs()) == 1 and cloud.state == "NONE"
    assert (cloud.checkout / "runs" / "encore" / "results.json").exists()


def test_a_suspended_slice_of_an_earlier_day_is_deleted_first(cloud):
    cloud.plan({"states": ["SUSPENDED"]}, {})
    assert cloud.run("create.sh", **SLICE).returncode == 0
    done = train(cloud)
    assert done.returncode == 0, done.stderr
    assert [number for number, _ in cloud.runs()] == [2]
