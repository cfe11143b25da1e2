"""Pages under axe-core, which finds what keeps people with a screen reader, a keyboard or weak eyes out.

axe-core is no part of this project: ``npm pack axe-core && tar xzf axe-core-*.tgz``, then
``AXE_CORE=package/axe.min.js pytest -m slow tests/report/test_axe.py``.
"""

import os
from pathlib import Path

import pytest

from encore_jax.report.report_page import render_report
from tests.evaluation.hand_made import hand_made_results
from tests.report.audit_pages import made_up
from tests.report.browser import chromium
from tests.report.test_shown import all_results

RUN = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations.map(
    found => [found.impact, found.id, found.help, found.nodes.slice(0, 3).map(node => node.html.slice(0, 200))])"""
GRAVE = ("serious", "critical")


def axe_core() -> str:
    path = Path(os.environ.get("AXE_CORE") or "node_modules/axe-core/axe.min.js")
    if not path.is_file():
        pytest.skip("there is no axe-core here: npm pack axe-core, unpack it, and set AXE_CORE=package/axe.min.js")
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    texts = {"report": render_report(hand_made_results()), "audit": made_up(60, 12)[0]}
    texts |= {name: found._view().page(found) for name, found in all_results().items()}
    for name, text in texts.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return sorted(folder.glob("*.html"))


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_grave_and_nothing_scrolls_sideways(pages, scheme, width):
    axe = axe_core()
    with chromium() as browser:
        options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "bypass_csp": True}
        page = browser.new_context(**options).new_page()
        for path in pages:
            page.goto(path.as_uri())
            page.add_script_tag(content=axe)
            found = page.evaluate(RUN)
            assert not [one for one in found if one[0] in GRAVE], (path.name, found)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path.name
