"""Figures as SVG text to stand inside a page: the same bytes on every run, text kept as text."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator

import matplotlib
from markupsafe import Markup
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from encore_jax.formats import printable
from encore_jax.report.sheet import PAGE, PHONE, Sheet

BLUE, VERMILION, GREEN, PURPLE, ORANGE = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"
"""Okabe and Ito's colours, told apart under colour blindness; figures never rely on colour alone."""
INK, GREY, PALE = "#222222", "#777777", "#d9d9d9"
BARS = "#9ecae1"
ON_DARK, ON_LIGHT = "#fefefe", "#1c1c1c"
"""Of text on coloured cells, which stay as they are in dark mode."""
THEME = {
    INK: "ink", GREY: "grey", PALE: "pale", BLUE: "blue", VERMILION: "vermilion", GREEN: "green", PURPLE: "purple",
    ORANGE: "orange", BARS: "bars", "#ffffff": "paper",
}  # fmt: skip
"""Colours that the page's style may change (``--figure-NAME``), as it does in dark mode."""
STRETCH = 1.25
_NAMES = {color.lower(): name for color, name in THEME.items()}
SIMULATED = "SEMI-SYNTHETIC: no real judge"
"""Stands in every figure of simulated judges, should it be cut out of the page."""
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "encore",
    "text.parse_math": False,  # a rule's name may hold a dollar sign
    "font.family": "DejaVu Sans",  # comes with matplotlib, and is wide: the page's own font will fit
    "font.size": 8.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "legend.frameon": False,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The report's style on matplotlib's defaults, whatever the user's own settings are."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the page has other fonts
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def drawn(draw: Callable[[Sheet], Figure], prefix: str, title: str) -> Markup:
    """A figure twice, for the page and for a phone: the page's style shows the one that fits. No text is shrunk.

    Args:
      draw: the figure for a sheet.
      prefix: of every id, so that several figures can share a page; letters, digits, hyphens.
      title: what the figure shows, for those who hear the page.
    """
    with style():
        wide, narrow = to_svg(draw(PAGE), prefix, title), to_svg(draw(PHONE), f"{prefix}-phone", title)
    return Markup(f'<div class="on-page">{wide}</div>\n<div class="on-phone">{narrow}</div>')


def to_svg(figure: Figure, prefix: str, title: str) -> str:
    """The figure as an <svg> element without prolog, metadata, or any address; its colours follow the page's style.

    Args:
      figure: made under `style`, and passed here under it.
      prefix, title: as of `drawn`.
    """
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    if (engine := figure.get_layout_engine()) is not None:  # else savefig draws everything twice, to lay it out
        engine.execute(figure)
        figure.set_layout_engine("none")
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\n\s*\n", "\n", svg)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    svg = re.sub(r'\bxlink:href="#', f'href="#{prefix}-', svg)
    svg = re.sub(r"(fill|stroke): (#[0-9a-f]{6})", _themed, svg)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head).group()
    width = 96 * STRETCH * figure.get_figwidth()
    return f'<svg {box} role="img" aria-label="{_attribute(title)}" style="max-width:{width:.0f}px">{body}'


def _themed(match: re.Match) -> str:
    kind, color = match.groups()
    return f"{kind}: var(--figure-{_NAMES[color]}, {color})" if color in _NAMES else match.group()


def _attribute(text: str) -> str:
    return printable(text).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
