"""What figures are drawn for: a page, or a phone, whose figures are drawn for its width and not shrunk."""

from __future__ import annotations

import dataclasses
import textwrap

from encore_jax.formats import printable, shortened


@dataclasses.dataclass(frozen=True)
class Sheet:
    """What a figure is drawn for.

    Attributes:
      wide: width of a figure across the page, in inches; the page stretches it a little.
      half: of one of two side by side.
      letters: of a name, at most.
      line: letters of a line below an axis; the rest goes on in the next.
      below: room for the axis and what stands below it, in inches.
      phone: whether it is narrow, so that what stands side by side on a page stands below each other.
    """

    wide: float
    half: float
    letters: int
    line: int
    below: float
    phone: bool = False

    def name(self, text: object, most: int = 30) -> str:
        """A name that leaves room for the figure; on a phone its middle is left out, because names differ at their end.

        >>> PHONE.name("critical rules × loading, r = 5")
        'critical rules…g, r = 5'
        """
        text = printable(text)
        if not self.phone or len(text) <= self.letters:
            return shortened(text, min(most, self.letters))
        return f"{text[: self.letters - 10]}…{text[-8:]}"

    def label(self, text: str) -> str:
        """A label in as many lines as it takes."""
        return textwrap.fill(text, self.line)


PAGE = Sheet(wide=8.6, half=4.2, letters=60, line=90, below=0.7)
PHONE = Sheet(wide=3.6, half=3.6, letters=24, line=30, below=1.05, phone=True)
