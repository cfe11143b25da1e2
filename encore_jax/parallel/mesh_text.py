"""A mesh as a flag says it: --mesh=fsdp=1,tensor=8. Imports nothing that takes time."""

from __future__ import annotations

from encore_jax.errors import InputError

AXES = ("data", "fsdp", "expert", "tensor")
REST = -1
"""Size of the axis that takes all devices that the others leave."""


def axis_sizes(text: str) -> dict[str, int]:
    """Sizes of the axes that a text names.

    Raises:
      InputError: an unknown axis, a size that is none, an axis named twice, or more than one -1.

    >>> axis_sizes("fsdp=1,tensor=8")
    {'fsdp': 1, 'tensor': 8}
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, equals, size = (word.strip() for word in part.partition("="))
        if name not in AXES or not equals:
            raise _wrong(f"{part!r} is no axis with its size")
        if name in sizes:
            raise _wrong(f"{name} is given twice")
        if size != str(REST) and not (size.isascii() and size.isdecimal() and 0 < int(size) < 2**31):
            raise _wrong(f"{name} is {size!r}; a size is a whole number from 1, or -1 for all the rest")
        sizes[name] = int(size)
    if list(sizes.values()).count(REST) > 1:
        raise _wrong(f"{' and '.join(name for name, size in sizes.items() if size == REST)} are both -1")
    return sizes


def with_sizes(usual: dict[str, int], sizes: dict[str, int]) -> dict[str, int]:
    """Sizes of all axes: those that are given, the usual ones of the others.

    Only one axis takes the rest: where one that is given does, the usual one has size 1.

    >>> with_sizes({"data": -1, "fsdp": 1, "tensor": 1}, {"tensor": 8})
    {'data': -1, 'fsdp': 1, 'tensor': 8}
    >>> with_sizes({"data": -1, "fsdp": 1, "tensor": 1}, {"fsdp": -1})
    {'data': 1, 'fsdp': -1, 'tensor': 1}
    """
    others = {name: 1 if size == REST and REST in sizes.values() else size for name, size in usual.items()}
    return others | sizes


def _wrong(problem: str) -> InputError:
    return InputError(problem, where="--mesh", fix="write e.g. --mesh=tensor=8 or --mesh=data=1,fsdp=2,tensor=4")
