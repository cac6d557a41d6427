"""A Chromium without a window, for tests that look at pages; they are skipped where there is none."""

import json
import os
import shutil
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = """
--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync
"""
if not (CHROMIUM and DRIVER) and not os.environ.get("VXL_REQUIRE_BROWSER"):
    pytest.skip("needs chromium and chromium-driver (Debian's packages)", allow_module_level=True)
webdriver: Any = pytest.importorskip("selenium.webdriver", reason="needs selenium")


@contextmanager
def chromium() -> Generator[Any]:
    """A browser; it notes what pages say on the console and ask the network for."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def requests(browser: Any) -> list[str]:
    """Every address that the page asked for since the last call."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    return [url for url in sent if not url.startswith("data:")]


def show_at(browser: Any, width: int, height: int = 1000) -> None:
    """Gives the page a width."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def until(browser: Any, expression: str, value: Any = None) -> None:
    """Waits until an expression of the page has a value; until it holds, where no value is given."""
    began = time.monotonic()
    while True:
        got = browser.execute_script(f"return {expression}")
        if got == value if value is not None else got:
            return
        assert time.monotonic() - began < 120, (expression, got, value, browser.get_log("browser"))
        time.sleep(0.05)
