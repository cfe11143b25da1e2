"""Damages JSON that knows it is JSON: values of other types, sizes and depths, keys lost, given twice or renamed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

HUGE = 300_000
"""Characters or elements of what is huge."""


class Raw(str):
    """JSON text that `json` would not write."""


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 255, 2**31 - 1, 2**31, 2**32, -(2**31), 2**53 + 1, 2**62, 2**63 - 1, 2**63,
    2**64, -(2**63) - 1, 10**30, 0.5, -0.0, 1e-320, 1e308, -1e308, "", " ", "\n", "0", "1", "-1", "true", "null", "NaN",
    "\0", "é", "漢字", "\u202e", "\x1b[31m", "=1+1", "../../../etc/passwd", "/dev/zero", "/", "-r/etc/passwd", "--help",
    "hf://org/name", "hf://org/name@main", "http://127.0.0.1:9/x", "file:///etc/passwd", "wheel://a/b", "wheel://-rx/y",
    "$(touch x)", "{{ 7*7 }}", "{% for i in range(10**9) %}x{% endfor %}", "%s%n", "x" * 300, [], {}, [[]], [{}],
    {"": {}}, [None], [0], [-1], ["x"], [1, "x"], {"x": 1}, {"a": {"b": {"c": [1, 2, {"d": None}]}}}, [[[[[[1]]]]]],
    list(range(100)), {str(i): i for i in range(100)},
)  # fmt: skip

RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1E400", "9" * 30, "9" * 5000, '"\\ud800"', '"\\udfff\\ud800"',
    '{"a":1,"a":2}', "[" * 60 + "]" * 60, "[" * 200 + "]" * 200, "[" * 100_000 + "]" * 100_000,
    '{"a":' * 100_000 + "1" + "}" * 100_000, '"' + "x" * HUGE + '"', "[" + "0," * HUGE + "0]",
    "[" + "[]," * HUGE + "0]",
    "{" + ",".join(f'"{i}":0' for i in range(50_000)) + "}", "01", "+1", ".5", "tru", "'x'", "", "\0", "/*x*/1", "{,}",
)  # fmt: skip
"""JSON text, good and bad."""


def mutate_json(content: bytes, rng: random.Random) -> bytes:
    """The same JSON with one to three things in it changed."""
    try:
        value = json.loads(content)
    except ValueError:
        return content
    if rng.random() < 0.15:
        return mutate_text(content, rng)
    value = mutate_value(value, rng)
    return write(value, rng)


def mutate_value(value: Any, rng: random.Random) -> Any:
    """A parsed value with one to three things in it changed."""
    holder = [copy.deepcopy(value)]
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        owner, key = _place(holder, rng)
        _change(owner, key, rng, holder)
    return holder[0] if holder else None


def odd(rng: random.Random) -> Any:
    """A value that nobody expects."""
    return Raw(rng.choice(RAW)) if rng.random() < 0.25 else copy.deepcopy(rng.choice(ODD))


def write(value: Any, rng: random.Random) -> bytes:
    """JSON text; where a value is `Raw`, that text."""
    raws: list[str] = []

    def placed(node: Any) -> Any:
        if isinstance(node, Raw):
            raws.append(node)
            return f"\0raw {len(raws) - 1}\0"
        if isinstance(node, dict):
            return {key: placed(inner) for key, inner in node.items()}
        return [placed(inner) for inner in node] if isinstance(node, list) else node

    text = json.dumps(placed(value), ensure_ascii=rng.random() < 0.5)
    for i, raw in enumerate(raws):
        text = text.replace(json.dumps(f"\0raw {i}\0"), raw)
    return text.encode("utf-8", "surrogatepass")


def _place(root: list, rng: random.Random) -> tuple[Any, Any]:
    """A container and a key in it: any place, those near the root more often."""
    owner, key = root, 0
    while True:
        inner = owner[key]
        if isinstance(inner, dict | list) and inner and rng.random() < 0.8:
            owner, key = inner, rng.choice(list(inner)) if isinstance(inner, dict) else rng.randrange(len(inner))
        else:
            return owner, key


def _change(owner: Any, key: Any, rng: random.Random, root: list) -> None:
    value = owner[key]
    changes: list[Callable[[], Any]] = [_set(owner, key, lambda: odd(rng))] * 6
    changes += [_set(owner, key, lambda: [value]), _set(owner, key, lambda: {"x": value})]
    changes.append(_set(owner, key, lambda: str(value)))
    if owner is not root:
        changes += [lambda: owner.pop(key)] * 2
        other, place = _place(root, rng)
        changes.append(_set(owner, key, lambda: copy.deepcopy(other[place])))
    if isinstance(owner, dict):
        changes.append(
            lambda: owner.update(
                {rng.choice((key.upper(), key + "_", "", "x", key + "\0", "__class__")): owner.pop(key)}
            )
        )
        changes.append(lambda: owner.update({rng.choice(("auto_map", "x", "", "__init__", "0")): odd(rng)}))
    if isinstance(value, bool):
        changes += [_set(owner, key, lambda: not value)] * 3
    elif isinstance(value, int | float):
        changes += [_set(owner, key, lambda: _number(value, rng))] * 6
    elif isinstance(value, str):
        changes += [_set(owner, key, lambda: _string(value, rng))] * 3
    elif isinstance(value, list):
        changes += [_set(owner, key, lambda: _list(value, rng))] * 4
    rng.choice(changes)()


def _set(owner: Any, key: Any, make: Callable[[], Any]) -> Callable[[], None]:
    def change() -> None:
        owner[key] = make()

    return change


def _number(value: float, rng: random.Random) -> Any:
    made = [value + 1, value - 1, -value, 2 * value, 0 * value, value * 10**6, value / 3, float(value), f"{value}"]
    return rng.choice([*made, int(value) if abs(value) < 1e300 else 0])


def _string(value: str, rng: random.Random) -> str:
    at = rng.randrange(len(value) + 1)
    return rng.choice([
        value[:at], value[at:], value + value, value.upper(), value[::-1], value[:at] + "\0" + value[at:], value * 1000,
        value[:at] + "\x1b[2J" + value[at:], value[:at] + "é漢🙂" + value[at:], f" {value}", f"{value}\n",
    ])  # fmt: skip


def _list(value: list, rng: random.Random) -> list:
    made = [
        value[: len(value) // 2], value[:1], value + value, value[::-1], [*value, odd(rng)], [odd(rng), *value],
        [value], value[1:], (value * 1000)[:HUGE], [*value, *value[:1]],
    ]  # fmt: skip
    return rng.choice(made)


def mutate_text(content: bytes, rng: random.Random) -> bytes:
    """Text that is damaged as text."""
    at = rng.randrange(len(content) + 1)
    end = min(len(content), at + rng.choice((1, 2, 10, 100)))
    return rng.choice([
        b"", content[:at], content[at:], content[:at] + content[end:],
        content[:at] + content[at:end] * 50 + content[end:],
        content[:at] + b"\0" + content[at:], content[:at] + b"\xff\xfe" + content[at:], b"\xef\xbb\xbf" + content,
        content + b"\0" * 10, content + content, content.decode("utf-8", "replace").encode("utf-16"),
        content.replace(b"\n", b"\r\n"), content.replace(b'"', b"'"), content.replace(b"{", b"[", 1),
        content[:at] + rng.choice(RAW).encode() + content[end:], rng.choice(RAW).encode(), b"\x1f\x8b" + content,
        b"<html><body>404</body></html>", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        content[:at] + bytes([rng.randrange(256)]) + content[end:],
    ])  # fmt: skip
