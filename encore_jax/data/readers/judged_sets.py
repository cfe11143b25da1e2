"""Which published sets of judges' and people's ratings a folder holds."""

from __future__ import annotations

from pathlib import Path

from encore_jax.data.judged import JudgedResponses
from encore_jax.data.readers.hanna import HANNA_FILE, read_hanna
from encore_jax.data.readers.llm_rubric import LLM_RUBRIC_FILES, read_llm_rubric
from encore_jax.data.readers.llmbar import LLMBAR_FILES, read_llmbar
from encore_jax.errors import InputError

LAYOUT = {
    "HANNA": (HANNA_FILE,),
    "LLMBar": LLMBAR_FILES,
    "LLM-Rubric, synthetic": LLM_RUBRIC_FILES["synthetic"],
    "LLM-Rubric, real": LLM_RUBRIC_FILES["real"],
}
"""Of every set the files that tell it, and that it is read from."""


def judged_folders(path: str | Path) -> dict[str, Path]:
    """The folder of every set of `LAYOUT` that lies in a folder, or in one directly below it.

    Raises:
      InputError: there is no such folder, or it holds none of them.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError("is no folder", where=str(path), fix="give the folder that holds the data sets")
    folders = [path, *sorted(folder for folder in path.iterdir() if folder.is_dir())]
    found = {}
    for name, files in LAYOUT.items():
        holding = [folder for folder in folders if all((folder / file).is_file() for file in files)]
        if holding:
            found[name] = holding[0]
    if not found:
        wanted = "; ".join(f"{name}: {' and '.join(files)}" for name, files in LAYOUT.items())
        raise InputError(
            "holds none of the data sets", where=str(path), fix=f"put there, or one folder below: {wanted}"
        )
    return found


def read_judged(name: str, folder: Path) -> JudgedResponses:
    """Reads a set of `LAYOUT` from its folder."""
    if name == "HANNA":
        return read_hanna(folder / HANNA_FILE)
    if name == "LLMBar":
        return read_llmbar(folder)
    return read_llm_rubric(folder, "real" if name.endswith("real") else "synthetic")
