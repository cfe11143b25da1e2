"""Two real processes score a file as one does: every row once, also when one was killed and both are started again."""

import json
import signal
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from encore_jax.cli.score_together import Found, rounds_of
from tests.experiments import tiny_model, tiny_reward_model
from tests.processes import finish, launch

CHUNK = 4
START = f"""
import sys, time
from encore_jax.cli import score, score_parts

score.CHUNK = {CHUNK}
write = score_parts.Parts.write


def slowly(self, number, table):
    write(self, number, table)
    time.sleep(SLOW)


SLOW = float(sys.argv.pop(1))
score_parts.Parts.write = slowly
score.main(sys.argv)
"""
ROWS = [
    {"id": f"row {i}", "prompt": f"Question {i % 5}?", "responses": [f"Answer {i % 9}.", "No.", "x" * (9 * i)]}
    for i in range(33)
]
ROWS[3]["preferred"] = 1


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"num_attention_heads": 4, "num_key_value_heads": 4}.items():
            patch.setitem(tiny_model.CONFIG, name, value)
        tiny_reward_model.write(folder)
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "start.py").write_text(START)
    return folder


def start(files, output, processes, *options, slow=0.0):
    """Starts so many processes of four devices in all."""
    command = [str(files / "start.py"), str(slow), f"--model={files / 'model'}", f"--input={files / 'rows.jsonl'}"]
    command += [f"--output={output}", "--tokens_per_batch=256", *options]
    return launch(processes, 4, lambda where: [*command, f"--multihost={where}"])


@pytest.fixture(scope="module")
def alone(files):
    told = finish(start(files, files / "alone.parquet", 1))
    return json.loads(told[0].splitlines()[-1]), pq.read_table(files / "alone.parquet")


def check(output, told, alone):
    """Both say the same of every row, in the same order."""
    counts, expected = alone
    table = pq.read_table(output)
    assert json.loads(told[0].splitlines()[-1]) == counts and "rows" not in told[1]
    assert table.schema.metadata == expected.schema.metadata and table.column("id") == expected.column("id")
    for name in expected.column_names:
        found, wanted = table.column(name).to_pylist(), expected.column(name).to_pylist()
        if name.startswith(("score:", "rewards")):
            for a, b in zip(found, wanted, strict=True):
                np.testing.assert_allclose(np.array(a, float), np.array(b, float), rtol=0, atol=1e-5)
        elif name not in ("best", "first_place"):  # which may be any of nearly equal ones
            assert found == wanted, name
    texts = {}
    for row, values in zip(ROWS, table.column("rewards").to_pylist(), strict=True):
        for response, value in zip(row["responses"], values, strict=True):
            assert texts.setdefault((row["prompt"], response), value) == value, "a text has one score"
    assert not output.with_name(output.name + ".parts").exists()


def test_killed_and_started_again_no_row_is_twice_and_none_is_missing(files, alone, tmp_path):
    output = tmp_path / "scores.parquet"
    started = start(files, output, 2, slow=1.0)
    parts, end = output.with_name(output.name + ".parts"), time.monotonic() + 200
    while len(list(parts.glob("[0-9]*.parquet"))) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    started[1].send_signal(signal.SIGKILL)
    for process in started:
        process.communicate(timeout=240)  # the other one does not wait for ever
        assert process.returncode
    done = {path.name: path.stat().st_mtime_ns for path in parts.glob("[0-9]*.parquet")}
    assert 2 <= len(done) < -(-len(ROWS) // CHUNK) and not output.exists()
    started = start(files, output, 2, slow=0.5)
    seen = dict(done)
    while any(process.poll() is None for process in started):
        for path in parts.glob("[0-9]*.parquet"):
            try:
                assert seen.setdefault(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns, "written again"
            except FileNotFoundError:
                break
        time.sleep(0.05)
    check(output, finish(started), alone)


def test_a_model_that_only_all_devices_together_hold(files, alone, tmp_path):
    output = tmp_path / "scores.parquet"
    check(output, finish(start(files, output, 2, "--mesh=tensor=4")), alone)


def test_another_file_on_another_host_is_named_on_both(files, tmp_path):
    (tmp_path / "other.jsonl").write_text(json.dumps(ROWS[0]) + "\n")

    def command(where):
        source = tmp_path / "other.jsonl" if where.endswith(",1") else files / "rows.jsonl"
        more = [f"--model={files / 'model'}", f"--input={source}", f"--output={tmp_path / 'out.parquet'}"]
        return [str(files / "start.py"), "0", *more, f"--multihost={where}"]

    for said in finish(launch(2, 4, command), code=2):
        assert "process 1: what is scored: input_sha256: not as on process 0. Fix: give every host the same" in said


def test_what_a_process_says_of_a_chunk_comes_back_whole():
    found = Found(np.array([[0.5, np.nan]], np.float32), np.array([3]), {0: 'the "template"'}, {0: "naïve"})
    again = Found.from_bytes(found.to_bytes())
    np.testing.assert_array_equal(again.values, found.values)
    assert again.lengths.tolist() == [3] and again[2:] == found[2:]


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
def test_every_chunk_that_is_to_do_is_in_one_round_once(processes):
    done = [i % 3 == 0 for i in range(10)]
    rounds = rounds_of(done, processes)
    assert [n for numbers in rounds for n in numbers] == [i for i in range(10) if not done[i]]
    assert all(len(numbers) == processes for numbers in rounds[:-1])
