"""The lines of docs/python.md and of the README run as they stand, on a small model and a small server."""

import re
from pathlib import Path

import encore_jax as enc
from encore_jax.data import write_comparisons
from encore_jax.judge.judges import Table
from tests.examples.test_notebooks import Reader
from tests.experiments import tiny_model
from tests.experiments.test_fit import records
from tests.judge.faulty_server import Running

BLOCKS = re.findall(
    r"```python\n(.*?)```", (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(), re.DOTALL
)


def test_the_six_lines_and_training_by_gradient_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENCORE_CACHE", str(tmp_path / "cache"))
    bare = [enc.Comparison(c.prompt, c.responses, c.preferred) for c in records(30)]
    write_comparisons("pairs.jsonl", bare[:20])
    write_comparisons("held_out.jsonl", bare[20:])
    model = str(tiny_model.write(tmp_path / "model"))
    with Running(Reader()) as url:
        given = {"URL": url, "NAME": "m"}
        exec(BLOCKS[0].replace("hf://org/name", model), given)
    said = capsys.readouterr().out
    assert "agrees with people in" in said and len(given["rated"].pool) == 3
    assert enc.RewardModel.from_pretrained("hf_out").rules and enc.RewardModel.from_pretrained("out").rules
    assert given["rated"].rated == 3 * len({(c.prompt, r) for c in bare[:20] for r in c.responses})
    gradient = next(block for block in BLOCKS if 'method="gradient"' in block).replace("hf://org/name", model)
    quick = gradient.replace("epochs=2", "epochs=1, rows=8, length=512")
    exec(quick, given | {"enc": enc, "held_out": given["rated"][:4]})
    assert (tmp_path / "checkpoints" / "metrics.jsonl").is_file()


def test_the_judges_of_the_page_are_judges(tmp_path, monkeypatch):
    block = next(block for block in BLOCKS if "enc.judges.local(" in block)
    kinds = re.findall(r"enc\.judges\.(\w+)\(", block)
    assert set(kinds) == set(enc.judges.__all__)
    assert enc.judges.server("http://127.0.0.1:8000", model="Qwen/Qwen2.5-7B-Instruct").identity.kind == "server"
    assert isinstance(enc.judges.table("ratings.csv"), Table)
