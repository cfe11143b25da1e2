"""The table of a sweep: a row per cell, with its overrides and the numbers chosen from its results.json."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from encore_jax.cli.list_values import list_items
from encore_jax.csv_text import csv_text
from encore_jax.errors import InputError
from encore_jax.formats import MISSING, bounds, fixed, percent, points, printable

SHARES = ("accuracy", "accuracy_ties_wrong", "subset_mean")
"""Last parts of columns that are shares of 1, shown in percent."""
DIFFERENCES = ("minus_uniform", "model_ahead_by", "gain")
"""Those that are differences of shares, shown in points."""
OTHERS = ("agreement", "agreement × entropy", "critical rules, r = 1")
"""Methods that stand beside ENCORE and equal weights where a run has them."""
LEGEND = "Accuracies in %, a tie counts half; differences of them in points; [95 % interval]."


def parse_columns(text: str) -> list[str]:
    """Paths into results.json, separated by commas or semicolons; quotes keep a comma in a name.

    >>> parse_columns("views.heads.methods.ENCORE.accuracy, 'views.judges.rules.judge, noise 0.5.accuracy'")
    ['views.heads.methods.ENCORE.accuracy', 'views.judges.rules.judge, noise 0.5.accuracy']
    """
    return [path for path in list_items(text) if path]


def default_columns(results: Mapping) -> list[str]:
    """The main accuracies of a run."""
    columns = []
    for view in results.get("views", ()):
        named = {method["name"] for method in view.get("methods", ())}
        others = [name for name in OTHERS if name in named]
        paths = [f"methods.{name}.accuracy" for name in ("ENCORE", "uniform", *others)]
        columns += [f"views.{view['name']}.{path}" for path in (*paths, "methods.ENCORE.minus_uniform")]
    methods = results.get("held_out", {}).get("methods", ())
    return columns + [f"held_out.methods.{method['name']}.accuracy" for method in methods]


def find(results: object, path: str) -> object:
    """What is at a dotted path; elements of lists go by their "name" or their position, and names may have dots.

    Raises:
      KeyError: nothing is there.

    >>> find({"views": [{"name": "heads", "rules": [{"name": "noise 0.5", "n": 3}]}]}, "views.heads.rules.noise 0.5.n")
    3
    """
    if not path:
        return results
    inside, parts = dict(_inside(results)), path.split(".")
    for n in range(len(parts), 0, -1):
        if (key := ".".join(parts[:n])) in inside:
            try:
                return find(inside[key], ".".join(parts[n:]))
            except KeyError:
                continue
    raise KeyError(path)


def _inside(value: object) -> Iterator[tuple[str, object]]:
    """What a path can go on with."""
    if isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list):
        for i, item in enumerate(value):
            named = isinstance(item, Mapping) and isinstance(item.get("name"), str)
            yield (item["name"] if named else str(i)), item


def header(results: Mapping, path: str) -> str:
    """A column's heading, with the label (human-rated, model-rated, semi-synthetic) of the view it is from.

    >>> header({"views": [{"name": "heads", "label": "human-rated"}]}, "views.heads.methods.ENCORE.accuracy")
    'heads (human-rated): ENCORE.accuracy'
    """
    for view in results.get("views", ()):
        if path.startswith(start := f"views.{view['name']}."):
            return f"{view['name']} ({view['label']}): {path.removeprefix(start).removeprefix('methods.')}"
    return path.removeprefix("held_out.methods.")


def row_of(results: Mapping, columns: Sequence[str] | None) -> dict[str, dict]:
    """The chosen values by heading, ``{"path", "value"}``; `columns` None means the default ones."""
    row = {}
    for path in default_columns(results) if columns is None else columns:
        with contextlib.suppress(KeyError):
            row[header(results, path)] = {"path": path, "value": find(results, path)}
    return {heading: entry for heading, entry in row.items() if _is_single(entry["value"])}


def _is_single(value: object) -> bool:
    """Whether a cell of the table can show it: text, a number, or a number with its interval."""
    if isinstance(value, Mapping):
        ends = [value.get(end) for end in ("value", "low", "high")]
        return "value" in value and all(end is None or isinstance(end, int | float) for end in ends)
    return not isinstance(value, list)


def check_columns(all_results: Sequence[Mapping], columns: Sequence[str]) -> None:
    """Refuses columns that none of the results has.

    Raises:
      InputError: saying how far the path leads, and how it can go on.
    """
    for path in columns:
        if all_results and not any(row_of(results, [path]) for results in all_results):
            parts = path.split(".")
            starts = [".".join(parts[:n]) for n in range(len(parts), -1, -1)]
            start, found = next((start, value) for start in starts for value in _found(all_results[0], start))
            ways = ", ".join(name for name, _ in _inside(found))
            fix = f"after {start} comes one of {ways}" if start else f"begin with one of {ways}"
            raise InputError("leads to no single value in results.json", where=f"--columns, {path}", fix=fix)


def _found(results: Mapping, path: str) -> list[object]:
    try:
        return [find(results, path)]
    except KeyError:
        return []


def shown(path: str, value: object) -> str:
    """A value as in the Markdown table.

    >>> shown("a.accuracy", {"value": 0.801, "low": 0.754, "high": 0.846})
    '80.1 [75.4, 84.6]'
    >>> shown("a.minus_uniform", {"value": -0.006, "low": -0.016, "high": 0.005}), shown("counts.steps", 12)
    ('-0.6 [-1.6, +0.5]', '12')
    """
    last = path.rpartition(".")[2]
    form = percent if last in SHARES else points if last in DIFFERENCES else lambda number: fixed(number, 4)
    if isinstance(value, Mapping):
        return (
            f"{form(value['value'])} {bounds(value, form)}" if {"low", "high"} <= value.keys() else form(value["value"])
        )
    if isinstance(value, float):
        return form(value)
    return MISSING if value is None else printable(value).replace("|", "\\|")


def markdown(rows: Sequence[Mapping]) -> str:
    """A table of the rows: ``{"cell", "overrides", "status", "values"}``, as `row_of` gives values."""
    fields, headings = _union(rows, "overrides"), _union(rows, "values")
    lines = ["| " + " | ".join([*fields, "status", *headings]) + " |"]
    lines.append("|" + "---|" * (len(fields) + 1) + "---:|" * len(headings))
    for row in rows:
        cells = [shown("", row["overrides"].get(field)) for field in fields] + [row["status"]]
        for heading in headings:
            entry = row["values"].get(heading)
            cells.append(shown(entry["path"], entry["value"]) if entry else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", LEGEND, ""])


def table_csv(rows: Sequence[Mapping]) -> str:
    """The same as CSV, unrounded; an interval takes three columns."""
    fields, flat = _union(rows, "overrides"), [_flat(row["values"]) for row in rows]
    headings = list(dict.fromkeys(heading for one in flat for heading in one))
    lines = [
        [row["cell"], *(row["overrides"].get(field, "") for field in fields), row["status"],
         *(values.get(heading, "") for heading in headings)]
        for row, values in zip(rows, flat, strict=True)
    ]  # fmt: skip
    return csv_text(["cell", *fields, "status", *headings], lines)


def _flat(values: Mapping[str, Mapping]) -> dict[str, object]:
    flat = {}
    for heading, entry in values.items():
        value = entry["value"]
        if isinstance(value, Mapping):
            flat |= {heading: value["value"]} | {
                f"{heading} {end}": value[end] for end in ("low", "high") if end in value
            }
        else:
            flat[heading] = value
    return flat


def _union(rows: Sequence[Mapping], part: str) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row[part]))
