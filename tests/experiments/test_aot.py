"""Ahead-of-time compilation from a config: what is asked of the compiler, what is said, and the real thing."""

import importlib
import json
import sys
from types import SimpleNamespace

import jax
import pytest

from encore_jax.cli import aot, aot_search
from encore_jax.errors import InputError
from encore_jax.parallel.aot import GIB
from encore_jax.parallel.slices import parse_slice, standard_slices
from encore_jax.recipes.config import TrainConfig
from encore_jax.recipes.configs import rate_table
from encore_jax.recipes.run_config import validated
from experiments.configs import encore_llama31_8b
from tests.experiments import tiny_run
from tests.parallel.hlo.cost import program_cost


def large(**train):
    """The 8B config with other training settings; its data are never read."""
    config = encore_llama31_8b.get_config()
    aot.name_data(config)
    for name, value in train.items():
        setattr(config.train, name, value)
    return validated(config)


@pytest.mark.parametrize("name", ["encore_llama31_8b", "bt_llama31_8b", "encore_llama31_70b", "ramo_llama31_8b",
                                  "joint_llama31_8b", "rule_adapter_llama32_3b"])  # fmt: skip
def test_a_config_compiles_as_its_documentation_says_without_naming_data(name):
    module = importlib.import_module(f"experiments.configs.{name}")
    assert "--aot=" in module.__doc__ and "--aot=" not in module.__doc__.split("Check:")[0]
    config = module.get_config()
    with pytest.raises(InputError, match="data"):
        validated(module.get_config())
    aot.name_data(config)
    assert validated(config).data.path


def libtpu_or_skip():
    pytest.importorskip("libtpu", reason="the TPU compiler (libtpu) is not installed: pip install -e '.[aot]'")


def step(state: float, gradients: float, fixed: float, row: float, guess: float = 1.0):
    """Stand-ins for arithmetic and the compiler: GiB of state and gradients over all chips, on each chip, and a row's.

    Returns:
      What arithmetic says (its guess is so many times the truth), what the compiler says, and what it was asked.
    """
    asked: list[tuple[str, int, str]] = []

    def rows_of(settings, tpu):
        return settings.rows // (tpu.chips * settings.accumulate)

    def needs(config, settings, tpu):
        held, graded = int(state * GIB / tpu.chips), int(gradients * GIB / tpu.chips)
        total = held + graded + (fixed + rows_of(settings, tpu) * row) * GIB
        return aot_search.Arithmetic(held, graded, int(guess * total))

    def compile(config, settings, tpu):
        rows = rows_of(settings, tpu)
        asked.append((tpu.name, rows, settings.remat))
        kept = rows * row * (1 if settings.remat == "full" else 2)
        peak = int((state + gradients) * GIB / tpu.chips + (fixed + kept) * GIB)
        fits, overrun = peak <= tpu.hbm_bytes, max(0, peak - tpu.hbm_bytes)
        return SimpleNamespace(memory=SimpleNamespace(peak=peak), fits=fits, overrun=overrun, compile_seconds=1.0)

    return needs, compile, asked


def first_that_fits(slices, compile):
    """The answer by compiling for every slice."""
    config = large()
    fits = [
        tpu.name for tpu in slices if compile(config, aot_search.settings_for(config, tpu.chips, 1, "full"), tpu).fits
    ]
    return fits[0] if fits else None


@pytest.mark.parametrize("generation", ["v5e", "v5p"])
@pytest.mark.parametrize("guess", [0.3, 0.9, 1.0, 1.1, 3.0])
@pytest.mark.parametrize("size", [(1, 0.1), (84, 28), (400, 130), (900, 10), (5000, 1700), (9e5, 1e5)])
def test_the_search_answers_as_compiling_for_every_slice_does(generation, guess, size):
    """Wherever it starts; a wrong guess costs compilations, never the answer."""
    slices = standard_slices(generation)
    needs, compile, asked = step(*size, fixed=1.5, row=2.0, guess=guess)
    expected = first_that_fits(slices, compile)
    asked.clear()
    rows = list(aot_search.smallest(large(), slices, compile, needs))
    best = aot_search.smallest_fit(rows)
    assert (best and best["slice"]) == expected
    assert sum(row["compile_seconds"] is not None for row in rows) == len(asked) <= (1 if guess == 1.0 else 4)
    assert len({row["slice"] for row in rows}) == len(rows), "a slice is looked at once"
    assert all(row["why_not"] for row in rows if not row["fits"])


