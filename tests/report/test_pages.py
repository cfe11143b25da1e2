"""Pages for a phone, a keyboard, a screen reader and the dark; other runs' are checked where they are made."""

import functools
import re
from pathlib import Path

import pytest

from encore_jax.evaluation.first_line import first_line
from encore_jax.report import ablation_figures, figures, noise_figures, ramo_figures, theory_page
from encore_jax.report.figures import view_figures
from encore_jax.report.page import TEMPLATES
from encore_jax.report.report_page import render_report
from encore_jax.report.sheet import PHONE
from encore_jax.report.svg import THEME, style
from tests.evaluation.hand_made import hand_made_results, hand_made_view
from tests.report.audit_pages import RECOMMENDATION, made_up
from tests.report.page_checks import check_page, check_width
from tests.report.test_shown import all_results

CSS = (TEMPLATES / "style.css").read_text()


def test_the_report_of_a_run():
    results = hand_made_results()
    check_page(render_report(results), first_line(results)[:30])


def test_pages_of_results():
    for name, found in all_results().items():
        check_page(found._view().page(found), repr(found).split(".")[0][:30]), name


def test_the_audit_page():
    html, _ = made_up(20, 12)
    page = check_page(html, RECOMMENDATION[:20])
    live = [a for _, a, _ in page.elements if a.get("aria-live") == "polite" or a.get("role") == "status"]
    assert len(live) == 2
    script = "".join((TEMPLATES / name).read_text() for name in ("audit.js", "audit_detail.js"))
    for key in ("ArrowDown", "ArrowUp", "Home", "End", "PageDown", "PageUp", "Escape"):
        assert key in script, key
    for property in ("aria-expanded", "aria-posinset", "aria-setsize", "aria-controls", "tabIndex"):
        assert property in script, property
    assert "innerHTML" not in script and "@media (max-width: 60rem)" in html


def test_every_page_is_of_one_template():
    parts = {"macros.html", "page.html"}
    pages = [path for path in TEMPLATES.glob("*.html") if "<section" in path.read_text() and path.name not in parts]
    included = set(re.findall(r'include "(\w+\.html)"', "".join(path.read_text() for path in TEMPLATES.glob("*.html"))))
    for path in pages:
        assert path.name in included or path.read_text().startswith('{% extends "page.html" %}'), path.name
        assert "<html" not in path.read_text() and "<table>\n<caption" not in path.read_text(), path.name


def colours(part: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", part))


def luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in parts]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """As the web's accessibility guidelines (WCAG 2) define it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_by_day_and_by_night():
    dark = CSS[CSS.index("@media (prefers-color-scheme: dark)") :]
    dark = colours(dark[: dark.index("} }")])
    light = colours(CSS[: CSS.index("@media (prefers-color-scheme: dark)")])
    assert set(light) == set(dark), "every colour has both"
    for scheme in (light, dark):
        for name in ("ink", "soft", "small", "accent", "made", "few"):
            for ground in ("paper", "block", "hover", "open") if name in ("ink", "made") else ("paper", "made-pale"):
                assert contrast(scheme[name], scheme[ground]) >= 4.5, (name, ground)
        assert contrast(scheme["on-accent"], scheme["accent"]) >= 4.5
        assert contrast(scheme["made-ink"], scheme["made-dark"]) >= 4.5
        for name in ("ink", "grey", "blue", "vermilion"):
            assert contrast(scheme[f"figure-{name}"], scheme["figure-paper"]) >= 3, name


def test_no_rule_of_style_names_a_colour_that_the_dark_cannot_change():
    for name in ("style.css", "audit.css"):
        css = (TEMPLATES / name).read_text()
        rules = css[css.index("* { box-sizing") :] if name == "style.css" else css
        values = re.findall(r":([^;{}]*)[;}]", re.sub(r"/\*.*?\*/", "", rules))
        assert not [value for value in values if re.search(r"#[0-9a-f]{3,6}\b|\b(white|black)\b(?!-)", value)]


def test_figures_take_their_colours_from_the_page():
    svg = str(view_figures(hand_made_view(), "v")["scatter"])
    assert "var(--figure-blue, #0072b2)" in svg.lower() and 'fill: #222222"' not in svg
    names = {name for name in THEME.values()}
    assert names == {name.removeprefix("figure-") for name in colours(CSS) if name.startswith("figure-")}


def drawings():
    """Every figure of the report, by name: a function of the sheet."""
    results = hand_made_results()
    view = hand_made_view(rules=("a_rule_with_a_very_long_name_indeed", "b", "c"))
    for name in ("scatter", "weights", "variants", "forest", "sensitivity", "histograms"):
        yield name, functools.partial(getattr(figures, name), view)
    for name in ("correlation", "gain"):
        yield name, functools.partial(getattr(noise_figures, name), results["noise_study"])


@pytest.mark.parametrize(("name", "draw"), list(drawings()))
def test_nothing_of_a_figure_for_a_phone_stands_outside_it(name, draw):
    with style():
        check_width(draw(sheet=PHONE))


def test_every_module_of_figures_draws_for_a_sheet():
    for module in (figures, noise_figures, ablation_figures, ramo_figures, theory_page):
        source = Path(module.__file__).read_text()
        for arguments in re.findall(r"def \w+\(([^)]*)\) -> Figure:", source):
            assert "sheet: Sheet = PAGE" in arguments, module.__name__
