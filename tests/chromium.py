"""The system's own chromium, headless, driven by playwright."""

import shutil
import time
from contextlib import contextmanager

from playwright.sync_api import sync_playwright

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)


@contextmanager
def chromium():
    """A new browser, which ends with the context."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


def wait(page, expression, seconds=60):
    """Until an expression is true. (Playwright's own way needs `eval`, which pages here forbid.)"""
    end = time.monotonic() + seconds
    while not (found := page.evaluate(expression)):
        assert time.monotonic() < end, f"never: {expression}\n{page.inner_text('body')}"
        page.wait_for_timeout(20)
    return found
