"""A headless Chromium for the tests that need one; without it they say so and are skipped."""

import contextlib
import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def chromium_path() -> str:
    """The browser, which no Python package brings."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("there is no Chromium here: apt-get install chromium")
    return path


@contextlib.contextmanager
def chromium():
    """A started browser (Playwright's `Browser`), asked for by ``pip install encore_jax[browser]``."""
    path = chromium_path()
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="there is no Playwright here: pip install '.[browser]'"
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()
