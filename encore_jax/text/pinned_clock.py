"""The date that chat templates print: the same for everybody and for ever, so that no score changes overnight.

Some templates print ``date_string`` where it is given (Llama 3), others call ``strftime_now(format)`` (Mistral Small 3,
gpt-oss). Here both give `PINNED`. Where somebody else renders, an exported template brings the date along.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping

from jinja2 import nodes

from encore_jax.text.jinja_meter import LimitError

PINNED = datetime.datetime(2024, 7, 26)
"""What every template is told the time is."""
DATE_STRING = "26 Jul 2024"
"""The same as templates of Llama 3's kind take it."""

DIRECTIVES: Mapping[str, str] = {
    "%": "%", "a": "Fri", "A": "Friday", "b": "Jul", "B": "July", "c": "Fri Jul 26 00:00:00 2024", "C": "20", "d": "26",
    "D": "07/26/24", "e": "26", "f": "000000", "F": "2024-07-26", "g": "24", "G": "2024", "h": "Jul", "H": "00",
    "I": "12", "j": "208", "m": "07", "M": "00", "n": "\n", "p": "AM", "r": "12:00:00 AM", "R": "00:00", "S": "00",
    "t": "\t", "T": "00:00:00", "u": "5", "U": "29", "V": "30", "w": "5", "W": "30", "x": "07/26/24", "X": "00:00:00",
    "y": "24", "Y": "2024", "z": "", "Z": "",
    "-d": "26", "-e": "26", "-H": "0", "-I": "12", "-j": "208", "-m": "7", "-M": "0", "-S": "0", "-y": "24",
}  # fmt: skip
"""What strftime makes of `PINNED`, whatever the locale."""
_CLOCK, _DATE = "strftime_now", "date_string"
_DIRECTIVE = re.compile(r"%(-?.|$)", re.DOTALL)
_PERCENT = "(percent)"
_SET_DATE = f"{{%- set {_DATE} = '{DATE_STRING}' %}}"
_DEFINE_CLOCK = (
    f"{{%- macro {_CLOCK}(format) -%}}{{{{- format.replace('%%', '{_PERCENT}')"
    + "".join(f".replace('%{name}', {text!r})" for name, text in DIRECTIVES.items() if name != "%")
    + f".replace('{_PERCENT}', '%') -}}}}{{%- endmacro %}}"
)
"""``strftime_now`` in Jinja."""


def strftime_now(format: str) -> str:
    """The pinned date by a format of strftime.

    >>> strftime_now("%A, %-d %B %Y")
    'Friday, 26 July 2024'
    """
    if not isinstance(format, str) or len(format) > 1000:
        raise LimitError("asks for the date in a format that is no short text")
    return _DIRECTIVE.sub(_written, format)


def _written(match: re.Match) -> str:
    if match[1] not in DIRECTIVES:
        raise LimitError(f"asks for the date as {match[0]!r}, which is not supported here")
    return DIRECTIVES[match[1]]


def pinned_source(source: str) -> str:
    """The template with the date in itself, so that whoever renders it prints what is printed here.

    >>> print(pinned_source("Today is {{ date_string }}."))
    {%- set date_string = '26 Jul 2024' %}
    Today is {{ date_string }}.
    """
    lines = []
    if _DATE in source and not source.startswith(_SET_DATE):
        lines.append(_SET_DATE)
    if _CLOCK in source and not re.search(rf"macro\s+{_CLOCK}\b", source):
        lines.append(_DEFINE_CLOCK)
    # trim_blocks takes the line's end away with the block, so what follows stands where it stood: at a line's beginning
    return "".join(f"{line}\n" for line in lines) + source


def asks_clock(tree: nodes.Template) -> bool:
    """Whether a template may call ``strftime_now`` although it is given a ``date_string``."""
    shadowed = any(argument.name == _DATE for macro in tree.find_all(nodes.Macro) for argument in macro.args)
    return _reads_clock(tree, shadowed)


def _reads_clock(node: nodes.Node, shadowed: bool) -> bool:
    if isinstance(node, nodes.Name):
        return node.name == _CLOCK and node.ctx == "load"
    if isinstance(node, nodes.Test) and node.name in ("defined", "undefined"):
        return False  # asks whether there is a clock, not what it says
    inner = list(node.iter_child_nodes())
    if isinstance(node, nodes.If | nodes.CondExpr) and not shadowed and _never(node.test):
        dead = node.body if isinstance(node, nodes.If) else [node.expr1]
        inner = [child for child in inner if not any(child is other for other in dead)]
    return any(_reads_clock(child, shadowed) for child in inner)


def _never(test: nodes.Expr) -> bool:
    """Whether a condition is false wherever there is a ``date_string``."""
    if isinstance(test, nodes.And):
        return _never(test.left) or _never(test.right)
    negated = isinstance(test, nodes.Not)
    test = test.node if negated else test
    asks = isinstance(test, nodes.Test) and isinstance(test.node, nodes.Name) and test.node.name == _DATE
    return asks and test.name == ("defined" if negated else "undefined")
