"""Safetensors, their index and GGUF files that say what cannot be: each ends in one line that names the place."""

import json
import os
import struct

import numpy as np
import pytest

from encore_jax.checkpoints.gguf_file import GGUFFile
from encore_jax.checkpoints.safetensors import MAX_HEADER, HuggingFaceFolder, SafetensorsFile
from encore_jax.errors import InputError


def refused(call, *parts):
    """The call ends in one line that holds all these parts."""
    with pytest.raises(InputError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text and len(text) < 900, text
    for part in parts:
        assert part in text, text


# Safetensors


def entry(shape=(2,), offsets=(0, 8), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def write(path, header, body=bytes(8), length=None):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + body)
    return path


DEEP = b"[" * 100_000 + b"]" * 100_000
A = b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        (b"not json at all", ("header", "is not valid JSON")),
        (b"\xff\xff", ("header", "is not UTF-8")),
        ([1, 2], ("header", "expected `object`, got `array`")),
        (b'"ab"', ("header", "expected `object`, got `str`")),
        (b'{"x":' + DEEP + b"}", ("header", "nested more than 64 deep")),
        (b"{" + A + b"," + A + b"}", ("header", "has the key 'a' twice")),
        ({"__metadata__": [1]}, ("header '__metadata__'", "expected `object`")),
        ({"__metadata__": {"rules": 3}}, ("header '__metadata__'", "expected `str`, got `int`")),
        ({"a": 3}, ("tensor 'a'", "expected `object`, got `int`")),
        ({"a": {"dtype": "F32"}}, ("tensor 'a'", "missing required field")),
        ({"a": entry() | {"data_offsets": 3}}, ("tensor 'a'", "'data_offsets'", "got `int`")),
        ({"a": entry(offsets=(0.0, 8.0))}, ("tensor 'a'", "'data_offsets[0]'", "got `float`")),
        ({"a": entry(offsets=(0, True))}, ("tensor 'a'", "'data_offsets[1]'", "got `bool`")),
        ({"a": entry(offsets=(0, 8, 9))}, ("tensor 'a'", "'data_offsets'", "length 2, got 3")),
        ({"a": entry(offsets=(-8, 0))}, ("tensor 'a'", "'data_offsets[0]'", ">= 0")),
        ({"a": entry((0,), offsets=(float("nan"), 0))}, ("tensor 'a'", "'data_offsets[0]'", "got `float`")),
        ({"a": entry((), offsets=(8, 4))}, ("tensor 'a'", "disagree")),
        ({"a": entry(offsets=(4, 12))}, ("tensor 'a'", "the file is truncated")),
        ({"a": entry(offsets=(0, 2**62))}, ("tensor 'a'", "'data_offsets[1]'", "<= 28147")),
        ({"a": entry(offsets=(0, 2**40))}, ("tensor 'a'", "the file is truncated")),
        ({"a": entry(("2",))}, ("tensor 'a'", "'shape[0]'", "got `str`")),
        ({"a": entry((True, 2))}, ("tensor 'a'", "'shape[0]'", "got `bool`")),
        ({"a": entry((-1, -2))}, ("tensor 'a'", "'shape[0]'", ">= 0")),
        ({"a": entry((2**47, 4))}, ("tensor 'a'", "disagree")),
        ({"a": entry((0, 2**47, 2**47), offsets=(0, 0))}, ("tensor 'a'", "disagree")),
        ({"a": entry([1] * 17)}, ("tensor 'a'", "'shape'", "length <= 16")),
        (b'{"a":{"dtype":"F32","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,8]}}', ("header", "not valid JSON")),
        ({"a": entry((1,))}, ("tensor 'a'", "disagree")),
        ({"a": entry(dtype=["F32"])}, ("tensor 'a'", "'dtype'", "got `array`")),
        ({"a": entry(dtype=None)}, ("tensor 'a'", "'dtype'", "got `null`")),
        ({"a": entry(), "b": entry()}, ("tensor 'b'", "overlaps tensor 'a'")),
        ({"a": entry(), "b": entry((1,), (4, 8))}, ("tensor 'b'", "overlaps tensor 'a'")),
        ({"a" * 300: entry((1,))}, ("tensor 'aaaa", "...'", "disagree")),
    ],
)
def test_a_safetensors_header_that_cannot_be_is_refused_by_place(header, parts, tmp_path):
    path = write(tmp_path / "model.safetensors", header)
    refused(lambda: SafetensorsFile(path), "model.safetensors", *parts)


