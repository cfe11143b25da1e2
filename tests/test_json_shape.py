"""JSON of any wrong shape ends in one line that names the place."""

import dataclasses
import json
import os

import pytest

from encore_jax.errors import InputError
from encore_jax.json_shape import MAX_DEPTH, check_shape, decode_json, read_bytes, read_json


@dataclasses.dataclass
class Head:
    rules: list[str]
    width: int
    scale: float = 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not valid JSON"),
        ("{", "line 1, column 2"),
        (b"\xff", "is not UTF-8 text"),
        ("[1]", "expected `object`, got `array`"),
        ('{"rules": []}', "missing required field `width`"),
        ('{"rules": "ab", "width": 1}', "field 'rules': expected `array`, got `str`"),
        ('{"rules": ["a", 1], "width": 1}', "field 'rules[1]': expected `str`, got `int`"),
        ('{"rules": [], "width": true}', "field 'width': expected `int`, got `bool`"),
        ('{"rules": [], "width": 1.5}', "field 'width'"),
        ('{"rules": [], "width": 2.0}', "field 'width'"),
        ('{"rules": [], "width": 1e400}', "field 'width'"),
        ('{"rules": [], "width": 1, "scale": null}', "field 'scale'"),
        ('{"rules": ["\\ud83d"], "width": 1}', "half of a surrogate pair"),
        ('{"rules": [], "width": ' + "9" * 5000 + "}", "is not valid JSON"),
        ("[" * 100_000, f"nested more than {MAX_DEPTH} deep"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"nested more than {MAX_DEPTH} deep"),
    ],
)
def test_wrong_shapes_are_named(text, message):
    with pytest.raises(InputError) as caught:
        decode_json(text, Head, where="x.json", fix="save it again")
    assert message in str(caught.value) and "x.json" in str(caught.value) and "save it again" in str(caught.value)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


def test_a_wrong_key_is_told_from_a_wrong_value():
    with pytest.raises(InputError, match=r"x: field '\[...\]': a key: expected `int`, got `str`"):
        decode_json('{"a": {"b": 1}}', dict[str, dict[int, int]], where="x")


def test_what_json_holds_is_kept():
    assert decode_json('{"rules": ["a"], "width": 3, "scale": 2, "new": 1}', Head, where="x") == Head(["a"], 3, 2.0)
    assert decode_json(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}', dict[str, str], where="x") == {"a": "\U0001f600"}
    deep = json.loads("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert check_shape(deep, where="x") == deep
    assert decode_json("[NaN]", list[float], where="x")[0] != 0
    assert decode_json('{"a": [1, {"b": null}]}', where="x") == {"a": [1, {"b": None}]}


@pytest.mark.parametrize("text", ['{"a": 1, "a": 1}', '{"b": [{"a": 1, "c": 2, "a": 3}]}', '{"a": 1, "\\u0061": 2}'])
def test_a_repeated_key_is_refused_where_keys_are_unique(text):
    with pytest.raises(InputError, match="x: has the key 'a' twice"):
        decode_json(text, where="x", unique_keys=True)
    assert decode_json(text, where="x")


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "none")
    for name in ("pipe", "loop", "a\0b", "x" * 300, "nowhere"):
        with pytest.raises(InputError, match="cannot be read|is missing|is a link to nothing"):
            read_json(tmp_path / name)
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    (tmp_path / "real").write_text("[1]")
    assert read_json(tmp_path / "linked") == [1]


def test_files_are_read_within_a_limit(tmp_path):
    path = tmp_path / "head.json"
    with pytest.raises(InputError, match="head.json: is missing. Fix: train"):
        read_json(path, Head, fix="train")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path, Head)
    path.write_text("[1]" + " " * 100)
    assert read_json(path) == [1]
    assert len(read_bytes(path, max_bytes=103)) == 103
    with pytest.raises(InputError, match="is larger than 102 bytes"):
        read_bytes(path, max_bytes=102)


@pytest.mark.parametrize(
    "text", ['"a\\ud800b"', '["\\udfff", 1]', '{"\\ud83d": "\\ude00"}', '{"x": NaN, "y": "\\ud800"}']
)
def test_halves_of_surrogate_pairs_are_replaced_where_asked(text):
    with pytest.raises(InputError, match="half of a surrogate pair"):
        decode_json(text, where="x")
    value = decode_json(text, where="x", replace_surrogates=True)
    assert "\ufffd" in json.dumps(value, ensure_ascii=False).encode().decode()
    whole = '["\\ud83d\\ude00", "\\\\ud800", 1e999]'
    assert decode_json(whole, where="x", replace_surrogates=True) == decode_json(whole, where="x")
