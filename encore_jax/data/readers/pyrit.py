"""Human ratings shipped with PyRIT 1.1.0 (Microsoft, MIT licence), read from the wheel itself.

The CSV files under ``pyrit/datasets/scorer_evals/`` hold an ``objective`` (the prompt), an
``assistant_response``, a ``data_type`` and human scores in [0, 1]: one column ``human_score``, or
``human_score_1`` to ``_3`` from several raters, whose mean is taken. Three folders are read:

- ``harm/<rubric>.csv``: severity of harm in steps of 0.25, eight rubrics (the ``mini_*`` files are
  excerpts and left out);
- ``objective/*.csv``: whether the attacker's objective was achieved, 0 or 1;
- ``refusal_scorer/*.csv``: whether the response is a refusal, 0 or 1.
"""

from __future__ import annotations

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from encore_jax.data.comparison import Message, RatedResponse
from encore_jax.data.fields import Unshown, check_row, fields
from encore_jax.data.orientation import orient_named
from encore_jax.data.rows import located
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError
from encore_jax.files import open_file

if TYPE_CHECKING:
    from encore_jax.rules.rule import RulePool

PYRIT_HARM_RULES = (
    "exploits", "hate_speech", "info_integrity", "privacy",
    "representational", "self_harm", "sexual", "violence",
)  # fmt: skip
PYRIT_RULES = (*PYRIT_HARM_RULES, "refusal", "objective")
_ROOT = "pyrit/datasets/scorer_evals/"
_PINNED = "use the pinned pyrit wheel"
_TEXT_COLUMNS = ("objective", "assistant_response", "data_type")
_SCORE = "human_score"
"""What the names of raters' columns begin with."""
_KNOWN = fields(" ".join(_TEXT_COLUMNS), "harm_category")
_MAX_CSV = 32 << 20
"""Bytes of the largest CSV file that is read."""


def read_pyrit(wheel: str | Path, *, pool: RulePool, skips: SkipCounter) -> Iterator[RatedResponse]:
    """Rated responses of a PyRIT wheel, one for each distinct (prompt, response).

    A response found in several files, or twice in one, carries all its ratings; where the same rule
    was rated several times, all raters count alike. Raters differ between files: ``extra`` names
    the ``files`` and how many ``raters`` each rule had, so that grids can be told apart.

    Args:
      wheel: path of ``pyrit-1.1.0-py3-none-any.whl``.
      pool: holds the ten `PYRIT_RULES`; the eight harm rules must have direction -1, since the
        human scores rise with harm. Refusal and objective are turned as the pool says.
      skips: counts the CSV rows kept and skipped (rows that are not text, blank or unrated).

    Raises:
      InputError: not such a wheel, a broken CSV member (naming member and line), or a pool that
        lacks a rule or has a harm rule the wrong way round.
    """
    _check_pool(pool)
    scores: dict[tuple[str, str], dict[str, list[float]]] = {}
    found: dict[tuple[str, str], dict[str, str]] = {}  # file -> "file:line" of the first
    for file, where, rule, row in _rows(Path(wheel)):
        reason = _unusable(row) or _unshown(row, skips)
        raters = [] if reason else _human_scores(row, where)
        if reason or not raters:
            skips.skip(reason or "without a human score", where)
            continue
        skips.kept += 1
        key = (row["objective"], row["assistant_response"])
        scores.setdefault(key, {}).setdefault(rule, []).extend(raters)
        found.setdefault(key, {}).setdefault(file, f"{file}:{where.rpartition(':')[2]}")
    for key, by_rule in scores.items():
        prompt, response = key
        named = {rule: math.fsum(given) / len(given) for rule, given in by_rule.items()}
        ratings, mask = orient_named(named, pool, (0.0, 1.0))
        yield RatedResponse(
            prompt=(Message("user", prompt),),
            response=response,
            rules=tuple(pool.names),
            ratings=ratings,
            mask=mask,
            subset=next(iter(by_rule)),
            source="pyrit",
            id="+".join(found[key].values()),
            extra={
                "files": list(found[key]),
                "raters": {rule: len(given) for rule, given in by_rule.items()},
            },
        )


def _check_pool(pool: RulePool) -> None:
    missing = [name for name in PYRIT_RULES if name not in pool.names]
    if missing:
        raise InputError(
            f"the pool lacks {', '.join(missing)}", where="pool", fix="use the pool pyrit_10, or one with its ten rules"
        )
    for name in PYRIT_HARM_RULES:
        if int(pool.directions[pool.index(name)]) != -1:
            raise InputError(
                f"rule {name!r} has direction +1, but human severity rises with harm",
                where="pool",
                fix="declare direction -1",
            )


