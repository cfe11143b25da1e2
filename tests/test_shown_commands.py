"""Every command that README and docs show is carried out: here, or really by a test that is named here."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import encore_jax
from tests.experiments import tiny_reward_model
from tests.shown_commands import PAGES, ROOT, carried_out, shown_commands, words_of, write_files

REALLY = {
    "encore export": "tests/experiments/test_export.py::test_composed_heads",
    "python -m experiments.studies.coverage": (
        "tests/experiments/test_intervals_run.py::test_over_random_splits_coverage_is_near_what_is_promised"
    ),
    "encore score": "tests/experiments/test_score.py::test_every_score_is_that_of_its_text_alone",
    "encore serve": "tests/serve/test_server.py::test_rude_clients_harm_nobody_and_a_signal_loses_nothing",
    "encore judge-agreement": "tests/experiments/test_judge_agreement.py::test_numbers_per_rule_and_a_table",
    "encore select-pool": "tests/experiments/test_select_pool.py::test_one_of_each_pair_is_chosen",
    "python -m encore_jax.data.rated_comparisons": (
        "tests/data/test_rated_comparisons.py::test_no_tensorflow_no_network_no_noise_and_nothing_elsewhere"
    ),
}
"""Commands that need a model or a prepared folder: here they must come as far as to miss it."""
ELSEWHERE = {
    "tpu_scripts/train_with_resume.sh": "tests/tpu_scripts/test_train_with_resume.py",
    "tpu_scripts/run.sh": "tests/tpu_scripts/test_dry_run.py",
    "tpu_scripts/encore_8b.sh": "tests/tpu_scripts/test_pipeline.py",
    "tpu_scripts/ramo_8b.sh": "tests/tpu_scripts/test_pipeline.py",
    "curl http://127.0.0.1:8080/v1/score": "tests/serve/test_app.py::test_score_and_explanation",
    "--remote_rm_url": "tests/serve/test_app.py::test_openrlhf_queries_in_whatever_state_they_come",
    "python -m venv .venv": ".ci/run",
    ". .venv-tunix/bin/activate": "Makefile",
    "pip install -c constraints-tunix.txt": "Makefile",
    "python examples/grpo_tunix.py": "tests/reward/test_tunix.py",
    ". .venv/bin/activate": ".ci/run",
    "pip install -e": ".ci/run",
    "pip install -c constraints.txt -e": ".ci/run",
    "pip install -c constraints.txt torch": "Makefile",
    "pip install ml-goodput-measurement": "tests/train/test_goodput.py",
}
"""Commands that are no programs of this project, or need a cloud: what carries them out."""


def place(command: str, table: dict[str, str]) -> str | None:
    plain = " ".join(words_of(command))
    return next((where for start, where in table.items() if plain.startswith(start)), None)


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    """Exit status and output of every command, all in one process that forks, since most of their time is imports."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
    folder = tmp_path_factory.mktemp("shown")
    environment["HOME"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-m", "tests.shown_commands"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_shown_command_is_accounted_for_and_carried_out(carried):
    wrong = {}
    for command, pages in shown_commands().items():
        if command not in carried:
            if place(command, ELSEWHERE) is None:
                wrong[command] = f"{pages}: no test carries it out"
            continue
        status, output = carried[command]["status"], carried[command]["output"]
        if place(command, REALLY) is None:
            if status != 0:
                wrong[command] = f"{pages}: {output[-300:]}"
        elif status != 0 and not re.search(
            r"error: .*(missing|no such file|does not exist|in use|no reward model is here)", output
        ):
            wrong[command] = f"{pages}: {output[-300:]}"
    assert not wrong, json.dumps(wrong, indent=1)
    assert len(carried) > 60


@pytest.mark.parametrize("where", sorted({*REALLY.values(), *ELSEWHERE.values()}))
def test_the_tests_that_are_named_exist(where):
    path, _, name = where.partition("::")
    code = (ROOT / path).read_text(encoding="utf-8")
    assert not name or re.search(rf"^def {name}\(", code, re.MULTILINE)


def test_what_is_installed_by_a_shown_command_is_an_extra():
    installed = r"pip install (?:-c constraints.txt )?-e '\.\[([\w,]+)\]'"
    extras = re.findall(installed, "".join(page.read_text() for page in PAGES))
    known = re.search(r"extras_require=(\{.*?\n    \})", (ROOT / "setup.py").read_text(), re.DOTALL)
    names = set(re.findall(r'"(\w+)": ', known[1])) if known else set()
    assert extras and not {name for some in extras for name in some.split(",")} - names


def test_what_curl_sends_is_json():
    sent = [words_of(command) for command in shown_commands() if command.startswith("curl")]
    assert sent
    for words in sent:
        body = json.loads(words[words.index("-d") + 1])
        assert body.keys() == {"prompt", "responses"}


def test_the_finder_finds_blocks_and_code_in_sentences():
    commands = shown_commands()
    assert "encore reliability ratings.csv --out=reliability.html" in commands
    assert any(command.startswith("python -m experiments.run") and "README.md" in pages
               for command, pages in commands.items())  # fmt: skip
    assert carried_out("encore run quickstart --config.seed=1")[1][-1] == "--dry_run"
    assert carried_out("curl http://127.0.0.1") is None


# Blocks of Python

PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
BY_OTHERS = {
    'reward_function(model, policy="lower")': (
        "tests/reward/test_abstain.py::test_the_composed_reward_under_every_policy"
    ),
    "model = enc.fit(rated, ": "tests/examples/test_python_page.py::test_the_six_lines_and_training_by_gradient_run",
    "enc.judges.local(": "tests/examples/test_python_page.py::test_the_judges_of_the_page_are_judges",
    "enc.fit(enc.read_comparisons": "tests/experiments/test_fit.py::test_the_readmes_lines_run",
    "AutoModelForSequenceClassification": "tests/reward/test_export_parity.py",
    "function_registry.register": "tests/reward/test_tunix.py",
    'remote_reward_functions("http': (
        "tests/reward/test_rule_rewards.py::test_a_servers_rules_and_weights_come_with_one_request_a_batch"
    ),
    "RuleRewards(EnvironmentInterface)": (
        "tests/reward/test_rule_rewards.py::test_nemo_rl_gets_rules_and_weights_in_its_own_order"
    ),
    'metadata("scores.parquet")': "tests/experiments/test_score.py::test_the_passport_travels_with_the_scores",
}
"""Blocks that need minutes, torch or a scored file, by a part of them: what carries them out."""


def python_blocks() -> list[tuple[str, str]]:
    """Page and block, but for doctests, which tests/test_docs.py runs."""
    found = [(page.name, block) for page in PAGES for block in PYTHON.findall(page.read_text(encoding="utf-8"))]
    return [(name, block) for name, block in found if ">>> " not in block]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with the files that the blocks name: a finished run's model, rules, comparisons of several kinds."""
    folder = tmp_path_factory.mktemp("shelf")
    write_files(folder)
    shutil.copytree(
        tiny_reward_model.write(folder / "tiny"), folder / "runs" / "quickstart" / "compose", dirs_exist_ok=True
    )
    pairs = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    (folder / "hh.jsonl").write_text((folder / "pairs.jsonl").read_text())
    pq.write_table(pa.Table.from_pylist(pairs), folder / "pku.parquet")
    rows = [{"prompt": row["prompt"], "responses": [row["chosen"], row["rejected"]], "preferred": 0} for row in pairs]
    (folder / "rated.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def users_own(block: str) -> dict[str, object]:
    """What a block takes as given: arrays of a user's."""
    rng = np.random.default_rng(0)
    quality = rng.normal(size=(60, 2, 1))
    ratings = np.clip(np.round(3 + quality + rng.normal(size=(60, 2, 3))), 1, 5)
    own = {"ratings": ratings, "preferred": quality[..., 0].argmax(1), "names": ["safe", "honest", "kind"]}
    if "quality=good" in block:
        own |= {"ratings": ratings[:, 0], "good": (quality[:, 0, 0] > 0).astype(float)}
    if "panel_reliability" in block:
        own["ratings"] = np.clip(np.round(ratings + 0.5 * rng.normal(size=(3, *ratings.shape))), 1, 5)
    return own | {"enc": encore_jax, "np": np}


@pytest.mark.filterwarnings("ignore::encore_jax.composition.RatingsWarning")
@pytest.mark.parametrize(
    ("name", "block"), [pytest.param(*both, id=f"{both[0]}-{n}") for n, both in enumerate(python_blocks())]
)
def test_blocks_of_python_run(name, block, shelf, monkeypatch):
    where = next((where for part, where in BY_OTHERS.items() if part in block), None)
    if where is not None:
        path, _, test = where.partition("::")
        assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8")
        return
    monkeypatch.chdir(shelf)
    monkeypatch.setenv("HOME", str(shelf))
    exec(block, users_own(block))
