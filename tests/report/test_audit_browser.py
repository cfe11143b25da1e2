"""The audit page in a real browser: sorted, filtered, opened, quick with 10,000 comparisons, and asking for nothing.

Needs Chromium (apt-get install chromium); without one the tests say so and are skipped.
"""

import json
import re
import subprocess

import numpy as np
import pytest

from tests.report.audit_pages import made_up
from tests.report.browser import chromium_path

pytestmark = pytest.mark.slow
ROW = re.compile(r'<button class="row"[^>]*data-number="(\d+)"')


@pytest.fixture(scope="module")
def chromium():
    return chromium_path()


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A page of 10,000 made-up comparisons, and their margins."""
    html, margin = made_up(10_000, 10, "An answer of some length, as answers are. " * 15)
    path = tmp_path_factory.mktemp("page") / "audit.html"
    path.write_text(html, encoding="utf-8")
    return path, margin


def opened(chromium, path, state, tmp_path):
    """The page's elements after its script has run, and every address that it asked for.

    What the browser itself asks its maker has no page as its initiator.
    """
    log = tmp_path / "net.json"
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--log-net-log={log}"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1600,1000", "--dump-dom"]
    done = subprocess.run([*command, f"{path.as_uri()}#{state}"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    requests = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    browsers_own = (None, "not an origin")
    return done.stdout, {r["url"] for r in requests if "url" in r and r.get("initiator") not in browsers_own}


def test_it_shows_the_rows_in_view_in_the_order_asked_for(chromium, large, tmp_path):
    path, margin = large
    html, asked = opened(chromium, path, "sort=margin&down=true", tmp_path)
    shown = [int(number) for number in ROW.findall(html)]
    assert 10 < len(shown) < 100
    assert shown == np.argsort(-margin, kind="stable")[: len(shown)].tolist()
    assert "10000 of 10000" in html
    assert not asked


def test_a_page_that_asks_for_something_would_be_noticed(chromium, tmp_path):
    page = tmp_path / "asking.html"
    page.write_text('<!doctype html><img src="http://127.0.0.1:9/picture.png">')
    assert opened(chromium, page, "", tmp_path)[1] == {"http://127.0.0.1:9/picture.png"}


def test_it_filters_and_opens_a_comparison(chromium, large, tmp_path):
    path, margin = large
    html, _ = opened(chromium, path, "outcome=wrong&subset=1&sort=margin&open=1234", tmp_path)
    wrong = np.flatnonzero((margin < 0) & (np.arange(10_000) % 2 == 1))
    shown = [int(number) for number in ROW.findall(html)]
    assert shown == wrong[np.argsort(margin[wrong], kind="stable")][: len(shown)].tolist()
    assert f"{len(wrong)} of 10000" in html
    assert "1235. c1234" in html and f"{margin[1234]:.4f}" in html


def test_it_finds_text(chromium, large, tmp_path):
    html, _ = opened(chromium, large[0], "search=question+777%3F", tmp_path)
    assert [int(number) for number in ROW.findall(html)] == [777] and "1 of 10000" in html