def test_a_header_longer_than_its_file_or_than_any_is_never_allocated(tmp_path):
    for length in (2**63 - 1, 2**64 - 1, 11, 1):
        path = write(tmp_path / "model.safetensors", b"{}", length=length)
        refused(lambda path=path: SafetensorsFile(path), "header is missing or truncated")
    with (tmp_path / "long.safetensors").open("wb") as file:
        file.write((MAX_HEADER + 1).to_bytes(8, "little"))
        file.truncate(MAX_HEADER + 9)
    refused(lambda: SafetensorsFile(tmp_path / "long.safetensors"), "more than 16,777,216")


def test_odd_but_sound_safetensors_are_read(tmp_path):
    header = {
        "__metadata__": {"format": "pt"},
        "scalar": entry((), (0, 4)),
        "none": entry((0, 5), (4, 4)),
        "unknown": entry((4,), (4, 8), "I8"),
    }
    file = SafetensorsFile(write(tmp_path / "a.safetensors", header, np.float32([2.5, 1]).tobytes()))
    assert file.read("scalar").shape == () and file.read("scalar") == 2.5 and file.read("none").shape == (0, 5)
    assert file.metadata == {"format": "pt"} and file.entries["unknown"]["shape"] == [4]
    refused(lambda: file.read("unknown"), "tensor 'unknown'", "type I8 is not read here")
    assert SafetensorsFile(write(tmp_path / "b.safetensors", {"__metadata__": None}, b"")).entries == {}


# Index


def folder_of(path, index, links=()):
    path.mkdir()
    content = index if isinstance(index, bytes) else json.dumps(index).encode()
    (path / "model.safetensors.index.json").write_bytes(content)
    write(path / "s.safetensors", {"a": entry()})
    write(path.parent / "outside.safetensors", {"a": entry()})
    for link, target in links:
        (path / link).symlink_to(target)
    return path


PLACED = b'{"weight_map":{"a":"s.safetensors","a":"s.safetensors"}}'


@pytest.mark.parametrize(
    ("index", "parts"),
    [
        ([1], ("expected `object`, got `array`",)),
        ({}, ("missing required field `weight_map`",)),
        ({"weight_map": ["a"]}, ("'weight_map'", "expected `object`")),
        ({"weight_map": {"a": 5}}, ("'weight_map[...]'", "got `int`")),
        ({"weight_map": {"a": ["s.safetensors"]}}, ("'weight_map[...]'", "got `array`")),
        ({"weight_map": {}}, ("0 of 0 shards",)),
        ({"weight_map": {"a": "../outside.safetensors"}}, ("'weight_map'", "'../outside.safetensors' is no file of")),
        ({"weight_map": {"a": "./s.safetensors"}}, ("is no file of this folder",)),
        ({"weight_map": {"a": "/etc/passwd"}}, ("'/etc/passwd' is no file of this folder",)),
        ({"weight_map": {"a": "x\0y"}}, ("is no file of this folder",)),
        ({"weight_map": {"a": "ü" * 200}}, ("is no file of this folder",)),
        ({"weight_map": {"a": ".."}}, ("1 of 1 shards missing",)),
        ({"weight_map": {"a": ""}}, ("1 of 1 shards missing",)),
        ({"weight_map": {"a": "t.safetensors", "b": "loop"}}, ("2 of 2 shards missing: t.safetensors, loop",)),
        ({"weight_map": {"b": "s.safetensors"}}, ("places 'b' here and it is not",)),
        ({"weight_map": {"a": "u.safetensors"}}, ("1 tensors are in no index: 'b'",)),
        (PLACED, ("has the key 'a' twice",)),
        (DEEP, ("nested more than 64 deep",)),
        (b"\xff", ("is not UTF-8",)),
    ],
)
def test_an_index_that_cannot_be_is_refused(index, parts, tmp_path):
    folder = folder_of(tmp_path / "m", index, [("loop", "loop"), ("u.safetensors", "../two.safetensors")])
    write(tmp_path / "two.safetensors", {"a": entry(), "b": entry((0,), (8, 8))})
    refused(lambda: HuggingFaceFolder(folder), "/m", *parts)


def test_a_hub_caches_links_are_followed(tmp_path):
    """Its folders hold nothing but links to files elsewhere."""
    links = [("linked.safetensors", "../outside.safetensors")]
    folder = folder_of(tmp_path / "m", {"weight_map": {"a": "linked.safetensors"}}, links)
    assert HuggingFaceFolder(folder).shapes() == {"a": (2,)}
    (folder / "model.safetensors").symlink_to("../outside.safetensors")
    assert HuggingFaceFolder(folder).read("a").tolist() == [0.0, 0.0]


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    (tmp_path / "loop.gguf").symlink_to(tmp_path / "loop.gguf")
    for name in ("pipe.gguf", "loop.gguf", "none.gguf", ""):
        for kind in (GGUFFile, SafetensorsFile):
            refused(lambda kind=kind, name=name: kind(tmp_path / name), str(tmp_path / name).rstrip("/"))


# GGUF


