"""The one exception for input that a user can fix."""

from typing import Self

from encore_jax.terminal_text import cut, escaped

LONGEST_PARTS = (1000, 600, 1200)
"""Characters of a problem, a place and a fix that a message shows."""


class InputError(ValueError):
    """Bad input: says where it is, what is wrong, and what to do about it.

    Args:
      problem: what is wrong, in one sentence.
      where: file, line, field or tensor, e.g. ``"pairs.jsonl:17, field 'chosen'"``.
      fix: what the user can do.

    Its text is one line: control characters, which data may bring along, are escaped, and what is very long is cut.

    >>> print(InputError("rating 1.2 is above 1", where="r.jsonl:3", fix="rescale to [0, 1]"))
    r.jsonl:3: rating 1.2 is above 1. Fix: rescale to [0, 1]
    """

    def __init__(self, problem: str, *, where: str = "", fix: str = ""):
        self.problem, self.where, self.fix = problem.rstrip("."), where, fix
        parts = zip((self.problem, where, fix), LONGEST_PARTS, strict=True)
        what, place, remedy = (cut(escaped(part), longest) for part, longest in parts)
        head = f"{place}: {what}" if place else what
        super().__init__(f"{head}. Fix: {remedy}" if remedy else head)

    def at(self, where: str) -> Self:
        """The same error, of the same kind, said of another place.

        >>> print(InputError("is blank", where="prompt").at("a.jsonl:3, field 'prompt'"))
        a.jsonl:3, field 'prompt': is blank
        """
        return _rebuild(type(self), self.problem, where, self.fix, vars(self))

    def __reduce__(self):
        return _rebuild, (type(self), self.problem, self.where, self.fix, vars(self))


def _rebuild(kind, problem, where, fix, attributes):
    error = kind.__new__(kind)
    vars(error).update(attributes)
    InputError.__init__(error, problem, where=where, fix=fix)
    return error