def _rows(wheel: Path) -> Iterator[tuple[str, str, str, dict]]:
    """Yields (file, member:line, rule, row) of every CSV row, files in a fixed order."""
    try:
        with open_file(wheel, fix=_PINNED) as file, zipfile.ZipFile(file) as archive:
            members = {name: _rule(name) for name in sorted(archive.namelist())}
            members = {name: rule for name, rule in members.items() if rule}
            if not members:
                raise InputError(f"no CSV file under {_ROOT}", where=str(wheel), fix=_PINNED)
            for name, rule in members.items():
                for line, row in _csv_rows(_content(archive, name, wheel), f"{wheel}/{name}"):
                    yield name.removeprefix(_ROOT), f"{wheel}/{name}:{line}", rule, row
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:  # the last: encrypted, or packed
        raise InputError(f"not a readable wheel: {error}", where=str(wheel), fix="fetch the wheel again") from None


def _content(archive: zipfile.ZipFile, name: str, wheel: Path) -> bytes:
    with archive.open(name) as file:
        content = file.read(_MAX_CSV + 1)
    if len(content) > _MAX_CSV:
        raise InputError(f"is larger than {_MAX_CSV >> 20} MiB", where=f"{wheel}/{name}", fix=_PINNED)
    return content


def _rule(member: str) -> str:
    """The rule a member rates, or "" for a member that is not read."""
    folder, _, file = member.removeprefix(_ROOT).partition("/")
    if not member.startswith(_ROOT) or not file.endswith(".csv") or file.startswith("mini_"):
        return ""
    if folder != "harm":
        return {"objective": "objective", "refusal_scorer": "refusal"}.get(folder, "")
    rule = file.removesuffix(".csv").removesuffix("_multi_score")
    if rule not in PYRIT_HARM_RULES:
        raise InputError("unknown rubric", where=member, fix=_PINNED)
    return rule


def _csv_rows(content: bytes, where: str) -> Iterator[tuple[int, dict]]:
    """Yields (line of the row's end, row); comment lines before the header are passed over."""
    try:
        text = io.StringIO(content.decode("utf-8-sig"), newline="")
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is not UTF-8", where=where, fix=_PINNED) from None
    comments, start = 0, 0
    while text.readline().startswith("#"):
        comments, start = comments + 1, text.tell()
    text.seek(start)
    rows = csv.DictReader(text, strict=True)
    try:
        _check_columns(rows.fieldnames or (), f"{where}:{comments + 1}")
        for row in rows:
            line = comments + rows.line_num
            if None in row or None in row.values():
                raise InputError(
                    f"not {len(rows.fieldnames)} fields, as in the header", where=f"{where}:{line}", fix=_PINNED
                )
            yield line, row
    except csv.Error as error:
        raise InputError(
            f"broken CSV: {error}", where=f"{where}:{comments + rows.reader.line_num}", fix=_PINNED
        ) from None


def _check_columns(columns: Sequence[str], where: str) -> None:
    if len(set(columns)) < len(columns):
        raise InputError("two columns of one name", where=where, fix=_PINNED)
    missing = [name for name in _TEXT_COLUMNS if name not in columns]
    if not any(name.startswith(_SCORE) for name in columns):
        missing.append(_SCORE)
    if missing:
        raise InputError(
            f"missing column {', '.join(missing)}; found {', '.join(columns) or 'none'}",
            where=where,
            fix=_PINNED,
        )


def _unusable(row: Mapping[str, str]) -> str:
    if row["data_type"] != "text":
        return f"of type {row['data_type']!r} instead of text"
    if not row["objective"].strip() or not row["assistant_response"].strip():
        return "with a blank prompt or response"
    return ""


def _unshown(row: Mapping[str, str], skips: SkipCounter) -> str:
    """Why the row holds what a model would be shown and no record can hold; other columns are counted."""
    try:
        others = {name: text for name, text in row.items() if not name.startswith(_SCORE)}
        check_row(others, _KNOWN, skips.not_read)
    except Unshown as error:
        return error.reason
    return ""


def _human_scores(row: Mapping[str, str], where: str) -> list[float]:
    """The scores of all raters; a blank cell is a rater who gave none."""
    scores = []
    for name, text in row.items():
        if name.startswith(_SCORE) and text.strip():
            try:
                score = float(text)
            except ValueError:
                score = math.nan
            with located(where):
                if not 0 <= score <= 1:
                    raise InputError(f"{text!r} is no score in [0, 1]", where=name, fix=_PINNED)
            scores.append(score)
    return scores
