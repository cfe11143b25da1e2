"""Slices are named as the cloud names their topologies, and the TPU compiler knows each of them."""

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


@pytest.mark.parametrize("name", ["v5e:3x3", "v5e:2x2x4", "v5e", "v5p:17", "v4:", "v5p-17", "v4-", "v4-2x2"])
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
