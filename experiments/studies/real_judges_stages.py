"""The two stages of the study of real judges: every data set measured, and the report."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import jax

from encore_jax.data.readers.judged_sets import LAYOUT, read_judged
from encore_jax.errors import InputError
from encore_jax.progress import track
from encore_jax.recipes.config import to_dict
from encore_jax.recipes.manifest import versions
from encore_jax.recipes.stages.report import PUBLISHED, publish, write_pages
from experiments.studies.judges import study
from experiments.studies.junk import KINDS, real_rules, study_junk
from experiments.studies.real_judges_config import RealJudgesConfig
from experiments.studies.real_judges_page import render_judges
from experiments.studies.real_judges_tables import judges_text


def measure(config: RealJudgesConfig, folders: dict[str, Path], folder: Path) -> None:
    """Writes results.json."""
    sets = {}  # all of them are read before any is measured
    for name, at in folders.items():
        with _told_of(name, at):
            sets[name] = read_judged(name, at)
    six = real_rules(sets["HANNA"]) if "HANNA" in sets else None
    studies, junk = [], []
    common = {"tau": config.tau, "seed": config.seed}
    work = [
        (name, lambda data=data: studies.append(study(data, draws=config.replicates, **common)))
        for name, data in sets.items()
    ]
    for kind in KINDS if six else ():
        work.append(("HANNA", lambda kind=kind: junk.append(study_junk(six, kind, draws=config.junk_draws, **common))))
    for name, step in track(work, float(len(work)), "judges"):
        with _told_of(name, folders[name]):
            step()
    results = {
        "name": config.name,
        "studies": studies,
        "junk": junk,
        "missing": [name for name in LAYOUT if name not in sets],
        "config": to_dict(config),
        "versions": versions(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
    (folder / "results.json").write_text(json.dumps(_plain(results), indent=1, allow_nan=False))


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


def report_judges(measured: Path, folder: Path) -> None:
    """Writes results.json and report.html, copies them up to the work directory, and shows the tables."""
    write_pages(measured, folder, {PUBLISHED[1]: render_judges})
    show_judges(folder)


def show_judges(folder: Path) -> None:
    """Prints the tables of a finished report and makes sure that the work directory holds its copies."""
    print(judges_text(publish(folder)))
    print(f"\nReport: {folder.parent / PUBLISHED[1]}")
