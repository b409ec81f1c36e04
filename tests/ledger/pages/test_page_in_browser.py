"""Pages in a real browser: on screens of each width, in light and dark, on paper, without scripts or a network."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Page, browser
from tests.inside import call
from tests.ledger.pages.test_report import retarget
from tests.world import DATE, World

TARGET = "<script>alert(1)</script>"

#: Texts that are cut off or stick out of the page.
OUTSIDE = """
[...document.querySelectorAll('svg text, td, p, li, h1, h2, dd, img')]
  .filter(e => e.getClientRects().length && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map(e => e.outerHTML.slice(0, 200))
"""


@pytest.fixture
def page(sqlite_world: World) -> Path:
    """Return the page of a night with a target whose name is a script, and with an index beside it."""
    sqlite_world.simulate(scale=0.05)
    retarget(sqlite_world, TARGET)
    sqlite_world.advance()
    assert call(sqlite_world, "report", "--all", "-o", "pages").returncode == 0
    return sqlite_world.folder / "pages" / f"{DATE}.html"


@pytest.fixture
def chromium() -> Iterator[Page]:
    with browser() as found:
        yield found


def test_a_browser_that_does_not_answer_is_not_waited_for():
    read_end, write_end = os.pipe()
    with (
        Path(os.devnull).open("wb") as to,
        os.fdopen(read_end, "rb", buffering=0) as answers,
        os.fdopen(write_end, "wb"),
        pytest.raises(TimeoutError, match=r"not done Target\.createTarget in 0\.1 s"),
    ):
        Page(to, answers, limit_s=0.1)


def test_pages_are_shown_whole_without_a_request_an_error_or_a_script(page, chromium):
    for path in (page, page.with_name("index.html")):
        for width in (360, 800, 2000):
            for dark in (False, True):
                chromium.open(path, width, dark=dark, scripts=width == 800)
                seen = (path.name, width, dark)
                assert chromium.requests == [path.as_uri()], seen
                assert chromium.errors == [], seen
                widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
                needed, given = chromium.value(widths)
                assert needed <= given, seen
                assert chromium.value(OUTSIDE) == [], seen
                red, green, blue = chromium.value(
                    "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
                )
                assert (max(red, green, blue) < 60) == dark, seen
                assert TARGET in chromium.value("document.body.textContent"), seen
                assert chromium.value("document.scripts.length") == 0, seen


def test_each_picture_has_its_text_and_one_size_of_it_is_shown(page, chromium):
    for width, kind in ((360, "narrow"), (1200, "wide")):
        chromium.open(page, width)
        shown = chromium.value(
            "[...document.querySelectorAll('svg.narrow, svg.wide')].filter(e => e.getClientRects().length)"
            ".map(e => [e.getAttribute('class'), e.ariaLabel.length, e.getBoundingClientRect().height])"
        )
        assert len(shown) == 3
        assert all(name == kind and words > 60 and height > 100 for name, words, height in shown)
        sizes = chromium.value(
            "[...document.querySelectorAll('svg.narrow text, svg.wide text')].filter(e => e.getClientRects().length)"
            ".map(e => parseFloat(getComputedStyle(e).fontSize) * e.getCTM().a)"
        )
        assert min(sizes) >= 9  # pixels
    assert all(chromium.value("[...document.images].map(e => e.alt.length > 20 && e.naturalWidth > 0)"))


def test_on_paper_it_is_black_on_white_with_wide_pictures(page, chromium):
    chromium.open(page, 1000, dark=True, media="print")
    assert chromium.value("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert chromium.value("getComputedStyle(document.querySelector('svg.wide')).display") == "block"
    pdf = chromium.ask("Page.printToPDF", printBackground=True, preferCSSPageSize=True)
    assert len(pdf["data"]) > 10_000
