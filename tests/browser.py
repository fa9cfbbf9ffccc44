"""A headless Chromium for the tests of pages, and what a page has said of itself in it."""

import os
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find():
    """The browser's path: of JAXNN_CHROMIUM, which must be there, or of the first one installed."""
    named = os.environ.get("JAXNN_CHROMIUM")
    if named:
        assert shutil.which(named), f"JAXNN_CHROMIUM: there is no {named}"
        return named
    for name in NAMES:
        if shutil.which(name):
            return shutil.which(name)
    return pytest.skip(f"no Chromium: none of {', '.join(NAMES)} is installed")


@contextmanager
def launched():
    path = find()
    with sync_playwright() as playwright:
        # An allocator that is preloaded for XLA is not for a browser.
        env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], env=env)
        yield chromium
        chromium.close()


class Tab:
    """An open page with everything that it has said, asked for or popped up."""

    def __init__(self, browser, path, **settings):
        self.page = browser.new_page(**settings)
        self.said, self.errors, self.asked, self.popped = [], [], [], []
        self.page.on("console", lambda message: self._said(message.text, message.type))
        self.page.on("pageerror", lambda error: self._said(str(error), "error"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on(
            "dialog", lambda dialog: (self.popped.append(dialog.message), dialog.dismiss())
        )
        self.page.goto(path if isinstance(path, str) else path.as_uri())

    def _said(self, text, kind):
        self.said.append(text)
        self.errors += [text] * (kind == "error")

    def wait(self):
        """Until the charts are drawn."""
        self.page.wait_for_selector("html[data-ready]", state="attached", timeout=20_000)
        return self

    def chart(self, i):
        return self.page.locator(f"#chart-{i} svg.marks")

    def drawn(self, i):
        return self.chart(i).evaluate("e => e.innerHTML")

    def tooltip(self):
        shown = self.page.locator("#vg-tooltip-element.visible")
        shown.wait_for(timeout=5000)
        return shown.inner_text()

    def choose(self, name, value):
        """Makes a choice and waits until it is drawn."""
        control = self.page.locator(f"#choice-{name}")
        before = self.page.locator("#shown").inner_text()
        control.set_checked(value) if isinstance(value, bool) else control.select_option(value)
        self.page.wait_for_function(
            "b => document.getElementById('shown').innerText !== b", arg=before
        )

    def chosen(self, name):
        control = self.page.locator(f"#choice-{name}")
        return control.is_checked() if name == "theory" else control.input_value()

    def numbers(self):
        """The cells of the table under the charts, by row."""
        rows = "rows => rows.map(r => [...r.cells].map(c => c.textContent))"
        return self.page.locator("#numbers tbody tr").evaluate_all(rows)


def luminance(colour):
    """Return the relative luminance of WCAG 2 of a colour `rgb(r, g, b)`."""
    values = np.array([float(v) for v in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
