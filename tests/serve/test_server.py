"""The server as a process with a socket: rude clients harm nobody, and SIGTERM loses nothing."""

import asyncio
import concurrent.futures
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import ANY

import pytest

from encore_jax.serve import __main__ as command
from encore_jax.serve import flags
from encore_jax.serve.server import Server
from tests.experiments import tiny_model, tiny_reward_model
from tests.serve.asgi import request

ROOT = Path(__file__).parents[3]
BODY = {"prompt": "Hi", "responses": ["No.", "Yes, of course!"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_reward_model.write(tmp_path_factory.mktemp("served"))


ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "PYTHONFAULTHANDLER": "1"}


@contextlib.contextmanager
def started(*arguments: str, **environment: str):
    """The command as a process, and its lines as they come."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # libtpu, where a test has loaded it, ignores it behind Python's back
    process = subprocess.Popen(
        [sys.executable, "-m", "encore_jax.serve", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, env=ENVIRONMENT | environment,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def read_until(process, pattern: str) -> re.Match:
    """The first line that matches."""
    log = []
    for line in process.stdout:
        log.append(line)
        if found := re.search(pattern, line):
            return found
    return pytest.fail("".join(log))


@pytest.fixture
def server(folder):
    arguments = ["--model", str(folder), "--port=0", "--tokens_per_batch=256", "--max_waiting_tokens=1000000"]
    with started(*arguments, "--remember=0") as process:
        found = read_until(process, r"listening on http://127\.0\.0\.1:(\d+).*'starting'")
        status, body = get(int(found[1]), "/health")  # while it loads and compiles
        assert status == 503 and body["status"] == "starting" and body["doing"]
        read_until(process, r"loading ")
        read_until(process, r"compiling 2 of \d shapes: \d+x\d+")
        assert get(int(found[1]), "/health") == (503, {"status": "starting", "doing": ANY})
        assert read_until(process, r"running on http://127\.0\.0\.1:(\d+): model")[1] == found[1]
        assert get(int(found[1]), "/health") == (200, {"status": "ok", "model": "model"})
        yield process, int(found[1])


def ended(process) -> tuple[int, str]:
    """Its exit status and what it printed; one that does not end says where it stands."""
    try:
        return process.wait(120), process.stdout.read()
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        process.wait(30)
        return pytest.fail(f"it does not end:\n{process.stdout.read()}")


def get(port, path):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def post(port, body, path="/v1/score"):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode())
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def rude(port, content: bytes, answer: bool = False) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(content)
        return client.recv(4096) if answer else b""


def test_rude_clients_harm_nobody_and_a_signal_loses_nothing(server):
    process, port = server
    status, first = post(port, BODY)
    assert status == 200
    right = tiny_reward_model.in_memory().rewards(["Hi"], [BODY["responses"]])[0]
    assert first["items"][0]["rewards"] == pytest.approx(right.tolist(), abs=3e-5)

    head = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nContent-Length: "
    rude(port, b"\x16\x03\x01 garbage\r\n\r\n")
    rude(port, head + b"1000\r\n\r\n{")  # leaves in the middle of its body
    rude(port, head + b"%d\r\n\r\n%s" % (len(json.dumps(BODY)), json.dumps(BODY).encode()))  # leaves before the answer
    assert b" 400 " in rude(port, b"nonsense\r\n\r\n", answer=True)
    assert b" 413 " in rude(port, head + b"10000000\r\n\r\n", answer=True)
    chunked = b"POST /v1/score HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += 10 * (b"100000\r\n%s\r\n" % (b"x" * 2**20))
    try:
        assert b" 413 " in rude(port, chunked, answer=True)
    except ConnectionError:
        pass  # it hung up on us while we were still sending
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for status, answer in pool.map(lambda _: post(port, BODY), range(32)):
            assert status == 200
            assert answer["items"][0]["rewards"] == pytest.approx(right.tolist(), abs=3e-5)

        big = {"prompt": "Hi", "responses": [f"{i} " * 30 for i in range(400)]}
        accepted = [pool.submit(post, port, big) for _ in range(4)]
        until = time.monotonic() + 30
        while running(port) < 4 and time.monotonic() < until:
            time.sleep(0.005)
        process.send_signal(signal.SIGHUP)
        statuses = [one.result()[0] for one in accepted]
    assert statuses == [200] * 4
    status, said = ended(process)
    assert status == 0 and "Traceback" not in said
    with pytest.raises(OSError):
        post(port, BODY)


def running(port) -> float:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
    return float(re.search(r"^encore_requests_running (\S+)$", page, re.M)[1])


def test_another_backbone_than_the_passports_is_refused_or_shown_to_clients(tmp_path, monkeypatch, capsys):
    model, apps = tiny_reward_model.write(tmp_path), []
    tiny_model.write(tmp_path / "backbone", seed=1)
    with pytest.raises(SystemExit) as stopped:
        command.main(["--model", str(model), "--port=0"])
    refusal = capsys.readouterr().err
    assert stopped.value.code == 2 and "in the passport" in refusal and "--allow-mismatch" in refusal
    monkeypatch.setattr(Server, "run", lambda self, sockets: apps.append(self._load_app()))
    command.main(["--model", str(model), "--port=0", "--tokens_per_batch=1", "--allow-mismatch"])
    command.main(["--model", str(model), "--port=0", "--tokens_per_batch=1", "--allow-mismatch", "--weights=equal"])
    about = asyncio.run(request(apps[0].asgi, "/v1/models", method="GET")).json()["data"][0]
    (mismatch,) = about["passport"]["mismatch"]
    assert mismatch.startswith("model_sha256: ") and mismatch in refusal
    assert about["rules"] == list(tiny_reward_model.RULES)
    assert about["weights"] == pytest.approx(dict(zip(tiny_reward_model.RULES, tiny_reward_model.WEIGHTS, strict=True)))
    about = asyncio.run(request(apps[1].asgi, "/v1/models", method="GET")).json()["data"][0]
    assert about["weights"] == pytest.approx(dict.fromkeys(tiny_reward_model.RULES, 1 / len(tiny_reward_model.RULES)))


def test_a_signal_while_it_compiles_ends_it_at_once(folder):
    with started("--model", str(folder), "--port=0", "--tokens_per_batch=100000") as process:
        read_until(process, "compiling 1 of")
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def refused(capsys, *arguments: str) -> str:
    """The one line that the command ends with."""
    with pytest.raises(SystemExit) as stopped:
        command.main(list(arguments))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "INFO" not in line]
    assert stopped.value.code == 2 and line.startswith("error: ")
    return line


def test_wrong_flags_are_one_line(capsys, monkeypatch, folder):
    monkeypatch.delenv(flags.TOKEN, raising=False)
    model = f"--model={folder}"
    assert flags.TOKEN in refused(capsys, model, "--host=0.0.0.0")
    assert "--model" in refused(capsys)
    assert "did you mean --max_connections?" in refused(capsys, model, "--max_conections=5")
    for flag in (
        "--port=-1", "--port=65536", "--port=x", "--port=8_0", "--timeout=0", "--timeout=nan", "--timeout=inf",
        "--read_timeout=-1", "--idle_timeout=x", "--max_body_mib=0", "--max_body_mib=1e9", "--max_texts=0",
        "--max_connections=1", "--tokens_per_batch=0", "--remember=-1", "--allowed-hosts=http://x", "--host=no.such.",
        "--host=", "--host=8.8.8.8", "--name=a/rules", "--nothing",
    ):  # fmt: skip
        name = flag.partition("=")[0]
        monkeypatch.setenv(flags.TOKEN, "secret")
        assert name in refused(capsys, model, "--port=0", flag)
    for token in ("two words", "line\n", "schlüssel"):
        monkeypatch.setenv(flags.TOKEN, token)
        assert flags.TOKEN in refused(capsys, model)


def test_a_taken_port_is_said_before_anything_is_loaded_and_a_missing_model_before_that(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = f"--port={taken.getsockname()[1]}"
        line = refused(capsys, f"--model={tmp_path}", port)
        assert "in use" in line and "--port=0 takes a free one" in line
        assert "no such file or folder" in refused(capsys, f"--model={tmp_path}/nothing", port)


def test_a_missing_model_is_named(tmp_path, capsys):
    assert "no such file or folder" in refused(capsys, "--model", str(tmp_path / "nothing"), "--port=0")


def test_without_the_extra_there_is_help_and_every_start_is_one_line():
    code = f"""
import sys, runpy
for name in {command.NEEDED}:
    sys.modules[name] = None
import importlib.util as u
find = u.find_spec
u.find_spec = lambda name, *a: None if name in {command.NEEDED} else find(name, *a)
sys.argv[1:] = sys.argv[1].split()
runpy.run_module("encore_jax.serve", run_name="__main__")
"""

    def run(arguments):
        return subprocess.run(
            [sys.executable, "-c", code, arguments], capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT
        )

    for arguments in ("--model=x", "--model=x --port=0 --name=y"):
        done = run(arguments)
        assert done.returncode == 2 and done.stdout == "", done
        assert re.fullmatch(r"error: the server needs h11, .* Fix: pip install -e '.\[serve\]'\n", done.stderr)
    done = run("--help")
    assert done.returncode == 0 and "--max_connections" in done.stdout and done.stderr == ""


def test_a_name_for_clients_comes_from_the_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert flags.default_name(".") == tmp_path.name and flags.default_name("/") == "model"