def test_the_search_compiles_once_where_arithmetic_is_right_and_says_why_it_stops(capsys):
    needs, compile, asked = step(84, 28, fixed=1.5, row=2.0)
    rows = aot.shown(aot_search.smallest(large(), standard_slices("v5e"), compile, needs))
    assert asked == [("v5e:4x4", 1, "full")]
    assert [row["slice"] for row in rows] == ["v5e:1x1", "v5e:2x2", "v5e:4x4", "v5e:2x4"]
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == len(rows) + 1 and "no need" in shown[1] and "alone need 84.00 GiB" in shown[1]
    assert "the rest no less than on v5e:4x4" in shown[-1]
    text = aot_search.conclusion(large(), rows)
    assert "smallest slice that fits: v5e:4x4, 16 chips (every smaller slice is ruled out above; 1 program" in text
    assert "--config.train.accumulate=4" in text and "rows" not in text.splitlines()[1].partition("once:")[2]


def test_what_a_refused_program_took_rules_out_slices_that_have_less_in_all():
    needs, compile, asked = step(200, 2000, fixed=1.5, row=2.0, guess=0.01)
    rows = list(aot_search.smallest(large(), standard_slices("v5e"), compile, needs))
    by_total = [row for row in rows if "together needed more than these have" in row["why_not"]]
    assert by_total and all(row["compile_seconds"] is None for row in by_total)


def test_the_steps_own_rows_are_kept_where_they_divide():
    settings = aot_search.settings_for(large(), 16, 1, "full")
    assert (settings.rows, settings.accumulate) == (64, 4)
    settings = aot_search.settings_for(large(), 128, 1, "full")
    assert (settings.rows, settings.accumulate) == (128, 1)


def test_the_most_rows_on_a_chip_are_bisected():
    _, compile, asked = step(84, 28, fixed=1.0, row=1.5)
    rows = list(aot_search.most_rows(large(), parse_slice("v5e:4x4"), compile))
    fits = {remat: max(row["rows_per_device"] for row in rows if row["fits"] and row["remat"] == remat)
            for remat in ("full", "none")}  # fmt: skip
    assert fits == {"full": 4, "none": 2} and len(asked) == len(rows) <= 2 * 5 + 1
    _, compile, asked = step(84, 28, fixed=20, row=1)
    rows = list(aot_search.most_rows(large(), parse_slice("v5e:4x4"), compile))
    assert {remat for _, _, remat in asked} == {"full"} and not any(row["fits"] for row in rows)


@pytest.mark.aot
def test_slices_that_a_mesh_does_not_fit_are_told_not_compiled():
    """Sixteen chips are more than small slices have, and do not divide the eight key-value heads on large ones."""
    libtpu_or_skip()
    config = encore_llama31_8b.get_config()
    aot.name_data(config)
    config.mesh.tensor = 16
    _, compile, asked = step(1, 1, fixed=1.0, row=1.0)
    needs = lambda *of: aot_search.arithmetic(aot.slice_program(*of))  # noqa: E731
    rows = list(aot_search.smallest(validated(config), standard_slices("v5e"), compile, needs))
    assert not asked and len(rows) == len(standard_slices("v5e")) and aot_search.smallest_fit(rows) is None
    assert all(row["why_not"].startswith("mesh: ") for row in rows)
    assert "does not fit 1 devices" in rows[0]["why_not"]
    assert "layers/k, of size 8, does not divide over 16 devices of tensor" in rows[-1]["why_not"]
    assert "no slice fits" in aot_search.conclusion(config, rows)


@pytest.mark.aot
def test_arithmetic_knows_state_and_gradients_of_the_8b_step():
    libtpu_or_skip()
    config = large()
    tpu = parse_slice("v5e:4x4")
    needs = aot_search.arithmetic(aot.slice_program(config, aot_search.settings_for(config, 16, 1, "full"), tpu))
    parameters = 7.5e9  # Llama-3.1-8B without its output matrix
    assert needs.gradients * 16 == pytest.approx(4 * parameters, rel=0.01)
    assert needs.state * 16 == pytest.approx(12 * parameters, rel=0.01)
    assert needs.guess == pytest.approx(13.93 * GIB, rel=0.3)  # what the compiler says of this step


