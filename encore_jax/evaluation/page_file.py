"""A page that a call from Python writes to a file, or into a folder."""

from __future__ import annotations

from pathlib import Path

from encore_jax.data.atomic import atomic_path
from encore_jax.data.lock import output_lock
from encore_jax.errors import InputError


def write_page(path: str | Path, name: str, page: str) -> Path:
    """Writes the page whole, or not at all.

    Args:
      path: of the file, which is replaced; or an existing folder, in which it is called `name`.
      name: of the file in a folder.
      page: HTML.

    Raises:
      InputError: it cannot be written there.
    """
    path = Path(path)
    path = path / name if path.is_dir() else path
    try:
        with output_lock(path), atomic_path(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise InputError(problem, where=str(path), fix="name a file in a folder that exists") from None
    return path
