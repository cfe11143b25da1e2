"""llama.cpp's server on this machine, as the peer of benchmarks: its weights, its process, and what it takes to ask it.

The server is llama-cpp-python's (`pip install -e '.[llama]'` compiles llama.cpp), or a ``llama-server`` of llama.cpp's
own. Both keep the keys and values of the last prompt and run only what a new one does not share with it, so the K
questions about one conversation pay for it once, as they do with the local judge.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from encore_jax.errors import InputError
from encore_jax.judge.request import RequestFormat

KINDS = ("F32", "F16", "Q4")
"""How weights are stored: the file's own 4 bits, or what they mean in 16 or 32 bits."""
_FIX = "install one: pip install -e '.[llama]', and name its python: --llama-server=PYTHON"


def stored_weights(source: Path, kind: str, folder: Path) -> Path:
    """A GGUF file of the same model and vocabulary whose matrices are stored in this way; of "Q4" the file itself.

    Args:
      source: a GGUF file.
      kind: one of `KINDS`.
      folder: where another file is written.
    """
    if kind == "Q4":
        return source
    import gguf
    import numpy as np

    target, reader = folder / f"{kind}.gguf", gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.get_field("general.architecture").contents())
    for field in reader.fields.values():
        if field.name != "general.architecture" and not field.name.startswith("GGUF."):
            first, *inner = field.types
            writer.add_key_value(field.name, field.contents(), first, sub_type=inner[-1] if inner else None)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values.astype(np.float16) if kind == "F16" and values.ndim > 1 else values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target


@contextlib.contextmanager
def llama_server(program: str, model: Path, *, threads: int, context: int, wait: float = 300.0) -> Iterator[str]:
    """A server of this model; gives its address, and ends it afterwards.

    Args:
      program: a python that has llama_cpp.server, or a file called llama-server.
      model: a GGUF file.
      threads: of the CPU.
      context: tokens that a prompt and its answer may have together.
      wait: seconds until it must answer.

    Raises:
      InputError: it ended, or does not answer; with the last lines of what it said.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if Path(program).name.startswith("llama-server"):
        options = {"host": "127.0.0.1", "port": port, "model": model, "ctx-size": context, "threads": threads}
        command = [program, "--parallel", "1"]
    else:
        options = {"host": "127.0.0.1", "port": port, "model": model, "n_ctx": context, "n_threads": threads}
        options |= {"n_threads_batch": threads, "logits_all": True}  # without it there are no log-probabilities
        command = [program, "-m", "llama_cpp.server"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryFile() as log, contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log, env=quiet))
        except OSError as error:
            where = f"llama.cpp by {program}"
            raise InputError(f"cannot be started: {error.strerror}", where=where, fix=_FIX) from None
        stack.callback(server.terminate)
        _wait(f"http://127.0.0.1:{port}/v1/models", server, log, wait, program)
        yield f"http://127.0.0.1:{port}"


def _wait(address: str, server: subprocess.Popen, log, seconds: float, program: str) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except OSError:
            if server.poll() is None and time.monotonic() < until:
                time.sleep(0.3)
                continue
        log.seek(0)
        said = log.read().decode(errors="replace").strip().splitlines()[-1:]
        problem = f"does not answer; it says {' '.join(said)!r}"
        raise InputError(problem, where=f"llama.cpp by {program}", fix=_FIX)


@dataclasses.dataclass
class Used:
    """Tokens that replies say were used.

    Attributes:
      prompt, answer: tokens of prompts, cached ones among them, and of answers.
      replies: how many replies said so.
    """

    prompt: int = 0
    answer: int = 0
    replies: int = 0

    def add(self, reply: object) -> None:
        """Counts a reply's usage, if it has one."""
        usage = reply.get("usage") if isinstance(reply, dict) else None
        if isinstance(usage, dict):
            self.prompt += usage.get("prompt_tokens", 0)
            self.answer += usage.get("completion_tokens", 0)
            self.replies += 1


def counting(asking: RequestFormat) -> tuple[RequestFormat, Used]:
    """The same way of asking, and the tokens that its replies say were used."""
    used = Used()

    def read(reply):
        used.add(reply)
        return asking.read(reply)

    def read_call(reply, rules):
        used.add(reply)
        return asking.read_call(reply, rules)

    return dataclasses.replace(asking, read=read, read_call=asking.read_call and read_call), used
