"""SIGTERM ends a command with one line, as Ctrl-C does."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

PROGRAM = textwrap.dedent("""
    import os, signal, time
    from encore_jax.command_line import one_line_errors
    with one_line_errors():
        try:
            os.kill(os.getpid(), signal.{name})
            time.sleep(30)
        finally:
            print("tidied")
""")


@pytest.mark.parametrize("name, status, words", [("SIGTERM", 143, "stopped (SIGTERM)"), ("SIGINT", 130, "interrupted")])
def test_a_stopped_command_says_how_it_goes_on(name, status, words):
    program = PROGRAM.format(name=name)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status and done.stdout == "tidied\n"
    assert done.stderr.startswith(f"error: {words}. Fix: run the same command again") and done.stderr.count("\n") == 1


def test_a_handler_that_is_there_stays():
    from encore_jax.command_line import one_line_errors

    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with one_line_errors():
            os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [1]
    finally:
        signal.signal(signal.SIGTERM, before)
    with one_line_errors():
        pass
    assert signal.getsignal(signal.SIGTERM) is before