def text(content):
    content = content if isinstance(content, bytes) else content.encode()
    return struct.pack("<Q", len(content)) + content


def pair(key, kind, value=b""):
    return text(key) + struct.pack("<I", kind) + value


def tensor(name="t", dims=(2,), kind=0, offset=0):
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def alignment(kind, code, value):
    return pair("general.alignment", kind, struct.pack(code, value))


def gguf(path, body=b"", tensors=0, keys=0, version=3):
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + body)
    return path


ARRAY = struct.pack("<IQ", 9, 1)


@pytest.mark.parametrize(
    ("body", "tensors", "keys", "parts"),
    [
        (b"", 0, 2**60, ("names of the metadata", "past the end")),
        (bytes(64), 2**60, 0, ("names of the tensors",)),
        (struct.pack("<Q", 2**64 - 1) + b"abc", 0, 1, ("names of the metadata", "past the end")),
        (text(b"\xff"), 0, 1, ("not UTF-8",)),
        (text("k" * 1025), 0, 1, ("a name of 1025 bytes",)),
        (text(""), 0, 1, ("an empty name",)),
        (pair("k", 13), 0, 1, ("value of 'k'", "value type 13 is unknown")),
        (pair("k", 8, text(b"\xff")), 0, 1, ("value of 'k'", "not UTF-8")),
        (pair("k", 9, struct.pack("<IQ", 4, 2**62)), 0, 1, ("value of 'k'", "past the end")),
        (pair("k", 9, struct.pack("<IQ", 8, 2**62)), 0, 1, ("value of 'k'", "past the end")),
        (pair("k", 9, struct.pack("<IQ", 13, 1)), 0, 1, ("value of 'k'", "value type 13 is unknown")),
        (pair("k", 9, ARRAY * 20_000), 0, 1, ("value of 'k'", "a list of lists")),
        (pair("k", 0, b"\1") * 2, 0, 2, ("value of 'k'", "there twice")),
        (alignment(4, "<I", 0), 0, 1, ("'general.alignment'", "no power of two")),
        (alignment(4, "<I", 24), 0, 1, ("'general.alignment'", "no power of two")),
        (alignment(5, "<i", -8), 0, 1, ("'general.alignment'", "no power of two")),
        (alignment(7, "<B", 1), 0, 1, ("'general.alignment'", "no power of two")),
        (alignment(6, "<f", 32.0), 0, 1, ("'general.alignment'", "no power of two")),
        (alignment(10, "<Q", 2**63), 0, 1, ("'general.alignment'", "no power of two")),
        (tensor(offset=2**63) + bytes(64), 1, 0, ("tensor 't'", "truncated")),
        (tensor(offset=1) + bytes(64), 1, 0, ("tensor 't'", "offset 1 is no multiple of the alignment 32")),
        (tensor(dims=(2**62,) * 4) + bytes(64), 1, 0, ("tensor 't'", "too large")),
        (tensor(dims=(0, 2**62, 2**62)) + bytes(64), 1, 0, ("tensor 't'", "too large")),
        (tensor(dims=(2**40,)) + bytes(64), 1, 0, ("tensor 't'", "truncated")),
        (tensor(dims=()) + bytes(64), 1, 0, ("tensor 't'", "0 dimensions")),
        (tensor(dims=(1,) * 5) + bytes(64), 1, 0, ("tensor 't'", "5 dimensions")),
        (tensor(kind=39, dims=(256,)) + bytes(600), 1, 0, ("tensor 't'", "type MXFP4 is not read here", "Q4_K")),
        (tensor(kind=999) + bytes(64), 1, 0, ("tensor 't'", "type number 999")),
        (tensor(kind=8, dims=(30,)) + bytes(64), 1, 0, ("tensor 't'", "rows of 30 do not fill blocks of 32")),
        (tensor() * 2 + bytes(128), 2, 0, ("tensor 't'", "there twice")),
        (tensor(dims=(16,)) + tensor("u", offset=32) + bytes(128), 2, 0, ("tensor 'u'", "overlaps tensor 't'")),
    ],
)
def test_a_gguf_header_that_cannot_be_is_refused_by_place(body, tensors, keys, parts, tmp_path):
    path = gguf(tmp_path / "m.gguf", body, tensors, keys)
    refused(lambda: GGUFFile(path), "m.gguf", *parts)


def test_an_empty_tensor_and_an_empty_list_are_read(tmp_path):
    body = pair("k", 9, struct.pack("<IQ", 4, 0)) + pair("s", 9, struct.pack("<IQ", 8, 0)) + tensor(dims=(0, 3))
    file = GGUFFile(gguf(tmp_path / "m.gguf", body + bytes(64), 1, 2))
    assert file.read("t").shape == (3, 0) and len(file.metadata["k"]) == 0 and file.metadata["s"] == []
