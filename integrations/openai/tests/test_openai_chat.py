"""The page, in a real Chromium; skipped where there is none."""

import os
import shutil
from pathlib import Path

import pytest

SHOT = os.environ.get("SLEEPMEM_SHOT")


@pytest.fixture(scope="module")
def browser():
    """A Chromium, playwright's own or the system's."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        path = running.chromium.executable_path
        found = path if Path(path).exists() else shutil.which("chromium")
        if found is None:
            pytest.skip("no Chromium is here")
        chromium = running.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, own):
    """The page of a gateway, with its key; it says nothing to the console, loads nothing else."""
    context = browser.new_context(viewport={"width": 900, "height": 560})
    tab, wrong = context.new_page(), []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    tab.add_init_script(f"sessionStorage.setItem('key', {own.key('browser')!r})")
    tab.goto(own.url)
    tab.wait_for_selector("#model option", state="attached")
    yield tab
    context.close()
    assert wrong == []


def say(page, text):
    """Say it, and return what comes back."""
    page.fill("#text", text)
    page.press("#text", "Enter")
    page.wait_for_selector("#send:not([disabled])", timeout=60_000)
    return page.locator("#talk > div").last


def test_the_page_talks_and_says_where_an_answer_comes_from(page):
    assert page.input_value("#model") == "sleepmem"
    for told in ("Mara has moved to Brenport.", "The boss of Mara is Tolvan."):
        assert say(page, told).locator(".said").inner_text() == "Noted."
    page.click("#new")
    assert page.locator("#talk > div").count() == 0
    answer = say(page, "Where does Mara live?")
    assert answer.locator(".said").inner_text() == "Brenport."
    assert answer.locator(".source").inner_text().startswith("from memories of 2")
    answer = say(page, "Who is the boss of Mara?")
    assert answer.locator(".said").inner_text() == "Tolvan."
    if SHOT:
        page.fill("#key", "")
        page.screenshot(path=SHOT)


def test_what_is_said_is_text_and_never_html(page):
    say(page, "<img src=x onerror=document.title='hacked'><b>bold</b>")
    assert page.locator("#talk img, #talk b").count() == 0
    assert page.title() == "sleepmem"


def test_a_fault_is_told_on_the_page(browser, own):
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(own.url)
    tab.wait_for_selector(".error")
    assert "API key" in tab.locator(".error .said").inner_text()
    context.close()
