"""Runs the scripts against a fake gcloud: slices are folders, their workers home folders, ssh is a local shell."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FAKES = Path(__file__).parent / "fakes"
CONFIG = "experiments/configs/my config.py"
SLICE = {"PROJECT": "my-project", "ZONE": "us-west4-a", "NAME": "encore", "ACCELERATOR": "v5e:2x4"}
QUICK = {"POLL_SECONDS": "0.02", "BACKOFF_SECONDS": "0.01", "GRACE_SECONDS": "30"}
ACTIVE = ("WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")


class Cloud:
    """A fake cloud and a checkout from which scripts are run against it.

    Attributes:
      checkout: a git checkout that holds the scripts; its path has a space.
      folder: the fake's own; see fakes/gcloud.
    """

    def __init__(self, folder: Path):
        self.folder, self.checkout = folder / "cloud", folder / "check out"
        shutil.copytree(REPOSITORY / "tpu_scripts", self.checkout / "tpu_scripts")
        (self.checkout / CONFIG).parent.mkdir(parents=True)
        (self.checkout / CONFIG).touch()
        (self.checkout / ".gitignore").write_text("runs/\n")
        subprocess.run(["git", "init", "-q", self.checkout], check=True)
        for name in ("plan", "refuse", "bin"):
            (self.folder / name).mkdir(parents=True)
        for fake in FAKES.iterdir():
            shutil.copy(fake, self.folder / "bin")

    def plan(self, *slices: dict) -> None:
        """What happens on the first, second, ... slice that is created; the last stands for all further ones.

        Of a slice: "states" of its queued resource, one further at each look, the last for good; "codes", the exit
        codes of its workers, a tuple per run ("hang": ends when told to, or well once there is a file "finish";
        "reboot": is gone without one); "taken", the state in which its queued resource is after the first run,
        when its workers are gone; "takes", a run's seconds.
        """
        for number, plan in enumerate(slices, 1):
            folder = self.folder / "plan" / str(number)
            folder.mkdir(exist_ok=True)
            (folder / "states").write_text("\n".join(plan.get("states", ACTIVE)) + "\n")
            codes = plan.get("codes", [(0, 0)])
            (folder / "codes").write_text("".join(" ".join(map(str, run)) + "\n" for run in codes))
            (folder / "workers").write_text(str(len(codes[0])))
            (folder / "taken").write_text(plan.get("taken", ""))
            (folder / "takes").write_text(str(plan.get("takes", 0)))

    def refuse(self, verb: str, times: int) -> None:
        """Lets the next calls of gcloud with this verb fail."""
        (self.folder / "refuse" / verb).write_text(str(times))

    def take_away(self, state: str) -> None:
        """The slice's workers are gone from now on, without a word; its queued resource will be in this state."""
        (self.folder / "taken").write_text(state)

    def start(self, script: str, *arguments: str, **settings: str) -> subprocess.Popen:
        """Starts a script; its environment holds little but the settings."""
        keep = {name: value for name, value in os.environ.items() if name in ("HOME", "TMPDIR", "LANG")}
        path = {"PATH": f"{self.folder / 'bin'}:/usr/local/bin:/usr/bin:/bin", "FAKE_CLOUD": str(self.folder)}
        return subprocess.Popen(
            ["bash", self.checkout / "tpu_scripts" / script, *arguments],
            cwd=self.checkout.parent,
            env=keep | path | QUICK | settings,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess:
        """Runs a script to its end."""
        process = self.start(script, *arguments, **settings)
        stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def calls(self) -> list[list[str]]:
        """The arguments of every call of gcloud so far, by the scripts and on the workers."""
        return self._records("calls")

    def count(self, *words: str) -> int:
        """How many calls were "gcloud compute tpus" and these words."""
        return sum(call[2 : 2 + len(words)] == list(words) for call in self.calls())

    def runs(self) -> list[tuple[int, list[str]]]:
        """Slice and arguments of every run on a worker 0."""
        return [(int(number), arguments) for number, *arguments in self._records("runs")]

    def _records(self, name: str) -> list[list[str]]:
        file = self.folder / name
        text = file.read_text() if file.exists() else ""
        return [record.split("\0")[:-1] for record in text.split("\x1e\0")[:-1]]

    def close(self) -> None:
        """Ends what still runs on the workers."""
        for session in self.folder.glob("slice-*/worker-*/session"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(session.read_text()), signal.SIGKILL)

    @property
    def state(self) -> str:
        """Of the queued resource."""
        file = self.folder / "queue"
        return file.read_text().strip() if file.exists() else "NONE"

    def home(self, worker: int, number: int = 1) -> Path:
        """A worker's home folder on the slice of this number."""
        return self.folder / f"slice-{number}" / f"worker-{worker}"


def until(happened, seconds: float = 20) -> None:
    """Waits until the call returns something true."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
