"""The audit page by keyboard alone, at a desk and on a phone, in a real browser."""

import numpy as np
import pytest

from tests.report.audit_pages import made_up
from tests.report.browser import chromium

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
COUNT = 200


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Files by number of rules, and the margins of the first."""
    folder, files = tmp_path_factory.mktemp("audit"), {}
    for rules in (12, 100):
        html, margin = made_up(COUNT, rules)
        files[rules] = folder / f"{rules}.html"
        files[rules].write_text(html, encoding="utf-8")
        if rules == 12:
            margins = margin
    return files, margins


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def opened(pages, browser):
    """Opens the page of so many rules in a window of such a size; an error of its script fails the test."""
    contexts, errors = [], []

    def show(size=DESK, rules=12, hash="", **options):
        contexts.append(browser.new_context(viewport=size, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(pages[0][rules].as_uri() + hash)
        return page

    yield show
    for context in contexts:
        context.close()
    assert not errors


def tab_to(page, selector, most=60):
    """Presses Tab until the focus is there."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def focused(page) -> int:
    """The number of the comparison whose row has the focus."""
    return int(page.evaluate("document.activeElement.dataset.number"))


def expanded(page) -> list[int]:
    rows = page.locator('.row[aria-expanded="true"]').all()
    return [int(row.get_attribute("data-number")) for row in rows]


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_rows_are_reached_moved_through_opened_and_closed(opened, size):
    page = opened(size)
    assert expanded(page) == [0]  # the first comparison is open
    assert "1. c0" in page.locator("#detail").inner_text()
    tab_to(page, ".row")
    assert focused(page) == 0
    press(page, "ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp")
    assert focused(page) == 2 and expanded(page) == [0]
    press(page, "Enter")
    assert expanded(page) == [2] and focused(page) == 2
    assert "3. c2" in page.locator("#detail").inner_text() and page.locator("#detail").count() == 1
    told = page.locator("#announcement")
    assert told.get_attribute("aria-live") == "polite" and told.text_content().startswith("comparison 3 opened: ")
    press(page, "Escape")
    assert expanded(page) == [] and focused(page) == 2 and told.text_content() == "details closed"
    press(page, "End")
    assert focused(page) == COUNT - 1
    press(page, "ArrowDown", "Space")
    assert expanded(page) == [COUNT - 1] and f"{COUNT}. c{COUNT - 1}" in page.locator("#detail").inner_text()
    press(page, "Home")
    assert focused(page) == 0 and expanded(page) in ([], [COUNT - 1])
    press(page, "PageDown")
    assert focused(page) > 3
    box = page.evaluate("(r => [r.top, r.bottom, innerHeight])(document.activeElement.getBoundingClientRect())")
    assert 0 <= box[0] and box[1] <= box[2] + 1


def test_details_can_be_read_by_keyboard_and_left_again(opened):
    page = opened()
    tab_to(page, ".row")
    press(page, "ArrowDown", "Enter")
    tab_to(page, "#detail .text", most=3)
    press(page, "Escape")
    assert focused(page) == 1 and expanded(page) == []


def test_sorting_and_filtering_by_keyboard(opened, pages):
    page, margin = opened(), pages[1]
    tab_to(page, "#outcome")
    press(page, "w")
    wrong = np.flatnonzero(margin < 0)
    assert page.locator("#shown").inner_text() == f"{len(wrong)} of {COUNT}"
    assert expanded(page) == [wrong[0]]
    tab_to(page, '#head [data-sort="margin"]')
    press(page, "Enter")
    assert page.evaluate("document.activeElement.dataset.sort") == "margin"  # where it was
    assert expanded(page) == [wrong[np.argmax(margin[wrong])]]
    press(page, "Enter")
    assert expanded(page) == [wrong[np.argmin(margin[wrong])]]
    page.reload()
    assert page.locator("#outcome").input_value() == "wrong" and expanded(page) == [wrong[np.argmin(margin[wrong])]]
    tab_to(page, "#search")
    page.keyboard.type("nobody wrote this")
    page.locator("#shown").get_by_text("0 of 200", exact=True).wait_for(timeout=5000)
    assert "No comparison is left" in page.locator("#detail").inner_text()


def test_every_rule_of_the_strip_is_in_sight_at_1280(opened):
    page = opened()
    cells = page.evaluate("""[...document.querySelectorAll('.row[data-number="0"] .cell')].map(cell => {
        const r = cell.getBoundingClientRect();
        return [r.left, r.right, cell.closest('#list').getBoundingClientRect().right] })""")
    assert len(cells) == 12
    assert all(0 <= left and right <= min(edge, 1280) and right - left >= 10 for left, right, edge in cells)
    assert page.locator("#head .strip button").count() == 12
    prompt = page.evaluate("document.querySelector('.row .prompt').getBoundingClientRect().width")
    assert prompt > 60


@pytest.mark.parametrize(("size", "rules"), [(DESK, 100), (PHONE, 12), (PHONE, 100)])
def test_nothing_scrolls_sideways_and_every_rule_is_within_reach(opened, size, rules):
    page = opened(size, rules)
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    strip = page.evaluate("(r => [r.left, r.right])(document.querySelector('.row .strip').getBoundingClientRect())")
    assert 0 <= strip[0] < strip[1] <= size["width"]
    assert page.locator("#sort option").count() == 5 + rules
    page.locator("#sort").select_option(f"rule{rules - 1}")
    assert page.locator("#detail tbody tr").count() == rules + 1


def test_on_a_phone_details_stand_below_the_row_that_was_tapped(opened):
    page = opened(PHONE, has_touch=True)
    row = page.locator('.row[data-number="4"]')
    page.locator("#list").evaluate("list => list.scrollIntoView()")
    row.wait_for(timeout=5000)
    row.scroll_into_view_if_needed()
    before = row.bounding_box()["y"]
    row.tap()
    row, detail = page.locator('.row[data-number="4"]').bounding_box(), page.locator("#detail").bounding_box()
    after = page.locator('.row[data-number="5"]').bounding_box()
    assert row["y"] == pytest.approx(before, abs=1.5)
    assert detail["y"] == pytest.approx(row["y"] + row["height"], abs=1.5)
    assert after["y"] == pytest.approx(detail["y"] + detail["height"], abs=1.5)
    assert 0 <= detail["x"] and detail["x"] + detail["width"] <= PHONE["width"]
    page.locator('.row[data-number="4"]').tap()
    assert expanded(page) == []
