"""Workbooks of Excel and its relatives, which nothing here reads: their sheets are to be saved as CSV."""

from __future__ import annotations

from pathlib import Path

from encore_jax.errors import InputError

WORKBOOKS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".xltx", ".ods", ".numbers", ".gsheet")
BEGINNINGS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
"""First bytes of a workbook: of a zip archive, and of Excel's older files."""
EXPORT = "in Excel: File, Save As, CSV UTF-8; in LibreOffice: Save As, Text CSV; in Google Sheets: Download, CSV"


def check_no_workbook(content: bytes, path: str | Path) -> None:
    """Raises InputError if a file of another name is a workbook by its first bytes.

    >>> check_no_workbook(b"PK\\x03\\x04...", "ratings.csv")
    Traceback (most recent call last):
    encore_jax.errors.InputError: ratings.csv: is a workbook or an archive, and no text. Fix: save the sheet as CSV...
    """
    if content.startswith(BEGINNINGS):
        problem = "is a workbook or an archive, and no text"
        raise InputError(problem, where=str(path), fix=f"save the sheet as CSV ({EXPORT}), and give that file")


def check_no_workbook_name(path: str | Path) -> None:
    """Raises InputError if a file is a workbook by its name.

    >>> check_no_workbook_name("ratings.XLSX")
    Traceback (most recent call last):
    encore_jax.errors.InputError: ratings.XLSX: is a workbook, which is not read. Fix: save the sheet as CSV...
    """
    if str(path).lower().endswith(WORKBOOKS):
        problem = "is a workbook, which is not read"
        raise InputError(problem, where=str(path), fix=f"save the sheet as CSV ({EXPORT}), and give that file")
