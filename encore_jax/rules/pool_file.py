"""The YAML form of a rule pool: keys, types and line numbers. What the values mean is `rule.py`'s.

The file is parsed into YAML's node tree with the safe loader, and no Python object is ever built
from a tag. The tree, unlike `yaml.safe_load`, keeps line numbers and shows keys given twice.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from encore_jax.errors import InputError
from encore_jax.json_shape import read_bytes
from encore_jax.rules.graph import Prerequisite, RuleGraph, Veto

MAX_BYTES = 512 << 10
"""Largest file of a pool; a hundred rules of two lines have 20 KB."""
_DEEPEST = 16
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""PyYAML's own is twenty times slower than libyaml."""

HEADER = """\
# A pool of rules, read by encore_jax.RulePool.from_yaml.
#   name         what the pool is called; may be left out
#   rules        a list; its order is the order of the ratings, heads and weights
#     name       unique within the pool, snake_case
#     category   what the rule is about; may be left out
#     direction  -1 where a higher rating is worse; left out where it is better (+1)
#     text       the statement that a judge rates a response on
"""
"""At the head of each file that is written. A pool may also have a `graph`: docs/rule-graphs.md."""
_TAG = "tag:yaml.org,2002:"
_KINDS = {
    "null": "nothing",
    "int": "a number",
    "float": "a number",
    "bool": "a true/false value",
    "timestamp": "a date",
    "seq": "a list",
    "map": "a mapping",
}


class PoolFile(NamedTuple):
    """What a pool file holds.

    Attributes:
      name: "" if it has none.
      rules: line and fields of each rule, in order.
      graph: None if there is none.
      graph_line: where it stands.
    """

    name: str
    rules: list[tuple[int, dict[str, str | int]]]
    graph: RuleGraph | None = None
    graph_line: int = 0


def read_pool_file(path: str | Path) -> PoolFile:
    """Reads a pool file.

    White space around a text is dropped, so that YAML's block styles (``text: >``) can be used.

    Raises:
      InputError: the file is missing, is not UTF-8 or not YAML, or does not follow `HEADER`.
    """
    root = _compose(path)
    top = _fields(root, path, "the file", required=("rules",), optional=("name", "graph"))
    name = _text(top["name"], path, "field 'name'") if "name" in top else ""
    listing = top["rules"]
    if not (isinstance(listing, yaml.SequenceNode) and listing.tag == f"{_TAG}seq"):
        raise InputError(
            f"field 'rules' holds {_kind(listing)}",
            where=_at(path, listing),
            fix="make it a list: one '- name: ...' for each rule",
        )
    rules = [(_line(node), _rule(node, path)) for node in listing.value]
    if "graph" not in top:
        return PoolFile(name, rules)
    return PoolFile(name, rules, _graph(top["graph"], path), _line(top["graph"]))


def write_pool_file(
    path: str | Path, name: str, rules: Sequence[Mapping[str, str | int]], graph: RuleGraph | None = None
) -> None:
    """Writes a pool file that `read_pool_file` reads back unchanged, replacing what is there."""
    content: dict[str, Any] = ({"name": name} if name else {}) | {"rules": [dict(rule) for rule in rules]}
    if graph:
        falling = {rule["name"] for rule in rules if rule.get("direction") == -1}
        content["graph"] = _graph_fields(graph, falling)
    body = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=88)
    Path(path).write_text(HEADER + body, encoding="utf-8", newline="\n")


def _compose(path: str | Path) -> yaml.Node:
    fix = "put a text that contains ': ' or ' #' or begins with a special sign in quotes"
    content = read_bytes(path, fix="name a YAML file of rules", max_bytes=MAX_BYTES)
    try:
        text = content.decode("utf-8-sig")
        _check_depth(text, path)
        root = yaml.compose(text, Loader=_LOADER)
    except InputError:
        raise
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is not UTF-8", where=str(path), fix="save the file as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise InputError(f"this is not valid YAML ({problem[:200]})", where=where, fix=fix) from None
    except (ValueError, OverflowError, RecursionError) as error:  # numbers of escapes and directives
        raise InputError(f"this is not valid YAML ({str(error)[:200]})", where=str(path), fix=fix) from None
    if root is None:
        raise InputError("the file is empty", where=str(path), fix="give it a list 'rules'")
    return root