@pytest.mark.aot
def test_fit_searches_one_generation_all_of_them_or_the_rows_of_a_slice(tmp_path, monkeypatch, capsys):
    libtpu_or_skip()
    _, compile, asked = step(84, 28, fixed=1.5, row=2.0)
    monkeypatch.setattr(aot, "compile_for", compile)
    assert aot.run_aot(large(), "fit:v5e", tmp_path)
    report = json.loads((tmp_path / "aot.json").read_text())
    assert report["smallest"] == "v5e:4x4" and report["tried"][0]["slice"] == "v5e:1x1"
    assert aot.run_aot(large(), "fit", tmp_path)
    smallest = json.loads((tmp_path / "aot.json").read_text())["smallest"]
    assert smallest == {"v4": "v4:2x2x2", "v5e": "v5e:4x4", "v5p": "v5p:2x2x1", "v6e": "v6e:2x4"}
    assert aot.run_aot(large(), "fit:v5litepod-16", tmp_path)
    assert "most rows on a chip of v5e:4x4: 2" in capsys.readouterr().out
    with pytest.raises(InputError, match="v9"):
        aot.run_aot(large(), "fit:v9", tmp_path)


@pytest.mark.aot
def test_the_8b_step_is_refused_by_the_compiler_where_it_cannot_fit(tmp_path, capsys):
    libtpu_or_skip()
    assert not aot.run_aot(large(), "v5e:2x2", tmp_path)
    report = json.loads((tmp_path / "aot.json").read_text())
    assert not report["fits"] and report["overrun_gib"] > 10 and report["chips"] == 4
    assert "DOES NOT FIT" in capsys.readouterr().out


@pytest.mark.aot
def test_a_small_step_fits_and_splits_its_work_over_the_chips(tmp_path, monkeypatch):
    libtpu_or_skip()
    texts, compile = [], jax.stages.Lowered.compile

    def keep_text(lowered):
        compiled = compile(lowered)
        texts.append(compiled.as_text())
        return compiled

    monkeypatch.setattr(jax.stages.Lowered, "compile", keep_text)
    config = tiny_run.config(tiny_run.write_files(tmp_path / "files"))
    config.train = TrainConfig(method="gradient", trainable="all", rows=8, length=256, accumulate=2)
    config.model.dtype = "bfloat16"
    assert aot.run_aot(validated(config), "v5e:2x2", tmp_path)
    report = json.loads((tmp_path / "aot.json").read_text())
    assert report["fits"] and report["per_chip_gib"]["peak"] < 1
    cost = program_cost(texts[-1])
    kinds = {collective.kind for collective in cost.collectives}
    assert "all-gather" in kinds and kinds & {"all-reduce", "reduce-scatter"}
    assert {kernel.name for kernel in cost.kernels} >= {"tree_attention_forward"}


@pytest.mark.aot
@pytest.mark.slow
@pytest.mark.parametrize("name", ["encore_llama31_8b", "encore_llama31_70b"])
def test_full_rematerialisation_costs_less_than_two_fifths_of_the_steps_arithmetic(name):
    libtpu_or_skip()
    config = importlib.import_module(f"experiments.configs.{name}").get_config()
    aot.name_data(config)
    tpu = {"encore_llama31_8b": "v5e:8x8", "encore_llama31_70b": "v5p:32"}[name]
    config = validated(config)
    program = aot.slice_program(config, config.train, parse_slice(tpu))
    flops = program_cost(program.lower().compile().as_text()).flops * parse_slice(tpu).chips
    assert 1.0 < flops / aot.analytic_flops(program) < 1.4


@pytest.mark.aot
def test_what_has_no_program_is_refused(tmp_path):
    with pytest.raises(InputError, match="--aot=fit:v5e: searches for training steps, and this config has none"):
        aot.run_aot(large(method="ridge"), "fit:v5e", tmp_path)
    libtpu_or_skip()
    with pytest.raises(InputError, match="RatingConfig puts no model on this machine's devices"):
        aot.run_aot(validated(rate_table.get_config()), "v5e:2x2", tmp_path)


def test_without_the_compiler_the_fix_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    with pytest.raises(InputError, match=r"\.\[aot\]"):
        aot.run_aot(large(), "v5e:2x2", tmp_path)
