"""One process at a time: locks of folders and outputs, whatever lies where the lock file belongs."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading

import pytest

from encore_jax.data import lock as module
from encore_jax.data.lock import file_lock, folder_lock, kept_output, output_lock, reader_lock
from encore_jax.errors import InputError

HOLDER = """
import sys, time
from encore_jax.data.lock import folder_lock, output_lock
with {kind}_lock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def start_holder(kind, path, *more):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(kind=kind), str(path), *more], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("kind", ["folder", "output"])
def test_other_process_is_refused_until_the_holder_is_killed(tmp_path, kind):
    take = {"folder": folder_lock, "output": output_lock}[kind]
    holder = start_holder(kind, tmp_path / "w", "--api-key=sesame")
    try:
        with pytest.raises(InputError) as refused, take(tmp_path / "w"):
            pass
        text = str(refused.value)
        assert f"process {holder.pid} on {socket.gethostname()} since 2" in text and "-c" in text and "\n" not in text
        assert "sesame" not in text
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    with take(tmp_path / "w"):
        pass


def test_waiting_process_goes_on_when_the_holder_ends(tmp_path):
    order = []

    def wait():
        with output_lock(tmp_path / "w", wait=True):
            order.append("second")

    with output_lock(tmp_path / "w"):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.3)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]  # though the first one removed the file that the second one waited for


def test_child_that_inherits_the_lock_holds_it_after_its_parent(tmp_path):
    with folder_lock(tmp_path) as descriptor:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[descriptor])
    with pytest.raises(InputError, match="is in use by another process"), folder_lock(tmp_path):
        pass
    child.communicate(b"\n")
    with folder_lock(tmp_path):
        pass


def test_what_is_left_afterwards(tmp_path):
    with folder_lock(tmp_path / "deep" / "folder"):
        assert json.loads((tmp_path / "deep/folder/.lock").read_text())["pid"] == os.getpid()
    assert (tmp_path / "deep/folder/.lock").read_bytes() == b""
    with output_lock(tmp_path / "out" / "x.parquet"):
        assert [path.name for path in (tmp_path / "out").iterdir()] == [".x.parquet.lock"]
    assert list((tmp_path / "out").iterdir()) == []


def symlink(path, elsewhere):
    path.symlink_to(elsewhere)


OBSTACLES = {
    "symlink": (symlink, "is a link"),
    "hard link": (lambda path, elsewhere: os.link(elsewhere, path), "is a hard link"),
    "folder": (lambda path, elsewhere: path.mkdir(), "is a folder"),
    "pipe": (lambda path, elsewhere: os.mkfifo(path), "is no ordinary file"),
    "socket": (lambda path, elsewhere: bound(path), "is no ordinary file"),
    "somebody's file": (lambda path, elsewhere: path.write_text("precious"), "is no lock file"),
    "somebody's JSON": (lambda path, elsewhere: path.write_text('{"pid": 3}'), "is no lock file"),
    "deep JSON": (lambda path, elsewhere: path.write_text("[" * 4000), "is no lock file"),
}


def bound(path):
    with socket.socket(socket.AF_UNIX) as end:
        before = os.getcwd()
        os.chdir(path.parent)  # names of sockets are short
        end.bind(path.name)
        os.chdir(before)


@pytest.mark.parametrize("name", OBSTACLES)
def test_what_is_no_lock_file_is_refused_and_left_as_it_is(tmp_path, name):
    make, words = OBSTACLES[name]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("precious")
    (tmp_path / "w").mkdir()
    make(tmp_path / "w" / ".lock", elsewhere)
    before = os.lstat(tmp_path / "w" / ".lock")
    with pytest.raises(InputError, match=words) as refused, folder_lock(tmp_path / "w"):
        pass
    assert "\n" not in str(refused.value)
    assert elsewhere.read_text() == "precious"
    assert os.lstat(tmp_path / "w" / ".lock").st_size == before.st_size


@pytest.mark.parametrize("take", [folder_lock, output_lock])
def test_places_that_cannot_be_written_are_one_line(tmp_path, take):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "x", tmp_path / ("n" * 300) / "x", tmp_path / "a\0b"):
        with pytest.raises(InputError) as refused, take(place):
            pass
        assert "\n" not in str(refused.value)
    with output_lock(tmp_path / ("n" * 250)):  # as long as a name may be
        pass


def test_owner_that_another_host_left_is_told(tmp_path, caplog):
    owner = {"pid": 3, "host": "elsewhere", "command": "python -m experiments.run", "since": "2026-01-01 00:00:00"}
    (tmp_path / ".lock").write_text(json.dumps(owner))
    with folder_lock(tmp_path):
        pass
    assert "was left by process 3 on elsewhere since 2026-01-01 00:00:00" in caplog.text


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_system_without_locks_goes_by_what_the_file_says(tmp_path, monkeypatch, number):
    def no_locks(descriptor, mode):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with folder_lock(tmp_path):
        text = (tmp_path / ".lock").read_text()
        with pytest.raises(InputError, match=re.escape(f"delete {tmp_path / '.lock'}")), folder_lock(tmp_path):
            pass
    (tmp_path / ".lock").write_text(text.replace(f'"pid": {os.getpid()}', f'"pid": {2**22 + 1}'))  # nobody's
    with folder_lock(tmp_path):
        pass
    (tmp_path / ".lock").write_text(text.replace(socket.gethostname(), "elsewhere"))
    with pytest.raises(InputError, match="on elsewhere"), folder_lock(tmp_path):
        pass


def test_full_disk_does_not_keep_from_locking(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.os, "pwrite", full)
    with (
        folder_lock(tmp_path),
        pytest.raises(InputError, match="another process"),
        folder_lock(tmp_path),
    ):
        pass


def test_readers_share_and_keep_writers_out(tmp_path):
    with reader_lock(tmp_path):  # nobody ever wrote here: nothing is left behind
        pass
    assert list(tmp_path.iterdir()) == []
    with folder_lock(tmp_path), pytest.raises(InputError, match="is in use by process"), reader_lock(tmp_path):
        pass
    with reader_lock(tmp_path), reader_lock(tmp_path):
        with pytest.raises(InputError, match="is in use"), folder_lock(tmp_path):
            pass
    with folder_lock(tmp_path), reader_lock(tmp_path / "missing"):
        pass


def test_lock_of_any_name(tmp_path):
    with file_lock(tmp_path / "journal.sqlite.lock", place=tmp_path / "journal.sqlite", fix="use another file"):
        with pytest.raises(InputError, match="journal.sqlite: is in use .* Fix: use another file"):
            with file_lock(tmp_path / "journal.sqlite.lock", place=tmp_path / "journal.sqlite", fix="use another file"):
                pass
    assert (tmp_path / "journal.sqlite.lock").stat().st_size == 0


def test_a_kept_output_is_written_by_its_keeper_and_by_nobody_else(tmp_path):
    from encore_jax.data.outputs import new_folder

    out = tmp_path / "model"
    with kept_output(out):
        with pytest.raises(InputError, match="model: is in use by process"), kept_output(out):
            pass
        with new_folder(out, overwrite=False, marks=()) as made:
            (made / "weights").write_text("1")
        with pytest.raises(InputError, match="is in use"), output_lock(out):
            pass
    with output_lock(out):
        assert (out / "weights").read_text() == "1"
