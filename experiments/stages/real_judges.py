"""The two stages of the study of real judges: every data set measured, and the report."""

from __future__ import annotations

import json
from pathlib import Path

import jax

from encore_jax.data.readers.judged_sets import LAYOUT, read_judged
from encore_jax.progress import track
from experiments.config import to_dict
from experiments.manifest import versions
from experiments.real_judges_config import RealJudgesConfig
from experiments.stages.report import PUBLISHED, publish, write_pages
from experiments.studies.judges import study
from experiments.studies.junk import KINDS, real_rules, study_junk
from experiments.studies.real_judges_page import render_judges
from experiments.studies.real_judges_tables import judges_text


def measure(config: RealJudgesConfig, folders: dict[str, Path], folder: Path) -> None:
    """Writes results.json."""
    sets = {name: read_judged(name, at) for name, at in folders.items()}  # all of them are read before any is measured
    six = real_rules(sets["HANNA"]) if "HANNA" in sets else None
    studies, junk = [], []
    work = [
        lambda data=data: studies.append(study(data, tau=config.tau, draws=config.replicates, seed=config.seed))
        for data in sets.values()
    ]
    for kind in KINDS if six else ():
        options = {"draws": config.junk_draws, "tau": config.tau, "seed": config.seed}
        work.append(lambda kind=kind, options=options: junk.append(study_junk(six, kind, **options)))
    for step in track(work, float(len(work)), "judges"):
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
