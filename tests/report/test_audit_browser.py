"""The audit page in a real browser: sorted, filtered, opened, quick with 10,000 comparisons, and asking for nothing.

Needs Chromium (apt-get install chromium); without one the tests say so and are skipped.
"""

import json
import re
import shutil
import subprocess

import jax
import numpy as np
import pytest

from encore_jax.data import Comparison, Message
from encore_jax.evaluation.audit import audit_rules, contributions
from encore_jax.report.audit_page import render_audit

pytestmark = pytest.mark.slow
ROW = re.compile(r'class="row(?: open)?"[^>]*data-number="(\d+)"')
RULES = tuple(f"rule {k}" for k in range(10))


@pytest.fixture(scope="module")
def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A page of 10,000 made-up comparisons, and their margins."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(10_000, 2, 10)).astype(np.float32)
    weights, preferred = np.full(10, 0.1, np.float32), rng.integers(0, 2, 10_000)
    text = "An answer of some length, as answers are. " * 15
    comparisons = [
        Comparison(
            (Message("user", f"Question {i}?"),), (f"{i} {text}", f"{i} no"), int(p), subset="ab"[i % 2], id=f"c{i}"
        )
        for i, p in enumerate(preferred)
    ]
    parts = contributions(scores, preferred, weights)
    rules = audit_rules(RULES, weights, parts, parts * 10, jax.random.key(0))
    facts = {"name": "large", "label": "semi-synthetic", "description": "Made up.", "method": "equal weights"}
    facts |= {"comparisons": 10_000, "accuracy": float((parts.sum(1) > 0).mean())}
    first = np.take_along_axis(scores, np.stack([preferred, 1 - preferred], 1)[..., None], 1)
    path = tmp_path_factory.mktemp("page") / "audit.html"
    path.write_text(render_audit(facts, rules, comparisons, first, parts), encoding="utf-8")
    return path, parts.astype(np.float64).sum(1)


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
