"""Slices are named as the cloud names their topologies, and the TPU compiler knows each of them."""

import os
import subprocess
import sys

import pytest

from encore_jax.errors import InputError
from encore_jax.parallel.slices import GENERATIONS, parse_slice, standard_slices, topology


@pytest.mark.parametrize(
    ("name", "shape", "chips", "hosts"),
    [
        ("v5e:8x8", "8x8", 64, 16),
        ("v5e:8", "2x4", 8, 1),
        ("v6e:4x4", "4x4", 16, 4),
        ("v5p:2x2x4", "2x2x4", 16, 4),
        ("v5p:16", "2x2x4", 16, 4),
        ("v4:16", "2x2x4", 16, 4),
        ("v4:2048", "8x16x16", 2048, 512),
        ("v5litepod-64", "8x8", 64, 16),
        ("v5e-64", "8x8", 64, 16),
        ("v5litepod:8x8", "8x8", 64, 16),
        ("v6e-16", "4x4", 16, 4),
        ("v5p-32", "2x2x4", 16, 4),
        ("v4-32", "2x2x4", 16, 4),
        ("v5p-2x2x4", "2x2x4", 16, 4),
        ("2xv5e:8x8", "8x8", 128, 32),
        ("3xv5p-32", "2x2x4", 48, 12),
    ],
)
def test_a_slice_is_named_by_topology_or_by_chips(name, shape, chips, hosts):
    tpu = parse_slice(name)
    assert (tpu.topology, tpu.chips, tpu.hosts) == (shape, chips, hosts)
    assert parse_slice(tpu.name) == tpu


@pytest.mark.parametrize("generation", GENERATIONS)
def test_slices_ascend_and_are_distinct(generation):
    chips = [tpu.chips for tpu in standard_slices(generation)]
    assert chips == sorted(set(chips))
    assert all(tpu.hosts * tpu.chips_per_host == tpu.chips for tpu in standard_slices(generation))


@pytest.mark.parametrize("name", ["v5e:3x3", "v5e:2x2x4", "v5e", "v5p:17", "v4:", "v5p-17", "v4-", "2xv5e:3x3"])
def test_an_unknown_slice_lists_the_known_ones(name):
    with pytest.raises(InputError, match=r"(2x4 \(8\), 4x4 \(16\)|2x2x4 \(16\), 2x4x4 \(32\))"):
        parse_slice(name)


def test_an_unknown_generation_lists_the_known_ones():
    with pytest.raises(InputError, match="v4.*v5e.*v5p.*v6e"):
        parse_slice("v9:2x2")


def test_without_the_compiler_the_fix_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
    with pytest.raises(InputError, match=r"pip install -e '.\[aot\]'"):
        topology(parse_slice("v5e:2x2"))


@pytest.mark.aot
@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_compiler_knows_every_slice(generation):
    for tpu in standard_slices(generation):
        devices = topology(tpu).devices
        assert len(devices) == tpu.chips  # one device per chip, also where a chip has two cores
        assert len({device.process_index for device in devices}) == tpu.hosts


@pytest.mark.aot
def test_what_is_compiled_for_a_slice_is_not_sought_in_the_compilation_cache(tmp_path):
    """A program of a described slice can be written to jax's cache, and not be read back from it."""
    code = (
        "import jax, sys; from jax.sharding import SingleDeviceSharding; "
        "from encore_jax.parallel.slices import parse_slice, topology; "
        "device = topology(parse_slice('v5e:2x2')).devices[0]; "
        "x = jax.ShapeDtypeStruct((8, 8), 'float32', sharding=SingleDeviceSharding(device)); "
        "print(jax.jit(lambda x: x @ x).lower(x).compile().cost_analysis()['flops'])"
    )
    settings = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | settings, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0 and float(done.stdout) > 0, done.stderr[-2000:]
