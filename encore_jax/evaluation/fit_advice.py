"""How a reward model is trained on ratings with the weighting that is advised for them: a command that can be typed.

`encore fit` trains on ratings, and judges the model by pairs of which people prefer one response. What it needs beside
a file of ratings depends on what that file holds.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from encore_jax.data.named_rules import plain_name
from encore_jax.data.rating_shape import pool_beside
from encore_jax.data.rows import named

if TYPE_CHECKING:
    from encore_jax.data.scored_rows import Rows

FEWEST_LABELS = 10
"""Prompts with a labelled pair from which `encore fit` is advised: fewer may all fall on one side of its split."""

Holds = Literal["run", "pairs", "unlabelled pairs", "groups", "responses", "only numbers"]
"""What is rated: by a rating run whose pairs are labelled; labelled pairs; pairs with fewer labels than
needed; nothing but longer lists of responses; responses whose ratings can be read beside other pairs; or ratings
without texts."""


class Rated(NamedTuple):
    """Ratings, as `encore fit` may be given them.

    Attributes:
      holds: what is rated.
      path: the file, or the folder of the run.
      flags: of the command, that say how the file is read.
      first: what must be changed in the file before a model can be trained on it, a command in words; "" for nothing.
    """

    holds: Holds
    path: str
    flags: tuple[str, ...] = ()
    first: str = ""


RUN = Rated("run", "RUN")
"""A rating run of which only that much is known."""


def rated_in(path: Path, rows: Rows | None, flags: Sequence[str] = ()) -> Rated:
    """What a file of ratings holds.

    Args:
      path: the file.
      rows: what it says; None for a table of nothing but ratings.
      flags: see `Rated`.
    """
    if rows is None:
        return Rated("only numbers", str(path))
    found = _rated_in(path, rows, flags)
    return found._replace(first=_to_change(path, rows, any(flag.startswith("--config.data.pool=") for flag in flags)))


def _to_change(path: Path, rows: Rows, pool: bool) -> str:
    """What `encore fit` does not take of these ratings, as an instruction; "" if it takes them as they are."""
    rated = np.isfinite(rows.values).any(0)
    if not rated.all():
        names = named([rule for rule, some in zip(rows.rules, rated, strict=True) if not some])
        return f"drop the rules that nobody rated from the pool: {names}"
    if pool or pool_beside(path):
        return ""
    plain = {rule: plain_name(rule) for rule in rows.rules}
    if wrong := [rule for rule, name in plain.items() if not re.match("[a-z]", name)]:
        return f"rename {named(wrong)}: a rule's name begins with one of the letters a to z"
    if same := [rule for rule, name in plain.items() if list(plain.values()).count(name) > 1]:
        return f"rename all but one of {named(same)}, which differ in capitals and signs alone"
    return ""


def _rated_in(path: Path, rows: Rows, flags: Sequence[str]) -> Rated:
    """What is rated, whatever the rules are called."""
    from encore_jax.data.rating_run import STAGES

    if rows.quality is not None:
        return Rated("responses", str(path), tuple(flags))
    run, of_run = path.parent.parent, path.name == "comparisons.jsonl" and path.with_name("rated.jsonl").is_file()
    each = zip(rows.sizes.tolist(), rows.preferred.tolist(), rows.prompt, strict=True)
    labelled = {prompt for size, preferred, prompt in each if size == 2 and preferred >= 0}
    if of_run and path.parent.name in STAGES.values() and not flags:
        return rated_by_run(str(run), len(labelled), path.parent.name)
    if len(labelled) >= FEWEST_LABELS:
        return Rated("pairs", str(path), tuple(flags))
    if of_run:
        return Rated("responses", str(path.with_name("rated.jsonl")), tuple(flags))
    if (rows.sizes > 2).any() and not (rows.sizes == 2).any():
        return Rated("groups", str(path), tuple(flags))
    return Rated("unlabelled pairs", str(path), tuple(flags))


def rated_by_run(workdir: str, labelled_prompts: int, stage: str = "rate") -> Rated:
    """What a rating run has rated.

    Args:
      workdir: of the run.
      labelled_prompts: prompts with a pair of which people prefer one response.
      stage: of the run, that left the ratings.
    """
    if labelled_prompts >= FEWEST_LABELS:
        return Rated("run", workdir)
    return Rated("responses", f"{workdir}/{stage}/rated.jsonl")


def how_for_ratings(use: str, rated: Rated = RUN) -> str:
    """How to train a reward model on ratings with the weighting that is advised for them.

    Args:
      use: the weighting; "" if nothing is advised.
      rated: the ratings.

    >>> print(how_for_ratings("uniform", Rated("pairs", "my pairs.csv")))
    To train a model so: encore fit 'my pairs.csv' --config.compose.method=uniform '--workdir=runs/my pairs'.
    >>> print(how_for_ratings("agreement", Rated("run", "runs/mine")))
    To train a model so: encore fit runs/mine --config.compose.method=agreement --workdir=runs/mine-model. Its \
