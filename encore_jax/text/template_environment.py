"""What chat templates can call: Jinja as transformers sets it up for them, bounded, with the pinned clock."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.utils import Namespace

from encore_jax.text.bounded_jinja import BoundedEnvironment
from encore_jax.text.pinned_clock import strftime_now


def template_environment() -> BoundedEnvironment:
    """Jinja as transformers sets it up for chat templates."""
    environment = BoundedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.add_filter("tojson", _to_json)
    environment.globals |= {
        "raise_exception": _raise, "strftime_now": strftime_now, "dict": _Dict(), "namespace": _Namespace,
    }  # fmt: skip
    return environment


class _Generation(Extension):
    """``{% generation %}``: marks what the assistant says, for training masks; printed as it is."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_print"), [], [], body).set_lineno(line)

    def _print(self, caller) -> str:
        return caller()


class _Dict:
    """``dict`` without the class's other attributes."""

    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args):
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """``namespace`` that holds no name with an underscore in front."""

    def __init__(*args, **kwargs):  # no self, so that a template may call a field so
        self, *rest = args
        values = dict(*rest, **kwargs)
        for name in values:
            _check_name(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name, value):
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace cannot hold {name!r}")


def _to_json(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: Any) -> None:
    raise TemplateError(message if isinstance(message, str) else str(type(message)))
