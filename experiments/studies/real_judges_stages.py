"""The two stages of the study of real judges: every data set measured, and the report."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax

from encore_jax.data.digest import file_sha256
from encore_jax.data.readers.judged_sets import LAYOUT, judged_folders, read_judged
from encore_jax.errors import InputError
from encore_jax.progress import track
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.outside import Outside
from encore_jax.recipes.stages.report import PUBLISHED, Pages, pages_of, publish
from experiments.studies.judges import study
from experiments.studies.junk import KINDS, real_rules, study_junk
from experiments.studies.real_judges_page import render_judges
from experiments.studies.real_judges_tables import judges_text


class JudgedSets(Outside):
    """Published ratings by judges.

    Args:
      path: a folder that holds some sets of `LAYOUT`, or folders of them.
    """

    def __init__(self, path: str | Path):
        self.path = path

    @property
    def folders(self) -> dict[str, Path]:
        """The folder of every set that there is.

        Raises:
          InputError: there is no such folder, or it holds none of them.
        """
        return judged_folders(self.path)

    def check_there(self) -> None:
        _ = self.folders

    def key(self) -> dict[str, list[str]]:
        return {name: [file_sha256(at / file) for file in LAYOUT[name]] for name, at in self.folders.items()}


def measure(data: JudgedSets, tau: float, replicates: int, junk_draws: int, seed: int) -> dict[str, Any]:
    """Every data set, and HANNA's with junk rules.

    Args:
      data: the data sets.
      tau: temperature of the entropy weights.
      replicates: bootstrap draws over prompts, or over responses where pairs share no prompt.
      junk_draws: how often the junk rules that are added to HANNA's are drawn.
      seed: of all draws.

    Raises:
      InputError: a data set is damaged; says which, and what to do.
    """
    sets, folders = {}, data.folders  # all of them are read before any is measured
    for name, at in folders.items():
        with _told_of(name, at):
            sets[name] = read_judged(name, at)
    six = real_rules(sets["HANNA"]) if "HANNA" in sets else None
    studies, junk = [], []
    common = {"tau": tau, "seed": seed}
    work = [
        (name, lambda judged=judged: studies.append(study(judged, draws=replicates, **common)))
        for name, judged in sets.items()
    ]
    for kind in KINDS if six else ():
        work.append(("HANNA", lambda kind=kind: junk.append(study_junk(six, kind, draws=junk_draws, **common))))
    for name, step in track(work, float(len(work)), "judges"):
        with _told_of(name, folders[name]):
            step()
    results = {
        "studies": studies,
        "junk": junk,
        "missing": [name for name in LAYOUT if name not in sets],
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    return _plain(results)


@contextlib.contextmanager
def _told_of(name: str, folder: Path) -> Iterator[None]:
    """Errors say which data set they are about, and how the others are measured without it."""
    try:
        yield
    except InputError as error:
        fix = f"{error.fix}; or move the data set elsewhere, and the others are measured"
        raise InputError(error.problem, where=f"data set {name} in {folder}: {error.where}", fix=fix) from error


def _plain(value):
    """NaN as null, and tuples of numbers with names as objects."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and value != value else value


def report_judges(measured: dict[str, Any], config: Mapping[str, Any]) -> Pages:
    """results.json and report.html.

    Args:
      measured: what `measure` found.
      config: the whole configuration as plain values, for the record.
    """
    return pages_of(measured | {"name": config["name"], "config": dict(config)}, {PUBLISHED[1]: render_judges})


def show_judges(folder: Path) -> None:
    """Prints the tables of a finished report and makes sure that the work directory holds its copies."""
    print(judges_text(publish(folder)))
    print(f"\nReport: {folder.parent / PUBLISHED[1]}")
