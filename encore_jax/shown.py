"""Results that show themselves: as text, in a notebook, as a page, as a figure.

A result is numbers, and knows nothing of pages; it only names the module of `encore_jax.report` that shows it, which is
imported when it is needed.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Shown:
    """A result with a text, a notebook view, a page and a figure. Dataclasses say ``repr=False``.

    Args:
      shown_by: the module, which has `text(found)`, `html(found)`, `page(found)`, `figure(found)` and `FILE`, what its
        page is called in a folder.
    """

    _shown_by: str

    def __init_subclass__(cls, *, shown_by: str = "", **options):
        super().__init_subclass__(**options)
        if shown_by:
            cls._shown_by = shown_by

    def _view(self) -> ModuleType:
        return importlib.import_module(self._shown_by)

    def __repr__(self) -> str:
        return self._view().text(self)

    def _repr_html_(self) -> str:
        return self._view().html(self)

    def report(self, path: str | Path) -> Path:
        """Writes all of it as one HTML file that needs nothing else.

        Args:
          path: of the file, which is replaced; or an existing folder, in which it gets a name by its kind, such as
            reliability.html.

        Returns:
          The file.

        Raises:
          InputError: it cannot be written there.
        """
        view = self._view()
        return importlib.import_module("encore_jax.report.page").write_page(path, view.FILE, view.page(self))

    def plot(self) -> Figure:
        """The main figure, which a notebook shows, and `savefig` writes to a file."""
        return importlib.import_module("encore_jax.report.page").drawn(self._view().figure, self)
