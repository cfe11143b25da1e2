"""Jinja whose templates end: a sandbox that counts what a rendering does, and refuses what would take too much.

A template is a program that came with a model. Jinja's own sandbox keeps it from the machine, but not from running for
ever (nested loops, recursion) or from filling the memory (``'a' * 10**9``, ``x|center(10**9)``, lists that hold a list
twice that holds a list twice). Here every block that is entered pays a little; what can make much out of little says
beforehand how many characters it will make, and pays for them; and the thread's clock is looked at now and then.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jinja2 import Undefined, nodes
from jinja2.compiler import CodeGenerator
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedFormatter

from encore_jax.text.jinja_guards import FILTER_GUARDS, METHOD_GUARDS
from encore_jax.text.jinja_meter import COLLECTIONS, FILTER, ITEM, SCALARS, LimitError, Meter

_SCOPES = ("_loop_vars", "_block_vars")
"""What Jinja's compiler passes along with the arguments of a call in a loop or block."""
_PRINTED = (str, bytes, int, float, Mapping, range, Undefined, *COLLECTIONS)


class _Generator(CodeGenerator):
    """Writes Python code that pays."""

    def blockvisit(self, nodes: Iterable[nodes.Node], frame) -> None:
        self.writeline("environment.meter.block()")
        super().blockvisit(nodes, frame)

    def visit_For(self, node: nodes.For, frame) -> None:
        self.writeline("environment.meter.look()")
        super().visit_For(node, frame)

    def visit_Add(self, node: nodes.Add, frame) -> None:
        terms = [node.right]
        while isinstance(node.left, nodes.Add):
            node = node.left
            terms.append(node.right)
        self._call("environment.meter.add", [node.left, *reversed(terms)], frame)

    def visit_Concat(self, node: nodes.Concat, frame) -> None:
        join = "str_join"
        if frame.eval_ctx.volatile:
            join = "(markup_join if context.eval_ctx.volatile else str_join)"
        elif frame.eval_ctx.autoescape:
            join = "markup_join"
        self.write(f"{join}(")
        self._call("environment.meter.parts", node.nodes, frame)
        self.write(")")

    def visit_Compare(self, node: nodes.Compare, frame) -> None:
        self.write("(")
        self._sized(node.expr, frame)
        for operand in node.ops:
            self.write(f" {_COMPARISONS[operand.op]} ")
            self._sized(operand.expr, frame)
        self.write(")")

    def visit_Tuple(self, node: nodes.Tuple, frame) -> None:
        loads = node.ctx == "load"
        self.write("environment.meter.sized(" if loads else "")
        super().visit_Tuple(node, frame)
        self.write(")" if loads else "")

    def visit_Getitem(self, node: nodes.Getitem, frame) -> None:
        copies = isinstance(node.arg, nodes.Slice)
        self.write("environment.meter.made(" if copies else "")
        super().visit_Getitem(node, frame)
        self.write(")" if copies else "")

    def _call(self, function: str, arguments: Iterable[nodes.Expr], frame) -> None:
        self.write(f"{function}((")
        for argument in arguments:
            self.visit(argument, frame)
            self.write(", ")
        self.write("))")

    def _sized(self, node: nodes.Expr, frame) -> None:
        free = isinstance(node, nodes.Const)
        self.write("" if free else "environment.meter.sized(")
        self.visit(node, frame)
        self.write("" if free else ")")