def _check_depth(text: str, path: str | Path) -> None:
    """Refuses nesting that no pool has, event by event: the tree would be built by recursion."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise InputError(f"is nested more than {_DEEPEST} deep", where=f"{path}:{event.start_mark.line + 1}",
                             fix="make it a list 'rules' of mappings")  # fmt: skip


def _rule(node: yaml.Node, path: str | Path) -> dict[str, str | int]:
    found = _fields(node, path, "a rule", required=("name", "text"), optional=("category", "direction"))
    name = _text(found["name"], path, "a rule's field 'name'")
    label = f"rule {name[:80]!r}"
    fields: dict[str, str | int] = {
        key: _text(found[key], path, f"{label}, field {key!r}") for key in ("name", "text", "category") if key in found
    }
    if "direction" in found:
        fields["direction"] = _direction(found["direction"], path, label)
    return fields


def _graph(node: yaml.Node, path: str | Path) -> RuleGraph:
    """Vetoes and prerequisites; what they mean together is `RuleGraph.check`'s."""
    top = _fields(node, path, "the graph", required=(), optional=("scale", "vetoes", "prerequisites"))
    scale = (0.0, 1.0)
    if "scale" in top:
        ends = _items(top["scale"], path, "the graph's field 'scale'")
        if len(ends) != 2:
            raise InputError(
                f"the scale has {len(ends)} ends", where=_at(path, top["scale"]), fix="write scale: [1, 5]"
            )
        scale = tuple(_number(end, path, "an end of the scale") for end in ends)
    vetoes, prerequisites = [], []
    for entry in _items(top["vetoes"], path, "field 'vetoes'") if "vetoes" in top else []:
        found = _fields(entry, path, "a veto", required=("rule",), optional=("below", "above", "reward"))
        reward = _number(found["reward"], path, "a veto's field 'reward'") if "reward" in found else None
        rule = _text(found["rule"], path, "a veto's field 'rule'")
        vetoes.append((rule, *_threshold(found, ("below", "above"), entry, path, f"the veto by {rule!r}"), reward))
    for entry in _items(top["prerequisites"], path, "field 'prerequisites'") if "prerequisites" in top else []:
        bounds = ("at_least", "at_most")
        found = _fields(entry, path, "a prerequisite", required=("rule", "needs"), optional=bounds)
        rule, needs = (_text(found[key], path, f"a prerequisite's field {key!r}") for key in ("rule", "needs"))
        prerequisites.append((rule, needs, *_threshold(found, bounds, entry, path, f"the prerequisite of {rule!r}")))
    return RuleGraph(
        [Veto(rule, threshold, reward, word == "above") for rule, word, threshold, reward in vetoes],
        [Prerequisite(rule, needs, threshold, word == "at_most") for rule, needs, word, threshold in prerequisites],
        scale,
    )


def _threshold(
    found: Mapping[str, yaml.Node], words: tuple[str, str], node: yaml.Node, path: str | Path, what: str
) -> tuple[str, float]:
    """Which of the two words stands there, and its number."""
    there = [word for word in words if word in found]
    if len(there) != 1:
        problem = f"{what} has {'both' if there else 'neither'} of {words[0]} and {words[1]}"
        fix = f"write {words[0]}: NUMBER; {words[1]} for a rule of direction -1"
        raise InputError(problem, where=_at(path, node), fix=fix)
    return there[0], _number(found[there[0]], path, f"{what}, field {there[0]!r}")


