"""Two real processes serve one model: process 0 listens, the other one lends its devices, both end when told to."""

import json
import re
import signal
import subprocess
import time
import urllib.request

import numpy as np
import pytest

from encore_jax.errors import InputError
from encore_jax.reward.reward_model import RewardModel
from encore_jax.serve import flags
from tests.experiments import tiny_model, tiny_reward_model
from tests.processes import finish, launch


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"num_attention_heads": 4, "num_key_value_heads": 4}.items():
            patch.setitem(tiny_model.CONFIG, name, value)
        patch.setattr(tiny_reward_model, "BUCKETS", (64,))
        return tiny_reward_model.write(tmp_path_factory.mktemp("model"))


def start(model, *options):
    command = ["-m", "encore_jax.serve", f"--model={model}", "--port=0", "--tokens_per_batch=64", *options]
    return launch(2, 4, lambda where: [*command, f"--multihost={where}"])


def address_of(process: subprocess.Popen) -> str:
    """Where it listens, once it is ready."""
    end = time.monotonic() + 200
    while time.monotonic() < end:
        if found := re.search(r"running on (http://\S+):", process.stdout.readline()):
            return found[1]
    pytest.fail("the server is not ready")


def test_process_0_answers_with_the_devices_of_both(model):
    started = start(model, "--mesh=tensor=4")
    try:
        address = address_of(started[0])
        content = json.dumps({"prompt": "Hi", "responses": ["No.", "Yes!"]}).encode()
        request = urllib.request.Request(f"{address}/v1/score", content, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            rewards = json.load(reply)["items"][0]["rewards"]
        expected = RewardModel.from_pretrained(model).rewards(["Hi"], [["No.", "Yes!"]])[0]
        np.testing.assert_allclose(rewards, expected, rtol=0, atol=1e-5)
    finally:
        for process in reversed(started):  # the other one leaves it to process 0
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
        said = finish(started)
    assert "everything accepted is answered" in said[0] and "this one lends it its devices" in said[1]


def test_a_mesh_is_asked_for():
    with pytest.raises(InputError, match="--multihost: is given without --mesh. Fix: .* e.g. --mesh=tensor=8"):
        flags.parse(["--model=m", "--multihost=auto"], "")
