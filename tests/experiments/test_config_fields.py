"""Every field of every shipped configuration with values that make no sense: accepted, or one line that names it."""

import pytest

from encore_jax.cli.config_file import load_config, shipped_names
from encore_jax.errors import InputError
from encore_jax.recipes.run_config import checked, validated
from encore_jax.settings import fields_of, types_of

NAN, INFINITY = float("nan"), float("inf")
NUMBERS = [NAN, INFINITY, -INFINITY, -1, 0, 10**30, -(10**30), 10**5000, 1e308, 1e-320, -0.0, 2**31, -1.5]
TEXTS = ["", " ", "x" * 10_000, "a\0b", "\ud800", "../../x", "\x1b[31m", "-rf", "nobody\nknows"]
OTHERS = [None, True, [], {}, object(), b"x"]
OTHERS += [(), (None,), ("",), (NAN,), (0,), (-1,), (1, 1), (1.0, 2.0, 3.0), ("x", "x")]
VALUES = NUMBERS + TEXTS + OTHERS
NEEDED = {"data.path": "pairs.jsonl", "data": "pairs.jsonl", "model": "folder", "scores": "view.npz", "model.path": "m",
          "judge.rules_of": "", "judge.model": "m", "data.ratings_path": "rated.jsonl",
          "judges.first.model": "m", "judges.second.model": "n"}  # fmt: skip
NAMES = shipped_names()


def shipped(name):
    """The configuration, with what it leaves to the command line."""
    config = load_config(name)
    for path, value in fields_of(config).items():
        if value == "" and path in NEEDED:
            assign(config, path, NEEDED[path])
    return config


def assign(config, path, value):
    """Changes a field; returns what it held."""
    *groups, name = path.split(".")
    for group in groups:
        config = getattr(config, group)
    before = getattr(config, name)
    setattr(config, name, value)
    return before


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_checked_when_the_configuration_is(name):
    validated(shipped(name))
    accepted = 0
    config = shipped(name)
    for path, kind in types_of(config).items():
        for value in VALUES:
            before = assign(config, path, value)
            try:
                checked(config)
                accepted += 1
            except InputError as error:
                assert "\n" not in str(error) and len(str(error)) < 3000 and error.fix, (path, error)
                # a check of two fields together may name the other one
                assert error.where.startswith("config") or error.where == "mesh", (path, value, str(error))
            else:
                assert kind is not bool or value is True, (path, value)
                assert kind not in (int, float) or isinstance(value, int | float), (path, value)
            finally:
                assign(config, path, before)
    assert accepted


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_type_is_named_with_its_own_field(name):
    config = shipped(name)
    for path in types_of(config):
        for value in (object(), None, {}):
            before = assign(config, path, value)
            with pytest.raises(InputError, match=rf"^config\.{path}: "):
                checked(config)
            assign(config, path, before)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc/x", "a/b", "a\\b", "..", ".", "", " ", "-rf", ".hidden", "x.", "a\0b", "n" * 201, "NUL",
             "com1", "a\nb", "a\u202eb", "~", "$HOME", "a:b", "é" * 101, "\ud800"]
)  # fmt: skip
def test_a_name_does_not_leave_its_folder(name):
    config = shipped("quickstart")
    config.name = name
    with pytest.raises(InputError, match=r"^config\.name: "):
        validated(config)


@pytest.mark.parametrize("name", ["quickstart", "by hand", "lr=1e-5,seed=0", "规则", "a.b", "x" * 200])
def test_ordinary_names_are_allowed(name):
    config = shipped("quickstart")
    config.name = name
    assert validated(config).name == name
