"""The page in a real browser: nothing on the console, nothing over the network, every panel drawn."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium, requests, show_at, until
from tests.compare.sweeps import write_sweep
from vxl.compare.comparison import compare
from vxl.compare.page.page import render
from vxl.run.find import find_members

pytestmark = pytest.mark.slow
PANELS = ["pareto", "forest", "heat", "needle", "curves", "parallel"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


def opened(browser: Any, page: Path, width: int = 1600) -> float:
    """Opens a page and waits until it says that all is drawn; returns the seconds that took."""
    show_at(browser, width)
    browser.get_log("browser"), browser.get_log("performance")
    began = time.monotonic()
    browser.get(page.as_uri())
    until(browser, "document.body.dataset.drawn")
    return time.monotonic() - began


@pytest.mark.parametrize("members", [3, 30, 300])
def test_everything_is_drawn_and_nothing_leaves(browser: Any, tmp_path: Path, members: int) -> None:
    write_sweep(tmp_path, "s", members, questions=45, title="</script><b>&")
    place = tmp_path / "page.html"
    began = time.process_time()
    text = render(compare(find_members("s", tmp_path), title="</script><b>&"), place)
    assert time.process_time() - began < 10  # of the processor; 5 s on an idle one
    place.write_text(text)
    assert place.stat().st_size < 8_000_000
    for width in (380, 1600):
        opened(browser, place, width)
        assert browser.get_log("browser") == []
        assert requests(browser) == [place.as_uri()]
        assert browser.title == "</script><b>& · comparison"
        # Nothing is wider than the window: what is wide scrolls by itself.
        wide = browser.execute_script(
            "return [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && "
            "e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
        )
        assert wide == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        plots = browser.execute_script(
            "return [...document.querySelectorAll('.plot')].map(p => [p.dataset.panel, "
            "p.querySelectorAll('.scatterlayer .trace, .heatmaplayer .hm').length])"
        )
        assert [panel for panel, traces in plots] == [
            "pareto",
            "forest",
            "heat",
            "needle",
            "curves",
            "parallel",
        ]
        assert all(traces for _, traces in plots), plots
    # A window that changes its size, as a phone that is turned, leaves the pictures their height.
    heights = "return [...document.querySelectorAll('.plot')].map(p => p.clientHeight)"
    before = browser.execute_script(heights)
    size = {"width": 700, "height": 500, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    time.sleep(1)
    assert browser.execute_script(heights) == before


def test_choices_switch_search_filters_and_headings_sort(browser: Any, tmp_path: Path) -> None:
    write_sweep(tmp_path, "s", 6, questions=45)
    place = tmp_path / "page.html"
    place.write_text(render(compare(find_members("s", tmp_path), title="s"), place))
    opened(browser, place)

    def pick(panel: str, number: int, value: str) -> None:
        browser.execute_script(
            "const one = document.querySelectorAll(`select[data-panel=${arguments[0]}]`)[arguments[1]];"
            "one.value = arguments[2]; one.dispatchEvent(new Event('change'));",
            panel,
            number,
            value,
        )

    # A page answers an event in its own time: each answer is waited for.
    axes = "['xaxis', 'yaxis'].map(a => document.querySelector('#pareto .plot').layout[a].title.text)"
    until(browser, axes, ["cache, MiB", "clips: accuracy, %"])
    pick("pareto", 1, "train s")
    pick("pareto", 0, "needle")
    until(browser, axes, ["training, s", "needle: accuracy, %"])

    rows = "[...document.querySelectorAll('#members tbody tr')]"
    shown = f"{rows}.filter(row => !row.hidden).map(row => row.cells[0].innerText)"
    hits = "document.getElementById('hits').textContent"
    first = browser.execute_script(f"return {shown}")
    assert len(first) == 12
    search = browser.find_element("id", "search")
    search.send_keys("ratio=2 snapkv")
    until(browser, shown, [f"ratio=2,seed={n} kv=snapkv keep=0.5" for n in range(3)])
    until(browser, hits, "3 of 12 members")
    search.clear()
    search.send_keys("nowhere")
    until(browser, shown, [])
    until(browser, f"{hits}.startsWith('no of 12 members')")
    search.clear()
    search.send_keys(" ")
    until(browser, shown, first)
    until(browser, hits, "12 members")
    heading = browser.find_element("xpath", "//section[@id='members']//th[.='clips']")
    column = browser.execute_script("return arguments[0].cellIndex", heading)
    scores = f"{rows}.map(row => +row.cells[{column}].dataset.sort)"
    rising = sorted(browser.execute_script(f"return {scores}"))
    for expected in (rising, rising[::-1]):
        heading.click()
        until(browser, scores, expected)
    assert browser.execute_script(f"return {shown}") != first
    browser.find_element("css selector", "#members button").click()
    until(browser, shown, first)
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    )
    until(browser, "document.querySelector('#pareto .plot').layout.font.color", "#e6e9ee")
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {})
    assert len(pdf["data"]) > 20_000
    assert browser.get_log("browser") == []
