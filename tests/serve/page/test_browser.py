"""The page in a real browser: a video is chosen, watched and asked about, at two widths."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import chromium, requests, show_at, until
from vxl.evaluate.work.variants import variant
from vxl.generate.loaded import LoadedModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.mark.parametrize("width", [380, 1280])
def test_a_video_is_watched_and_asked_about(
    browser: Any, listening: Callable[..., Any], loaded: LoadedModel, clips: Path, width: int
) -> None:
    model = variant(loaded, ["kv=snapkv", "kv.keep=0.5", "kv.of=visual"])
    server, address = listening(model, examples=clips)

    show_at(browser, width)
    browser.get(address + "/")
    until(browser, "document.body.dataset.ready")
    browser.find_element("css selector", "[data-url='vxl:example/city.mp4']").click()
    until(browser, "document.body.dataset.watched && document.body.dataset.pictured")
    assert browser.execute_script("return document.getElementById('decoded').value") > 0
    assert "MiB of cache" in browser.find_element("id", "status").text
    for question in ("What is <b>shown</b>?", "Where is it?"):
        browser.find_element("id", "question").send_keys(question + "\n")
    until(browser, "document.querySelectorAll('#answers li:not([aria-busy]) .cost').length == 2")
    asked = [row.text for row in browser.find_elements("css selector", ".asked")]
    assert sorted(asked) == ["What is <b>shown</b>?", "Where is it?"]
    bars = "return [...document.querySelectorAll('#{} div')].map(bar => parseFloat(bar.style.height))"
    kept, attended = (browser.execute_script(bars.format(name)) for name in ("kept", "attended"))
    assert len(kept) == len(attended) > 1
    assert sum(kept) / len(kept) == pytest.approx(50, abs=8)
    assert max(attended) == 100
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    wide = (
        "return [...document.querySelectorAll('body *')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1)"
    )
    assert browser.execute_script(wide) == []

    # Another share: the policy acts at the question, so nothing is watched again.
    watched = server.metrics.text().count(b"vxl_watch_seconds_count 1.0")
    browser.execute_script(
        "const k = document.getElementById('keep'); k.value = 0.25;"
        "k.dispatchEvent(new Event('input')); k.dispatchEvent(new Event('change'));"
    )
    browser.find_element("id", "question").send_keys("And now?\n")
    until(browser, "document.querySelectorAll('#answers li:not([aria-busy]) .cost').length == 3")
    kept = browser.execute_script(bars.format("kept"))
    assert sum(kept) / len(kept) == pytest.approx(25, abs=8)
    assert server.metrics.text().count(b"vxl_watch_seconds_count 1.0") == watched == 1

    browser.find_element("id", "file").send_keys(str(clips / "bunny.mp4"))
    until(browser, "(document.body.dataset.watched || '').startsWith('vxl:upload/')")
    assert browser.find_elements("css selector", "#answers li") == []
    said = [entry for entry in browser.get_log("browser") if entry["level"] != "DEBUG"]
    assert said == []
    assert all(url.startswith((address, "blob:")) for url in requests(browser))
