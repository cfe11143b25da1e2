"""Processes that join: what is malformed or taken is refused, and the wait for the others speaks and can be ended."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from encore_jax.errors import InputError
from encore_jax.parallel.joining import check_port_is_free, join, place_of
from tests.processes import REPOSITORY, finish, free_port, launch

ALONE = """
import sys
from encore_jax.command_line import one_line_errors, start_logging
from encore_jax.parallel import joining

with one_line_errors():
    start_logging()
    joining.WAIT_SECONDS = int(sys.argv[2])
    joining.join(sys.argv[1])
    print("joined")
"""


def start(where, seconds):
    command = [sys.executable, "-c", ALONE, where, str(seconds)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("127.0.0.1", "is malformed. Fix: use auto, or HOST:PORT,PROCESSES,INDEX"),
        ("127.0.0.1:8476,2", "is malformed"),
        (":8476,2,0", "is malformed"),
        ("host:port,2,0", "is malformed"),
        ("host:8476,2,-1", "is malformed"),
        ("host:8476,²,0", "is malformed"),
        ("host:0,2,0", "there is no such port. Fix: use one from 1 to 65535"),
        ("host:70000,2,0", "there is no such port"),
        ("host:" + "9" * 5000 + ",2,0", "there is no such port"),
        ("host:8476,2,2", "process 2 of 2. Fix: count processes from 0"),
        ("host:8476,0,0", "process 0 of 0"),
    ],
)
def test_a_malformed_place_is_refused(where, said):
    with pytest.raises(InputError) as refused:
        join(where)
    assert said in str(refused.value)


@pytest.mark.parametrize(("where", "host"), [("10.0.0.1:8476,4,3", "10.0.0.1"), ("[::1]:8476, 4, 3", "[::1]")])
def test_a_place_is_read(where, host):
    assert place_of(where).arguments == (f"{host}:8476", 4, 3)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_refused_before_jax_takes_it(address):
    port = free_port()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as gRPC does
        taken.bind((address, port))
        taken.listen()
        where = f"127.0.0.1:{port},2,0"
        with pytest.raises(
            InputError, match=f"cannot listen on port {port} of this machine: .*Fix: give all processes"
        ):
            join(where)
    check_port_is_free(place_of(where))


@pytest.mark.parametrize("index", [0, 1])
def test_the_wait_for_processes_that_do_not_come_speaks_and_ends(index):
    where = f"127.0.0.1:{free_port()},2,{index}"
    (said,) = finish([start(where, 4)], code=2)
    assert said.count("waiting for all 2 processes at") == 1
    assert (
        "not all 2 processes at" in said.splitlines()[-1] and "within 0:04. Fix: start all 2" in said.splitlines()[-1]
    )


@pytest.mark.parametrize(("index", "number", "status"), [(0, signal.SIGINT, 130), (1, signal.SIGTERM, 143)])
def test_a_signal_ends_the_wait_in_one_line(index, number, status):
    process = start(f"127.0.0.1:{free_port()},2,{index}", 300)
    before = ""
    while "waiting for all" not in before:
        before += process.stdout.readline()
    began = time.monotonic()
    process.send_signal(number)
    (said,) = finish([process], code=status)
    assert time.monotonic() - began < 60 and said.startswith("error: ") and said.count("\n") == 1


def test_two_that_come_are_joined():
    command = "import sys, jax; from encore_jax.parallel import joining as j; j.join(sys.argv[1]); print(jax.devices())"
    for said in finish(launch(2, 2, lambda where: ["-c", command, where])):
        assert said.splitlines()[-1].count("id=") == 2
