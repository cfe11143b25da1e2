"""Results show themselves: as text, in a notebook, as a page, as a figure; and numbers know nothing of pages."""

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import encore_jax as enc
from encore_jax.evaluation.held_out import Evaluation, Row
from encore_jax.report.page import write_page
from encore_jax.shown import Shown

RULES = ["safe", "honest", "kind", "$a_1$ <b>"]


def ratings(judges: int = 1):
    rng = np.random.default_rng(0)
    quality = rng.normal(size=(200, 2, 1))
    made = np.round(2 * quality * [1.0, 1.0, 1.0, 0.2] + rng.normal(size=(judges, 200, 2, 4)))
    preferred = np.where(rng.random(200) < 0.8, quality[:, 1, 0] > quality[:, 0, 0], -1).astype(int)
    return made, preferred


def one_evaluation() -> Evaluation:
    rows = (Row("the model", None, 0.7, 0.6, 0.8, 1), Row("$a_1$ <b>", 0.5, 0.65, 0.55, 0.75, 3))
    return Evaluation("a model", rows, {"all": (0.7, 100)}, 100, 60, {}, {})


def all_results() -> dict[str, Shown]:
    (one,), preferred = ratings()
    several, _ = ratings(3)
    return {
        "reliability": enc.reliability(one, preferred, rules=RULES, draws=20),
        "reliability without labels": enc.reliability(one, rules=RULES, draws=20),
        "panel": enc.panel_reliability(several, preferred, rules=RULES, draws=20),
        "panel without labels": enc.panel_reliability(several, rules=RULES, draws=20),
        "evaluation": one_evaluation(),
    }


@pytest.fixture(scope="module")
def results():
    return all_results()


def test_every_result_has_a_text_a_notebook_view_a_page_and_a_figure(results, tmp_path):
    for name, found in results.items():
        first = repr(found).splitlines()[0]
        assert len(first) > 20 and "object at" not in first and not first.startswith(type(found).__name__), name
        assert "<table>" in found._repr_html_() and "$a_1$ <b>" not in found._repr_html_(), name
        page = found.report(tmp_path / f"{name}.html")
        assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
        assert found.report(tmp_path).name == found._view().FILE
        figure = found.plot()
        assert isinstance(figure, Figure)
        figure.savefig(tmp_path / f"{name}.png")


def test_the_figure_is_of_the_numbers(results):
    found = results["reliability"]
    left, right = results["reliability"].plot().axes
    assert sorted(left.lines[0].get_xdata()) == pytest.approx(sorted(line.loading for line in found.rules))
    assert sorted(right.lines[0].get_xdata()) == pytest.approx(sorted(100 * line.accuracy for line in found.rules))
    assert len(results["reliability without labels"].plot().axes) == 1
    heat = results["panel"].plot().axes[0].images[0].get_array()
    assert np.array_equal(heat, results["panel"].loading)
    assert results["evaluation"].plot().axes[0].lines[0].get_xdata().tolist() == pytest.approx([70, 65])


def test_a_users_matplotlib_settings_stay_as_they_are(results):
    import matplotlib

    before = dict(matplotlib.rcParams)
    results["reliability"].plot()
    assert dict(matplotlib.rcParams) == before


def test_the_text_needs_no_matplotlib():
    code = (
        "import sys, numpy as np, encore_jax as enc; "
        "found = enc.reliability(np.random.default_rng(0).normal(size=(60, 2, 3)), draws=20); "
        "repr(found), found._repr_html_(); print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_page_that_cannot_be_written_is_one_line(results, tmp_path):
    (tmp_path / "file").write_text("")
    for write in (results["evaluation"].report, lambda path: write_page(path, "x.html", "")):
        with pytest.raises(enc.InputError, match="a file is in the way of this folder"):
            write(tmp_path / "file" / "page.html")


def test_every_public_result_shows_itself():
    """Dataclasses that `encore_jax` gives away and that are made by evaluating, not by users."""
    for name in enc.__all__:
        one = getattr(enc, name)
        room = getattr(one, "__module__", "")
        if dataclasses.is_dataclass(one) and room.startswith("encore_jax.evaluation") and name != "CompositionSettings":
            if name == "CompositionSettings":
                continue
            assert issubclass(one, Shown), name
            assert one.__repr__ is Shown.__repr__, f"{name}: the dataclass needs repr=False"
            view = importlib.import_module(one._shown_by)
            assert all(callable(getattr(view, part)) for part in ("text", "html", "page", "figure")) and view.FILE


def test_evaluation_draws_nothing_and_lays_no_page():
    for path in (Path(enc.__file__).parent / "evaluation").glob("*.py"):
        source = path.read_text()
        assert "matplotlib" not in source and "jinja2" not in source and "<svg" not in source, path.name


def test_an_evaluation_names_the_models_folder_and_the_data():
    found = dataclasses.replace(one_evaluation(), folder="runs/mine/compose", data="held_out.jsonl")
    first = repr(found).splitlines()[0]
    assert first.startswith("The reward model runs/mine/compose (1 rule on a model) agrees with people in 70.0 %")
    assert first.endswith("of 100 pairs of 60 prompts (held_out.jsonl).")
    few = dataclasses.replace(found, rows=(Row("the model", None, 0.5, 0.0, 1.0, 1),), pairs=1, prompts=1)
    assert "of 1 pair of 1 prompt (" in repr(few) and "1 pair cannot tell." in repr(few)
