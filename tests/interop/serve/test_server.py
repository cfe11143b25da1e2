"""The server as a process with a socket: rude clients harm nobody, and SIGTERM loses nothing."""

import asyncio
import concurrent.futures
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

import pytest

from encore_jax.interop.serve import __main__ as command
from tests.experiments import tiny_model, tiny_reward_model
from tests.interop.serve.asgi import request

ROOT = Path(__file__).parents[3]
BODY = {"prompt": "Hi", "responses": ["No.", "Yes, of course!"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_reward_model.write(tmp_path_factory.mktemp("served"))


@pytest.fixture
def server(folder):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
    arguments = ["--model", str(folder), "--port=0", "--tokens_per_batch=256", "--max_waiting_tokens=1000000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "encore_jax.interop.serve", *arguments],
        stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    log = []
    for line in process.stderr:
        log.append(line)
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
            break
    else:
        pytest.fail("".join(log))
    yield process, int(found[1])
    process.kill()
    process.wait()
    process.stderr.close()


def post(port, body, path="/v1/score"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body).encode())
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content)


def rude(port, content: bytes, answer: bool = False) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        client.sendall(content)
        return client.recv(4096) if answer else b""


def test_rude_clients_harm_nobody_and_sigterm_loses_nothing(server):
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
        process.send_signal(signal.SIGTERM)
        statuses = [one.result()[0] for one in accepted]
    assert statuses == [200] * 4
    assert process.wait(30) == 0
    with pytest.raises(OSError):
        post(port, BODY)


def running(port) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    connection.close()
    return float(re.search(r"^encore_requests_running (\S+)$", page, re.M)[1])


def test_another_backbone_than_the_passports_is_refused_or_shown_to_clients(tmp_path, monkeypatch, capsys):
    model, apps = tiny_reward_model.write(tmp_path), []
    tiny_model.write(tmp_path / "backbone", seed=1)
    with pytest.raises(SystemExit) as stopped:
        command.main(["--model", str(model)])
    refusal = capsys.readouterr().err
    assert stopped.value.code == 2 and "in the passport" in refusal and "--allow-mismatch" in refusal
    monkeypatch.setattr(command.Server, "run", lambda self: apps.append(self._app))
    command.main(["--model", str(model), "--tokens_per_batch=1", "--allow-mismatch"])
    command.main(["--model", str(model), "--tokens_per_batch=1", "--allow-mismatch", "--weights=equal"])
    about = asyncio.run(request(apps[0].asgi, "/v1/models", method="GET")).json()["data"][0]
    (mismatch,) = about["passport"]["mismatch"]
    assert mismatch.startswith("model_sha256: ") and mismatch in refusal
    assert about["rules"] == list(tiny_reward_model.RULES)
    assert about["weights"] == pytest.approx(dict(zip(tiny_reward_model.RULES, tiny_reward_model.WEIGHTS, strict=True)))
    about = asyncio.run(request(apps[1].asgi, "/v1/models", method="GET")).json()["data"][0]
    assert about["weights"] == pytest.approx(dict.fromkeys(tiny_reward_model.RULES, 1 / len(tiny_reward_model.RULES)))


def test_an_open_address_needs_a_token(folder, monkeypatch, capsys):
    monkeypatch.delenv(command.TOKEN, raising=False)
    with pytest.raises(SystemExit) as stopped:
        command.main(["--model", str(folder), "--host=0.0.0.0"])
    assert stopped.value.code == 2 and command.TOKEN in capsys.readouterr().err


def test_a_missing_model_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["--model", str(tmp_path / "nothing")])
    assert stopped.value.code == 2 and "no such file or folder" in capsys.readouterr().err
