"""The grid of a sweep: values of fields as text, ``train.lr=1e-5,2e-5;seed=0..4``, and the cells that they span."""

from __future__ import annotations

import ast
import difflib
import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from encore_jax.errors import InputError
from encore_jax.settings import Settings, fields_of

INTEGERS = re.compile(r"(-?\d+)\.\.(-?\d+)")
GEOMETRIC = re.compile(r"([\d.eE+-]+?)\.\.([\d.eE+-]+):log(\d+)")
LONGEST_NAME = 100
"""Characters of a cell's name: it becomes a folder, and parts of others."""


def parse_grid(text: str) -> dict[str, tuple[str, ...]]:
    """Fields and the values they take, as text.

    Fields are separated by ``;``, values by ``,``. ``a..b`` stands for all integers from a to b, ``a..b:logN`` for N
    values from a to b with equal ratios; quotes and brackets keep separators together.

    Raises:
      InputError: naming the part that makes no sense.

    >>> parse_grid("train.lr=1e-5,2e-5;seed=0..2")
    {'train.lr': ('1e-5', '2e-5'), 'seed': ('0', '1', '2')}
    >>> parse_grid("compose.tau=0.01..1:log3;model.buckets=(64,128),(256,);name='a,b'")
    {'compose.tau': ('0.01', '0.1', '1'), 'model.buckets': ('(64,128)', '(256,)'), 'name': ('a,b',)}
    """
    axes: dict[str, tuple[str, ...]] = {}
    for part in filter(None, split_outside(text, ";")):
        field, equals, values = part.partition("=")
        field, where = field.strip(), f"--grid, {part.strip()!r}"
        if not equals or not field:
            raise InputError("is no FIELD=VALUES", where=where, fix="write e.g. seed=0..4 or train.lr=1e-5,2e-5")
        if field in axes:
            raise InputError(f"{field} is there twice", where=where, fix="give all its values in one place")
        axes[field] = tuple(v for item in split_outside(values, ",") for v in _expanded(item, where))
        if len(set(axes[field])) < len(axes[field]):
            raise InputError("a value is there twice", where=where, fix="give each value once")
    if not axes:
        raise InputError("is empty", where="--grid", fix="write e.g. seed=0..4")
    return axes


def split_outside(text: str, separator: str) -> list[str]:
    """Splits at separators outside of quotes and brackets; strips the parts.

    >>> split_outside("a, (b, c), 'd, e'", ",")
    ['a', '(b, c)', "'d, e'"]
    """
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        if letter == separator and not quote and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if quote or depth:
        raise InputError("quotes or brackets do not match", where=repr(text), fix="close what is open")
    return [part.strip() for part in parts]


def _expanded(item: str, where: str) -> list[str]:
    """The values that one item between commas stands for."""
    if not item:
        raise InputError("a value is missing", where=where, fix="remove the extra comma, or write '' for an empty text")
    if item[0] in "\"'":
        try:
            return [str(ast.literal_eval(item))]
        except (SyntaxError, ValueError) as error:
            raise InputError(f"{item} is no quoted text", where=where, fix="quote the whole value") from error
    if match := INTEGERS.fullmatch(item):
        first, last = map(int, match.groups())
        if first > last:
            raise InputError(f"{item} is empty", where=where, fix=f"write {last}..{first}")
        return [str(n) for n in range(first, last + 1)]
    if match := GEOMETRIC.fullmatch(item):
        return _geometric(*match.groups(), where)
    return [item]


def _geometric(first: str, last: str, count: str, where: str) -> list[str]:
    try:
        low, high, n = float(first), float(last), int(count)
    except ValueError as error:
        raise InputError(f"{first}..{last} are no numbers", where=where, fix="write e.g. 1e-6..1e-4:log5") from error
    if low <= 0 or high <= 0 or n < 2:
        raise InputError("needs positive ends and at least 2 values", where=where, fix="write e.g. 1e-6..1e-4:log5")
    return [f"{low * (high / low) ** (i / (n - 1)):.6g}" for i in range(n)]


def check_fields(axes: Iterable[str], config: Settings, flag: str = "--grid, {}") -> None:
    """Refuses fields that the configuration does not have.

    Args:
      axes: names of fields.
      config: that should have them.
      flag: how a message names a field.

    Raises:
      InputError: with the nearest names, or the fields of a group that was named.
    """
    known = fields_of(config)
    for field in axes:
        if field in known:
            continue
        where = flag.format(field)
        if inside := [name for name in known if name.startswith(field + ".")]:
            raise InputError("is a group of fields", where=where, fix=f"use one of {', '.join(inside)}")
        raise InputError("the configuration has no such field", where=where, fix=nearest_fields(field, list(known)))


def nearest_fields(field: str, known: Sequence[str]) -> str:
    """What a misspelt field may have meant, wherever it lies.

    >>> nearest_fields("compose.taw", ["compose.tau", "select.tau", "train.lr"])
    'did you mean compose.tau or select.tau?'
    """
    near, last = [], field.rpartition(".")[2]
    ends = list(dict.fromkeys(name.rpartition(".")[2] for name in known))
    for end in difflib.get_close_matches(last, ends, 3, 0.6):
        near += [name for name in known if name.rpartition(".")[2] == end][:3]
    near = list(dict.fromkeys(near + difflib.get_close_matches(field, known, 2, 0.7)))[:4]
    return f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(known)}"


def cells(axes: Mapping[str, tuple[str, ...]]) -> dict[str, dict[str, str]]:
    """All combinations by name; the last field changes fastest.

    >>> list(cells({"train.lr": ("1e-5",), "seed": ("0", "1")}))
    ['seed=0,train.lr=1e-5', 'seed=1,train.lr=1e-5']
    """
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    return {cell_name(overrides): overrides for overrides in combinations}


def cell_name(overrides: Mapping[str, str]) -> str:
    """A name that can be a folder: the same for the same overrides in any order, and different for different ones.

    >>> cell_name({"data.path": "a b/c.jsonl"})
    'data.path=a-b-c.jsonl,7ba67177'
    """
    plain = ",".join(f"{field}={value}" for field, value in sorted(overrides.items()))
    safe = re.sub(r"[^A-Za-z0-9._=,+-]+", "-", plain)
    if safe == plain and len(safe) <= LONGEST_NAME and not any("," in value for value in overrides.values()):
        return safe
    digest = hashlib.sha256(repr(sorted(overrides.items())).encode()).hexdigest()[:8]
    return f"{safe[:LONGEST_NAME]},{digest}"
