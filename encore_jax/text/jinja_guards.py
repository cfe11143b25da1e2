"""What filters and text methods of a template may make: said, and paid for, before it is made.

A guard gets the meter (`encore_jax.text.jinja_meter.Meter`) and the arguments of the filter, and spends as many
characters as the result can have, or more. It may return what is to take the place of the first argument: a generator
that it has read, say. Without a guard, a filter pays for its result afterwards, which is for those that make at most as
much as they are given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from encore_jax.text.jinja_meter import ITEM, LimitError

_WIDTH = re.compile(r"%[-+ #0-9.]*(\*|\d{5})")


def _whole(meter, *values: Any, **named: Any) -> None:
    """For a filter that prints or compares its arguments whole."""
    for value in (*values, *named.values()):
        meter.sized(value)


def _formats(meter, template: Any, *values: Any, **named: Any) -> None:
    template = str(meter.sized(template))
    if _WIDTH.search(template):
        raise LimitError("formats to a width of five digits or more, or to one that is computed")
    meter.spend(len(template) + (template.count("%") + 1) * (10_000 + meter.size(values) + meter.size(named)))


def _replaces(meter, value: Any, old: Any, new: Any, count: Any = None) -> None:
    value, old, new = (str(meter.sized(part)) for part in (value, old, new))
    meter.spend(len(value) + (value.count(old) * len(new) if len(new) > len(old) else 0))


def _pads(meter, value: Any, width: Any = 80, *fill: Any) -> None:
    meter.spend(meter.size(value) + (max(0, width) if isinstance(width, int) else 0))


def _indents(meter, value: Any, width: Any = 4, first: bool = False, blank: bool = False) -> None:
    text = str(meter.sized(value))
    meter.spend(len(text) + (len(text.splitlines()) + 1) * (width if isinstance(width, int) else len(width)))


def _joins(meter, value: Any, d: Any = "", attribute: Any = None) -> list:
    items, size = [], 0
    for item in value:
        items.append(item)
        meter.spend(ITEM)
        size += meter.size(item)
    meter.spend(size + len(items) * meter.size(d))
    return items


def _joins_texts(meter, separator: str, values: Any) -> list:
    return _joins(meter, values, separator)


def _dumps(meter, value: Any, ensure_ascii: Any = False, indent: Any = None, *more: Any, **named: Any) -> None:
    width = 0 if indent is None else indent if isinstance(indent, int) else len(indent)
    if width > 16:
        raise LimitError("indents JSON by more than 16 characters")
    nested, depth = [value], 0
    while nested and width:
        nested = [inner for outer in nested if isinstance(outer, list | tuple | dict)
                  for inner in (outer.values() if isinstance(outer, dict) else outer)]  # fmt: skip
        meter.spend(ITEM * len(nested))
        depth += 1
    meter.spend(meter.size(value) * (6 if ensure_ascii else 2) + meter.size(value) * width * depth // 2)


def _batches(meter, value: Any, count: Any, fill_with: Any = None) -> None:
    meter.spend(ITEM * count)


def _lists(meter, value: Any) -> None:
    meter.spend(ITEM * len(value) if isinstance(value, str) else 0)


def _rounds(meter, value: Any, precision: Any = 0, method: Any = "common") -> None:
    if abs(precision) > 100 or abs(value) >= 1 << 256:
        raise LimitError("rounds to more than 100 digits")


def _sums(meter, iterable: Any, attribute: Any = None, start: Any = 0) -> None:
    if not isinstance(start, int | float):
        raise LimitError("adds lists with |sum")


def _splits(meter, value: str, sep: Any = None, *more: Any, **named: Any) -> None:
    pieces = value.count(sep) if isinstance(sep, str) and sep else len(value) // 2
    meter.spend(len(value) + ITEM * (pieces + 1))


def _expands(meter, value: str, tabsize: Any = 8) -> None:
    meter.spend(len(value) + value.count("\t") * max(0, tabsize))


def _own_length(meter, value: str, *more: Any, **named: Any) -> None:
    meter.spend(len(value))


def _refused(name: str) -> Callable:
    def guard(meter, *values: Any, **named: Any) -> None:
        raise LimitError(f"uses {name}, which is not supported here")

    return guard


_WHOLE = (
    "string", "trim", "upper", "lower", "title", "capitalize", "escape", "e", "forceescape", "truncate", "wordcount",
    "safe", "int", "float", "sort", "dictsort", "unique", "min", "max", "groupby", "filesizeformat", "urlencode",
)  # fmt: skip
FILTER_GUARDS: Mapping[str, Callable] = {
    "replace": _replaces, "center": _pads, "indent": _indents, "join": _joins, "tojson": _dumps, "batch": _batches,
    "slice": _batches, "list": _lists, "round": _rounds, "sum": _sums, "format": _formats,
    **dict.fromkeys(_WHOLE, _whole),
    **{name: _refused(f"|{name}") for name in ("random", "urlize", "xmlattr", "striptags", "wordwrap", "pprint")},
}  # fmt: skip
"""By the filter's name."""
METHOD_GUARDS: Mapping[str, Callable] = {
    "": _own_length, "replace": _replaces, "join": _joins_texts, "expandtabs": _expands,
    **dict.fromkeys(("ljust", "rjust", "center", "zfill"), _pads),
    **dict.fromkeys(("split", "rsplit", "splitlines"), _splits),
    **{name: _refused(f"str.{name}") for name in ("translate", "maketrans")},
}  # fmt: skip
"""By the name of the method of `str`; "" stands for all others, which make at most a few times what they are given."""