_COMPARISONS = {
    "eq": "==", "ne": "!=", "gt": ">", "gteq": ">=", "lt": "<", "lteq": "<=", "in": "in", "notin": "not in",
}  # fmt: skip
_COMPARING = (
    "eq", "==", "equalto", "ne", "!=", "lt", "<", "lessthan", "le", "<=", "gt", ">", "greaterthan", "ge", ">=", "in",
)  # fmt: skip


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with a meter; call ``meter.start`` before every compilation and every rendering.

    Filters, methods and functions that chat templates have no use for, and that cannot be bounded or draw at random,
    are refused.
    """

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any):
        self.meter = Meter()
        super().__init__(finalize=self._printed, **options)
        self.filters = {name: self._paying(name, function) for name, function in self.filters.items()}
        for name in _COMPARING:
            self.tests[name] = self._comparing(self.tests[name])
        del self.globals["lipsum"]

    def add_filter(self, name: str, function: Callable) -> None:
        """Adds a filter, or replaces one; it pays as the others do."""
        self.filters[name] = self._paying(name, function)

    def call_binop(self, context, operator: str, left: Any, right: Any) -> Any:
        """Multiplies, raises to a power or formats, if the result is of a bearable size."""
        if operator == "%" and isinstance(left, str):
            FILTER_GUARDS["format"](self.meter, left, right)
        elif operator == "*" and isinstance(left, int | float) and isinstance(right, int | float):
            if max(abs(left), abs(right)) >= 1 << 256:
                raise LimitError("multiplies numbers that are too large")
        elif operator == "*":
            many, times = (right, left) if isinstance(left, int) else (left, right)
            if isinstance(many, Sequence) and isinstance(times, int):
                self.meter.spend((1 if isinstance(many, str | bytes) else ITEM) * len(many) * max(times, 0))
        elif operator == "**" and not (abs(left) < 1 << 64 and abs(right) <= 64):
            raise LimitError("raises a number to a power that is too large")
        return super().call_binop(context, operator, left, right)

    def call(__self, __context, __obj, *args: Any, **kwargs: Any) -> Any:
        """Calls a method, a macro or a function, if the result is of a bearable size."""
        named = {name: value for name, value in kwargs.items() if name not in _SCOPES}
        if isinstance(__obj, types.BuiltinMethodType):
            args = __self._method(__obj, args, named)
            return __self.meter.made(super().call(__context, __obj, *args, **kwargs))
        if not isinstance(__obj, Macro | LoopContext):
            for value in (*args, *named.values()):
                __self.meter.sized(value)
        return __self.meter.made(super().call(__context, __obj, *args, **kwargs))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item; where there is none, the message quotes what was asked for."""
        return super().getitem(obj, self.meter.sized(argument))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """The sandbox's `str.format` and `str.format_map`, if the result is of a bearable size."""
        if super().wrap_str_format(value) is None:
            return None
        template, formatter = str(value.__self__), _Formatter(self)

        def formatted(*args: Any, **kwargs: Any) -> str:
            values = args[0] if value.__name__ == "format_map" else kwargs
            size = self.meter.size(args) + self.meter.size(kwargs)
            self.meter.spend(len(template) + (template.count("{") + 1) * size)
            return formatter.vformat(template, args, values)

        return formatted

    def _printed(self, value: Any) -> Any:
        """What the template prints, paid for."""
        if type(value) is str:
            self.meter.spend(len(value))
        elif type(value) not in SCALARS:
            if not isinstance(value, _PRINTED):
                raise LimitError(f"prints a {type(value).__name__}, which is no text")
            self.meter.sized(value)
        return value

    def _method(self, method, args: tuple, kwargs: Mapping[str, Any]) -> tuple:
        """Arguments of a method of text, a list or a dictionary, after it has been paid for."""
        owner, name = method.__self__, method.__name__
        if isinstance(owner, str):
            replaced = METHOD_GUARDS.get(name, METHOD_GUARDS[""])(self.meter, owner, *args, **kwargs)
            return args if replaced is None else (replaced, *args[1:])
        if not isinstance(owner, list | tuple | Mapping):
            raise LimitError(f"calls {type(owner).__name__}.{name}, which is not supported here")
        if name not in ("get", "items", "keys", "values"):
            for value in (owner, *args):
                self.meter.sized(value)
        return args

    def _paying(self, name: str, function: Callable) -> Callable:
        guard, passed, meter = FILTER_GUARDS.get(name), int(hasattr(function, "jinja_pass_arg")), self.meter

        @functools.wraps(function)
        def filtered(*args: Any, **kwargs: Any) -> Any:
            meter.spend(FILTER)
            if len(args) > passed and type(args[passed]) not in SCALARS:
                meter.look()
            if guard is not None:
                replaced = guard(meter, *args[passed:], **kwargs)
                args = args if replaced is None else (*args[:passed], replaced, *args[passed + 1 :])
            return meter.made(function(*args, **kwargs))

        return filtered

    def _comparing(self, test: Callable) -> Callable:
        @functools.wraps(test)
        def compared(*args: Any) -> bool:
            for value in args:
                self.meter.sized(value)
            return test(*args)

        return compared


class _Formatter(SandboxedFormatter):
    def format_field(self, value: Any, format_spec: str) -> str:
        if any(len(digits) > 4 for digits in "".join(c if c.isdigit() else " " for c in format_spec).split()):
            raise LimitError("formats to a width of five digits or more")
        return super().format_field(value, format_spec)