weights follow from its own scores, and may differ from these.
    >>> print(how_for_ratings("uniform", Rated("responses", "rated.csv", ("--config.data.pool=rules.yaml",))))
    To train a model so: encore fit PAIRS rated.csv --config.data.pool=rules.yaml --config.compose.method=uniform \
--workdir=runs/rated, where PAIRS is your file of pairs of which people prefer one response, by which the model is \
judged.
    >>> print(how_for_ratings("agreement", Rated("only numbers", "ratings.csv")))
    To train a model on these ratings, write the texts beside them: columns prompt and response.
    """
    if not use:
        return ""
    if rated.holds == "only numbers":
        return "To train a model on these ratings, write the texts beside them: columns prompt and response."
    if rated.first:
        return f"To train a model on these ratings, first {rated.first}."
    if rated.holds == "groups":
        return (
            "To train a model on these ratings, write two of the responses a row and which of them people prefer: a "
            "model is judged by pairs, and every comparison here has three responses or more."
        )
    anew = "" if use == "uniform" else " Its weights follow from its own scores, and may differ from these."
    if rated.holds in ("run", "pairs"):
        return f"To train a model so: {fit_command(use, rated)}.{anew}"
    if rated.holds == "responses":
        return (
            f"To train a model so: {fit_command(use, rated)}, where PAIRS is your file of pairs of which people prefer "
            f"one response, by which the model is judged.{anew}"
        )
    from encore_jax.data.text_tables import is_text_table

    table = is_text_table(Path(rated.path))
    where = "column preferred: a or b" if table else 'field "preferred": 0 or 1'
    line = (
        f"To train a model so, first say of {FEWEST_LABELS} or more prompts which of two responses people prefer "
        f"({where}), because the model is judged by that; then: {fit_command(use, rated)}.{anew}"
    )
    return f"{line} Without labels, in Python: {python_line(use, rated)}." if table and not rated.flags else line


def fit_command(use: str, rated: Rated) -> str:
    """The command, quoted for a shell; the word PAIRS stands for a file that only the user knows."""
    words = ["PAIRS"] if rated.holds == "responses" else []
    options = [*rated.flags, f"--config.compose.method={use}", f"--workdir={_workdir(rated)}"]
    return shlex.join(["encore", "fit", *words, rated.path, *options])


def _workdir(rated: Rated) -> str:
    """A folder of these ratings' own: the usual one may hold a run on others."""
    name = Path(rated.path).name
    return f"runs/{name}-model" if rated.holds == "run" else f"runs/{name.split('.')[0] or 'ratings'}"


def python_line(use: str, rated: Rated) -> str:
    """The same without labels, which nothing then judges."""
    weighted = "" if use == "entropy" else f".weighted({use!r})"
    return f"enc.fit(enc.read_comparisons({rated.path!r})){weighted}"
