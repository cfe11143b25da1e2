"""Ahead-of-time compilation from a config: what is asked of the compiler, what is said, and the real thing."""

import importlib
import json
import sys
from types import SimpleNamespace

import jax
import pytest

from encore_jax.cli import aot
from encore_jax.errors import InputError
from encore_jax.parallel.aot import GIB
from encore_jax.parallel.slices import parse_slice, standard_slices
from encore_jax.recipes.config import TrainConfig, validated
from encore_jax.recipes.configs import rate_table
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
                                  "rule_adapter_llama32_3b"])  # fmt: skip
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


def compiler(gib_per_row: float, tried: list):
    """A stand-in for the compiler: rows on a chip cost so much, "none" twice as much, on top of 1 GiB."""

    def compile(config, settings, tpu):
        rows = settings.rows // (tpu.chips * settings.accumulate)
        peak = int((1 + rows * gib_per_row * (2 if settings.remat == "none" else 1)) * GIB)
        tried.append((tpu.name, rows, settings.remat))
        fits = peak <= tpu.hbm_bytes
        memory, overrun = SimpleNamespace(peak=peak), max(0, peak - tpu.hbm_bytes)
        return SimpleNamespace(memory=memory, fits=fits, overrun=overrun, compile_seconds=1.0)

    return compile


@pytest.mark.aot
def test_the_search_skips_what_cannot_fit_and_explores_the_first_slice_that_does():
    libtpu_or_skip()
    tried: list = []
    rows = list(aot.search(large(), standard_slices("v5e"), compiler(4.0, tried)))
    # 8B parameters with two moments are 90 GB: too much for 1, 4 and 8... chips of 15.75 GiB without compiling
    refused = [row["slice"] for row in rows if "alone need" in row["why_not"]]
    assert refused == ["v5e:1x1", "v5e:2x2"]
    best = aot.smallest_fit(rows)
    assert best["slice"] == "v5e:2x4" and best["rows_per_device"] == 1 and best["remat"] == "full"
    assert {name for name, _, _ in tried} == {"v5e:2x4"}
    assert max(n for _, n, remat in tried if remat == "full") == 4  # 1 + 4 * 4 GiB is too much, 1 + 2 * 4 is not
    assert [row["fits"] for row in rows if row["remat"] == "none"] == [True, False]
    table = aot.search_table(rows)
    assert len(table.splitlines()) == len(rows) + 1 and "1.25 GiB too many" in table


@pytest.mark.aot
def test_slices_that_a_mesh_does_not_fit_are_told_not_compiled():
    """Sixteen chips are more than small slices have, and do not divide the eight key-value heads on large ones."""
    libtpu_or_skip()
    config, tried = encore_llama31_8b.get_config(), []
    aot.name_data(config)
    config.mesh.tensor = 16
    rows = list(aot.search(validated(config), standard_slices("v5e"), compiler(1.0, tried)))
    assert not tried and len(rows) == len(standard_slices("v5e")) and aot.smallest_fit(rows) is None
    assert all(row["why_not"].startswith("mesh: ") for row in rows)
    assert "does not fit 1 devices" in rows[0]["why_not"]
    assert "layers/k, of size 8, does not divide over 16 devices of tensor" in rows[-1]["why_not"]
    assert len(aot.search_table(rows).splitlines()) == len(rows) + 1


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


def test_what_trains_nothing_by_gradient_is_refused(tmp_path):
    with pytest.raises(InputError, match="compiles no training step"):
        aot.run_aot(large(method="ridge"), "v5e:2x2", tmp_path)
    with pytest.raises(InputError, match="RatingConfig trains nothing"):
        aot.run_aot(validated(rate_table.get_config()), "v5e:2x2", tmp_path)


def test_without_the_compiler_the_fix_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    with pytest.raises(InputError, match=r"\.\[aot\]"):
        aot.run_aot(large(), "v5e:2x2", tmp_path)
