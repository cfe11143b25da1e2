"""Settings objects: plain dataclasses that can be overridden from a command line and then locked.

Modules that declare them must not postpone annotations: the field types themselves are read, here and by
ml_collections.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterator
from typing import get_args, get_origin

from encore_jax.errors import InputError

MAX_INT = 2**31 - 1
"""Largest whole number of a field: seeds, sizes and counts that go through JAX are 32 bits."""
MIN_FLOAT, MAX_FLOAT = 1.2e-38, 3.4e38
"""Sizes of numbers that float32 can tell from 0 and from infinity."""
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


class Settings:
    """Base of settings dataclasses: mutable until `freeze`, because flag parsing assigns fields one by one.

    >>> @dataclasses.dataclass
    ... class Example(Settings):
    ...     tau: float = 2.0
    >>> example = Example().freeze()
    >>> example.tau = 3.0
    Traceback (most recent call last):
    dataclasses.FrozenInstanceError: cannot assign to field 'tau' of frozen Example
    """

    _frozen = False

    def __setattr__(self, name, value):
        if self._frozen:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r} of frozen {type(self).__name__}")
        known = {field.name for field in dataclasses.fields(self)}
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"{type(self).__name__} has no field {name!r}{hint}")
        super().__setattr__(name, value)

    def freeze(self):
        """Locks this object and every settings object in it; returns itself."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Settings):
                value.freeze()
        object.__setattr__(self, "_frozen", True)
        return self


def no_result(default):
    """A field that says how a run goes (where it keeps something, how devices run a step) and not what it finds."""
    return dataclasses.field(default=default, metadata={"no result": True})


def results_depend_on(settings: Settings) -> dict[str, object]:
    """Plain values of all fields but those of `no_result`, groups as dictionaries.

    >>> @dataclasses.dataclass
    ... class Example(Settings):
    ...     tau: float = 2.0
    ...     folder: str = no_result("")
    >>> results_depend_on(Example(folder="elsewhere"))
    {'tau': 2.0}
    """
    fields = [field for field in dataclasses.fields(settings) if "no result" not in field.metadata]
    values = {field.name: getattr(settings, field.name) for field in fields}
    return {
        name: results_depend_on(value)
        if isinstance(value, Settings)
        else list(value)
        if isinstance(value, tuple)
        else value
        for name, value in values.items()
    }


def fields_of(settings: Settings, prefix: str = "") -> dict[str, object]:
    """Every field that holds a value, by its dotted name."""
    return {path: value for path, _, value in _fields(settings, prefix) if not isinstance(value, Settings)}


def types_of(settings: Settings) -> dict[str, type]:
    """The declared type of every field, groups included, by its dotted name."""
    return {path: field.type for path, field, _ in _fields(settings, "")}


def _fields(settings: Settings, prefix: str) -> Iterator[tuple[str, dataclasses.Field, object]]:
    for field in dataclasses.fields(settings):
        value, path = getattr(settings, field.name), prefix + field.name
        yield path, field, value
        if isinstance(value, Settings):
            yield from _fields(value, path + ".")


def check_types(settings: Settings, where: str = "config", any_size: tuple[str, ...] = ()) -> None:
    """Refuses values that are not of their field's type, numbers that are none, and those that float32 has not.

    Args:
      settings: to be checked.
      where: what messages call them.
      any_size: names of fields whose numbers may be of any size, infinite too.

    Raises:
      InputError: naming the field, what it holds and what it may hold.

    >>> @dataclasses.dataclass
    ... class Example(Settings):
    ...     taus: tuple[float, ...] = (2.0,)
    >>> check_types(Example(taus=(1.0, "abc")))
    Traceback (most recent call last):
    encore_jax.errors.InputError: config.taus[1]: 'abc' is no number. Fix: e.g. (2.0,)
    """
    for path, field, value in _fields(settings, ""):
        if problem := _problem(value, field.type, field.name in any_size):
            default = field.default_factory() if field.default is dataclasses.MISSING else field.default
            fix = f"use {type(default).__name__}(...)" if isinstance(default, Settings) else f"e.g. {default!r}"
            part, words = problem
            raise InputError(words, where=f"{where}.{path}{part}", fix=fix)


def words_of(kind: type) -> str:
    """What a field of this type holds, in words.

    >>> words_of(int), words_of(tuple[float, float]), words_of(tuple[str, ...])
    ('a whole number', 'two values in brackets, each a number', 'values in brackets, each text')
    """
    if get_origin(kind) is not tuple:
        return WORDS.get(kind, kind.__name__)
    items = get_args(kind)
    many = "" if items[-1] is Ellipsis else f"{ {2: 'two', 3: 'three'}.get(len(items), len(items)) } "
    return f"{many}values in brackets, each {words_of(items[0])}"


def _problem(value: object, kind: type, any_size: bool) -> tuple[str, str] | None:
    """What is wrong with a value of this type, and in which part of it; None if nothing is."""
    if get_origin(kind) is tuple:
        items = get_args(kind)
        if not isinstance(value, tuple) or (items[-1] is not Ellipsis and len(items) != len(value)):
            return "", f"{_shown(value)} is not {words_of(kind)}"
        for i, item in enumerate(value):
            if problem := _problem(item, items[0], any_size):
                return f"[{i}]{problem[0]}", problem[1]
        return None
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        return "", f"{_shown(value)} is {_not(words_of(kind))}"
    if kind is str:
        problem = _text_problem(value)
    else:
        problem = _number_problem(value, any_size) if kind in (int, float) else ""
    return ("", problem) if problem else None


def _number_problem(value: int | float, any_size: bool) -> str:
    if isinstance(value, int):
        return f"{_shown(value)} is out of range: at most {MAX_INT:,} in size" if abs(value) > MAX_INT else ""
    if value == 0 or MIN_FLOAT <= abs(value) <= MAX_FLOAT or (any_size and not math.isnan(value)):
        return ""
    return f"{value:g} is no number that float32 holds, which is 0 or {MIN_FLOAT} to {MAX_FLOAT} in size"


def _text_problem(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        return "it holds half of a surrogate pair, which is no character"
    return "it holds a null character" if "\0" in value else ""


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        text = f"a {type(value).__name__} of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _not(what: str) -> str:
    return f"no {what[2:]}" if what.startswith("a ") else f"not {what}"