def _items(node: yaml.Node, path: str | Path, what: str) -> list[yaml.Node]:
    if not (isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq"):
        raise InputError(f"{what} holds {_kind(node)}", where=_at(path, node), fix="make it a list")
    return node.value


def _number(node: yaml.Node, path: str | Path, what: str) -> float:
    try:
        if node.tag not in (f"{_TAG}int", f"{_TAG}float"):
            raise ValueError
        value = float(node.value.replace("_", ""))
        if not math.isfinite(value):
            raise ValueError
        return value
    except ValueError:  # also numbers in YAML's other bases, infinity and NaN
        problem = f"{what} must be a finite decimal number, not {_kind(node)}"
        raise InputError(problem, where=_at(path, node), fix="write a decimal number, such as 0.5") from None


def _graph_fields(graph: RuleGraph, falling: Collection[str]) -> dict[str, Any]:
    """A graph as it is written to a file."""
    fields: dict[str, Any] = {} if graph.scale == (0.0, 1.0) else {"scale": list(graph.scale)}
    if graph.vetoes:
        fields["vetoes"] = [
            {"rule": veto.rule, "above" if veto.rule in falling else "below": veto.threshold}
            | ({} if veto.reward is None else {"reward": veto.reward})
            for veto in graph.vetoes
        ]
    if graph.prerequisites:
        fields["prerequisites"] = [
            {"rule": one.rule, "needs": one.needs, "at_most" if one.needs in falling else "at_least": one.threshold}
            for one in graph.prerequisites
        ]
    return fields


def _fields(
    node: yaml.Node, path: str | Path, what: str, *, required: tuple[str, ...], optional: tuple
) -> dict[str, yaml.Node]:
    """The entries of a mapping, refusing unknown, repeated and missing keys."""
    known = (*required, *optional)
    if not (isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map"):
        raise InputError(
            f"{what} must be a mapping, not {_kind(node)}",
            where=_at(path, node),
            fix=f"use the keys {', '.join(known)}",
        )
    found: dict[str, yaml.Node] = {}
    for key_node, value in node.value:
        key = key_node.value[:80] if isinstance(key_node, yaml.ScalarNode) else _kind(key_node)
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise InputError(
                f"{what} has the unknown key {key!r}",
                where=_at(path, key_node),
                fix=f"did you mean {near[0]!r}?" if near else f"use only {', '.join(known)}",
            )
        if key in found:
            raise InputError(
                f"the key {key!r} is given twice, first on line {_line(found[key])}",
                where=_at(path, key_node),
                fix="keep one of them",
            )
        found[key] = value
    missing = [key for key in required if key not in found]
    if missing:
        raise InputError(
            f"{what} lacks {' and '.join(map(repr, missing))}",
            where=_at(path, node),
            fix=f"add '{missing[0]}: ...'",
        )
    return found


def _text(node: yaml.Node, path: str | Path, what: str) -> str:
    if not (isinstance(node, yaml.ScalarNode) and node.tag == f"{_TAG}str"):
        raise InputError(
            f"{what} must be text, not {_kind(node)}",
            where=_at(path, node),
            fix="write the text, in quotes if YAML takes it for something else",
        )
    return node.value.strip()


def _direction(node: yaml.Node, path: str | Path, label: str) -> int:
    signs = {"1": 1, "+1": 1, "-1": -1}
    if not (node.tag == f"{_TAG}int" and node.value in signs):
        raise InputError(
            f"{label}, field 'direction' is {_kind(node)}, not +1 or -1",
            where=_at(path, node),
            fix="write 'direction: -1' if a higher rating is worse, else leave the line out",
        )
    return signs[node.value]


def _kind(node: yaml.Node) -> str:
    kind = _KINDS.get(node.tag.removeprefix(_TAG))
    if not isinstance(node, yaml.ScalarNode):
        return kind or f"a value tagged {node.tag[:80]}"
    if node.tag == f"{_TAG}null":
        return "nothing"
    return f"{kind or 'the value'} ({node.value[:80]!r})"


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


def _at(path: str | Path, node: yaml.Node) -> str:
    return f"{path}:{_line(node)}"
