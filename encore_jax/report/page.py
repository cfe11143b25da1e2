"""What all pages share: templates, how numbers stand in them, and the file that a page becomes."""

from __future__ import annotations

import functools
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import markupsafe

from encore_jax import formats
from encore_jax.data.atomic import atomic_path
from encore_jax.data.lock import output_lock
from encore_jax.errors import InputError
from encore_jax.evaluation.first_line import first_line
from encore_jax.report.tables import oracle_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values) -> str:
    """A page, or a part of one, the same text for the same values."""
    return page_environment().get_template(template).render(**values)


def page_environment() -> jinja2.Environment:
    """Where pages' templates are rendered: everything escaped, numbers formatted, nothing undefined."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("fixed", "percent", "points", "count", "p_value"):
        environment.filters[name] = _typeset(getattr(formats, name))
    environment.filters["bounds"] = _typeset(formats.bounds)
    environment.filters["point_bounds"] = _typeset(lambda interval: formats.bounds(interval, formats.points))
    environment.filters["rounded"] = formats.rounded
    environment.filters["pretty"] = lambda value: json.dumps(value, indent=2, ensure_ascii=False)
    environment.tests["known"] = formats.known
    environment.filters["first_line"] = first_line
    environment.filters["oracle_name"] = oracle_name
    environment.filters["breakable"] = breakable
    environment.filters["whole"] = "{:,}".format
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    environment.filters["unbroken"] = unbroken
    environment.filters["minus_signs"] = formats.minus_signs
    environment.filters["whole_flags"] = whole_flags
    environment.filters["columns_of_words"] = columns_of_words
    return environment


def breakable(name: object) -> markupsafe.Markup:
    """A name that a narrow column may break after its underscores, slashes and colons, and not within a word.

    >>> print(breakable("no_medical_advice"))
    no_<wbr>medical_<wbr>advice
    """
    breaks = re.sub(r"[_/:](?!\s)", r"\g<0><wbr>", str(markupsafe.escape(name)))
    return unbroken(markupsafe.Markup(breaks))


def unbroken(name: object) -> markupsafe.Markup:
    """A name in which no line ends within a setting.

    >>> print(unbroken("critical rules, r = 1"))
    critical rules, <span class="whole">r = 1</span>
    """
    return markupsafe.Markup(re.sub(r"\br = \d+", r'<span class="whole">\g<0></span>', str(markupsafe.escape(name))))


def columns_of_words(rows: Sequence[Sequence[object]]) -> set[int]:
    """Which columns of a table hold words and no numbers; these stand to the left, as words do.

    >>> columns_of_words([["a", "joint", "64.3 [52.9, 75.7]", "refused"], ["b", "", "", "+1.4"]])
    {0, 1}
    """
    columns: dict[int, list[str]] = {}
    for row in rows:
        for i, cell in enumerate(row):
            columns.setdefault(i, []).append(str(cell).strip())
    words = {i: [cell for cell in cells if cell and cell != formats.MISSING] for i, cells in columns.items()}
    return {
        i for i, cells in words.items() if cells and not any(re.match(r"[-+−<>±≥≤]?[.\d\[]", cell) for cell in cells)
    }


def whole_flags(text: object) -> markupsafe.Markup:
    """A text in which no line ends within a command's flag, unless the flag is longer than a line.

    >>> print(whole_flags("encore fit RUN --config.seed=1"))
    encore fit RUN <span class="flag">--config.seed=1</span>
    """
    escaped = str(markupsafe.escape(text))
    return markupsafe.Markup(re.sub(r"(?<!\S)--[\w.-]+(?:=\S*)?", r'<span class="flag">\g<0></span>', escaped))


def _typeset(form):
    return lambda *args, **options: formats.typeset(form(*args, **options))


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


def drawn(draw: Callable[..., Figure], found: object) -> Figure:
    """A figure in the pages' style, for a notebook or a file.

    A notebook shows it whether or not pyplot was imported: it belongs to no window of pyplot's.
    """
    from encore_jax.report.svg import style

    with style():
        figure = draw(found)
    figure._repr_png_ = functools.partial(_png, figure)
    return figure


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110, bbox_inches="tight")
    return stream.getvalue()
