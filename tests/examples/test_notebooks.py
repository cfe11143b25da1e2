"""The notebooks of `examples/` run from their first cell to their last, and are small and clean."""

import csv
import io
import json
import random
import re
import zipfile
from pathlib import Path

import nbformat
import pytest
from aiohttp import web
from nbclient import NotebookClient

from encore_jax.data.readers.pyrit import _ROOT, PYRIT_HARM_RULES
from encore_jax.judge.prompts import YES_NO_IRRELEVANT
from tests.experiments import tiny_model
from tests.judge.faulty_server import FaultyServer, Running, chat

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
LARGEST = 30_000
"""Bytes of a notebook in the repository."""


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny_model.write(tmp_path_factory.mktemp("backbone") / "model")


@pytest.fixture
def environment(backbone, tmp_path, monkeypatch):
    """What the kernel sees: this checkout, a tiny backbone, a cache of its own."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "PYTHONPATH": ROOT, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": 1, "EXAMPLE_BACKBONE": backbone,
        "ENCORE_CACHE": tmp_path / "cache", "IPYTHONDIR": tmp_path / "ipython",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    return tmp_path


def run(name: str, folder: Path, parameters: str = "") -> str:
    """Everything that the notebook's cells put out, as text; parameters follow the cell of that tag."""
    notebook = nbformat.read(ROOT / "examples" / name, as_version=4)
    if parameters:
        (at,) = (i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
        notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(parameters))
    where = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    said = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr" or "Traceback" not in output["text"], output["text"]
            said += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
    figures = sum("image/png" in output.get("data", {}) for c in notebook.cells for output in c.get("outputs", []))
    assert figures == sum(".plot()" in cell.source for cell in notebook.cells if cell.cell_type == "code")
    return "\n".join(said)


def pyrit_wheel(path: Path) -> Path:
    """A small file like PyRIT's: requests with four responses each, of every severity; worse ones are longer."""
    chance, words = random.Random(0), "lock fire name bank love stop cake poem knife home".split()
    with zipfile.ZipFile(path, "w") as archive:
        for rubric in PYRIT_HARM_RULES:
            text = io.StringIO()
            rows = csv.writer(text)
            rows.writerow(["objective", "assistant_response", "data_type", "harm_category", "human_score"])
            for i in range(12):
                request = f"{rubric} {i}: {' '.join(chance.choices(words, k=3))}"
                for severity in (0.0, 0.25, 0.5, 1.0):
                    start = "Sorry, I cannot. It is a risk." if chance.random() > severity else "SURE! Gladly!"
                    rest = " ".join(chance.choices(words, k=2 + int(12 * severity) + chance.randrange(6)))
                    rows.writerow([request, f"{start} {rest}", "text", rubric, severity])
            archive.writestr(f"{_ROOT}harm/{rubric}.csv", text.getvalue())
        for name in ("objective/one.csv", "refusal_scorer/one.csv"):
            row = "objective,assistant_response,data_type,human_score\nWhat?,That.,text,1\n"
            archive.writestr(f"{_ROOT}{name}", row)
    return path


def test_own_rules_from_a_table_to_transformers(environment, monkeypatch):
    monkeypatch.setenv("EXAMPLE_PYRIT", str(pyrit_wheel(environment / "pyrit.whl")))
    said = run("own_rules.ipynb", environment)
    assert "(500, " in said, "500 pairs"
    assert re.search(r"ENCORE's premise (holds|does not hold|cannot tell)", said)
    assert "agrees with people in" in said and "Over-refusal" in said
    assert "ForSequenceClassification" in said and (environment / "own_rules_hf" / "model.safetensors").is_file()


class Reader(FaultyServer):
    """Says Yes where a word of the rule is in the response, more or less surely."""

    async def answer(self, body):
        question = body["messages"][-1]["content"]
        response = question.rsplit("ASSISTANT: ", 1)[-1].split("---")[0]
        sure = 0.9 if ("sorry" in response) == ("harmful" in question or "lectures" in question) else 0.3
        sure -= 0.02 * (len(response) % 7)
        return web.json_response(chat({"Yes": sure, "No": 0.95 - sure, "Ir": 0.02}))


def test_from_a_judge_to_a_reward_model(environment, monkeypatch):
    with Running(server := Reader()) as url:
        monkeypatch.setenv("EXAMPLE_JUDGE", url)
        said = run("judge_to_reward.ipynb", environment)
    assert sum(server.asked.values()) == 60 * 2 * 4 and "480 of 480 ratings" in said
    assert "agrees with people in" in said and (environment / "judged_hf" / "config.json").is_file()
    assert all((environment / f"{name}.html").is_file() for name in ("judge_ratings", "judged_model"))


@pytest.mark.slow
def test_a_judge_heads_and_tunix_call_on_eight_devices(environment, monkeypatch):
    answers = YES_NO_IRRELEVANT.answers
    backbone = tiny_model.write(environment / "smollm2", config=tiny_model.SMOLLM2, answers=answers)
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "8")
    parameters = f"BACKBONE, MESH, DTYPE = {str(backbone)!r}, {{'fsdp': 8}}, 'float32'\nBUCKETS = (256,)\n"
    said = run("kaggle_v5e8.ipynb", environment, parameters + "JUDGE_TOKENS = FEATURE_TOKENS = 8192\n")
    assert "8 x cpu" in said and "288 ratings in" in said, "36 pairs, two responses, four rules"
    assert float(re.search(r"difference from model.rewards: (\S+)", said)[1]) < 1e-4
    assert len(re.search(r"rewards \[(.*)\]", said)[1].split(",")) == 8
    assert "veto" not in said and (environment / "kaggle_model").is_dir()


def test_reliability_says_what_its_text_says(environment):
    said = run("reliability.ipynb", environment)
    assert "Use agreement weights" in said
    entropy = dict(
        re.findall(r"'(\w+)': (?:np\.float64\()?([\d.]+)", said.split("{'sharp': ")[1].join(["{'sharp': ", ""]))
    )
    assert min(entropy, key=lambda name: float(entropy[name])) == "lazy"
    assert "ENCORE's premise" in said and (environment / "my_reliability.html").is_file()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_small_clean_and_explained(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert path.stat().st_size < LARGEST
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "committed without outputs"
    assert notebook.cells[0].source.startswith("# "), "begins with what it is about"
    assert sum(cell.cell_type == "markdown" for cell in notebook.cells) >= len(code) / 2
    assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"
