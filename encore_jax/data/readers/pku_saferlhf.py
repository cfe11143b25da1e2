"""PKU-SafeRLHF (Ji et al. 2024, arXiv 2406.15513; data set PKU-Alignment/PKU-SafeRLHF).

Rows: ``prompt``, ``response_0``, ``response_1``, two human preferences ``better_response_id``
(helpfulness) and ``safer_response_id`` (harmlessness), and per response i ``is_response_i_safe``,
``response_i_harm_category`` (19 names -> bool) and ``response_i_severity_level`` (0 none to 3
severe). Earlier releases (10K, 30K) lack categories and severities; PKU-SafeRLHF-single-dimension has the one
preference ``better_response_id`` and nothing about safety.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from encore_jax.data.comparison import Comparison, parse_prompt
from encore_jax.data.fields import converted_rows, fields
from encore_jax.data.readers.pairs import usable_pair
from encore_jax.data.row_labels import row_id, truth, whole
from encore_jax.data.rows import require
from encore_jax.data.skips import SkipCounter
from encore_jax.errors import InputError

FIELDS = fields(
    "prompt response_0 response_1 better_response_id safer_response_id is_response_0_safe is_response_1_safe "
    "response_0_harm_category response_1_harm_category response_0_severity_level response_1_severity_level id",
    "prompt_source response_0_source response_1_source response_0_sha256 response_1_sha256",
)
_NAME_IT = "name the preference that decides, or separate the rows"


def read_pku_saferlhf(
    path: str | Path, *, skips: SkipCounter, preference: Literal["safer", "better", ""] = ""
) -> Iterator[Comparison]:
    """Streams comparisons in the file's order of responses; unusable rows are counted in ``skips``.

    Args:
      path: a ``.jsonl``, ``.jsonl.gz`` or ``.parquet`` file.
      skips: counts what was kept and skipped.
      preference: which of the two human preferences decides; by default "safer", and "better" if the first row has no
        other.

    ``extra`` carries ``better`` and, where the release has them, ``safer``, ``safe``, ``severity`` and
    ``harm_categories`` (names that apply), the last three as lists by response.
    """
    if preference not in ("safer", "better", ""):
        raise InputError(f"unknown preference {preference!r}", where="preference", fix="use 'safer' or 'better'")

    decides = [preference] if preference else []

    def convert(row: dict, where: str) -> Iterator[Comparison]:
        prompt = parse_prompt(require(row, "prompt", object, where), "prompt", skips.not_read)
        first, second = (require(row, name, str, where) for name in ("response_0", "response_1"))
        if not decides:
            decides.append("safer" if "safer_response_id" in row or "better_response_id" not in row else "better")
            if decides == ["better"]:
                skips.notes.append("preferred is the better response, because nothing is said about the safer one")
        elif not preference and decides == ["better"] and "safer_response_id" in row:
            raise InputError("a preference that the first row does not have", where="safer_response_id", fix=_NAME_IT)
        name = f"{decides[0]}_response_id"
        preferred = require(row, name, int, where)
        if preferred not in (-1, 0, 1):
            raise InputError(f"{preferred} is no response", where=name, fix="write 0, 1, or -1 for none")
        return usable_pair(
            "with no preference" if preferred == -1 else (prompt, first, second),
            where,
            skips,
            preferred=preferred,
            source="pku-saferlhf",
            id=row_id(row, where),
            extra=_extra(row, where),
        )

    return converted_rows(path, FIELDS, skips, convert)


def _extra(row: Mapping, where: str) -> dict[str, object]:
    extra: dict[str, object] = {}
    for kind in ("safer", "better"):
        if row.get(f"{kind}_response_id") is not None:
            extra[kind] = require(row, f"{kind}_response_id", int, where)
    if row.get("is_response_0_safe") is not None:
        extra["safe"] = [truth(row.get(f"is_response_{i}_safe"), f"is_response_{i}_safe") for i in (0, 1)]
    if row.get("response_0_severity_level") is not None:
        names = [f"response_{i}_severity_level" for i in (0, 1)]
        extra["severity"] = [whole(require(row, name, object, where), name) for name in names]
    if row.get("response_0_harm_category") is not None:
        flags = [require(row, f"response_{i}_harm_category", dict, where) for i in (0, 1)]
        extra["harm_categories"] = [[name for name, on in flag.items() if on] for flag in flags]
    return extra
