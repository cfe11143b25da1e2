"""For the API reference: examples in docstrings, ``>>> ...``, become code blocks instead of quotations."""

import re

import griffe

_EXAMPLE = re.compile(r"^( *)>>> .*(?:\n(?! *$).*)*", re.MULTILINE)


def fenced(text: str) -> str:
    """Puts fences around every example, up to the next blank line.

    >>> fenced("Adds. >>> no").count("`"), fenced(">>> 1 + 1").splitlines()
    (0, ['```pycon', '>>> 1 + 1', '```'])
    """
    return _EXAMPLE.sub(lambda found: f"{found[1]}```pycon\n{found[0]}\n{found[1]}```", text)


class FencedDoctests(griffe.Extension):
    """Applies `fenced` to every docstring."""

    def on_instance(self, *, obj, **kwargs) -> None:
        if obj.docstring:
            obj.docstring.value = fenced(obj.docstring.value)
