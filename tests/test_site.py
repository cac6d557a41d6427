"""The documentation as a site, built strictly without a network, and its notebook, run from cell to cell."""

import functools
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.scripts import ROOT, with_clips
from tests.browser import chromium, requests, show_at
from vxl.option.files import option_files

if not os.environ.get("VXL_REQUIRE_DOCS"):
    for package in ("mkdocs", "nbclient", "pandas"):
        pytest.importorskip(package, reason="make docs installs what these tests need")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NOTEBOOK = ROOT / "examples" / "first.ipynb"
OFFLINE = """
import socket
def refuse(*words, **more):
    raise OSError("the site is built without a network")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli()
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, timeout=900, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_nothing_comes_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        if (
            page == site / "experiments" / "060_ratios" / "page.html"
        ):  # vxl compare's own, with tests of its own
            continue
        fetched = re.findall(
            r"<(?:script|img|iframe|source)[^>]+src=\"?([^\"> ]+)|<link[^>]+href=\"?([^\"> ]+)",
            page.read_text(),
        )
        assert fetched
        assert [url for pair in fetched for url in pair if re.match("(https?:)?//", url)] == [], page
    assert not re.findall(r"url\(\"?https?:", "".join(file.read_text() for file in site.rglob("*.css")))


def test_every_option_and_its_keys_are_in_the_reference(site: Path) -> None:
    for group in ("compressor", "kv", "data", "strategy"):
        page = (site / "docs" / "reference" / "options" / f"{group}.html").read_text()
        for name in option_files(group):
            assert f'id="{group}-{name}"' in page
    assert "Patches of the compressor's grid in / visual tokens into the language model." in (
        site / "docs" / "reference" / "options" / "compressor.html"
    ).read_text().replace("&#39;", "'")
    commands = (site / "docs" / "reference" / "commands.html").read_text()
    assert all(f'id="vxl-{name}"' in commands for name in ("ask", "serve", "shards-lint", "export"))
    python = (site / "docs" / "reference" / "python.html").read_text()
    assert all(f'id="{name}"' in python for name in ("vxl.checkpoint.load.load", "vxl.kv.policy.Policy"))


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("width", [380, 1600])
def test_pages_fit_and_ask_nobody_else(address: str, width: int) -> None:
    with chromium() as browser:
        show_at(browser, width, 900)
        for page in (
            "index.html",
            "docs/tutorials/own_policy.html",
            "examples/first.html",
            "docs/reference/options/kv.html",
            "docs/reference/python.html",
            "experiments/005_watch_once/index.html",
        ):
            browser.get(f"{address}/{page}")
            assert browser.execute_script("return document.querySelector('h1').innerText"), page
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width, page
            broken = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
            assert browser.execute_script(broken) == [], page
        assert browser.get_log("browser") == []
        assert {url for url in requests(browser) if not url.startswith((address, "chrome:"))} == set()


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    book = nbformat.read(NOTEBOOK, as_version=4)
    place = {"metadata": {"path": str(with_clips(tmp_path))}}
    NotebookClient(book, timeout=600, kernel_name="python3", resources=place).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    shown = " ".join(str(output.get("data", {}).get("text/plain", "")) for output in outputs)
    assert all(word in shown for word in ("ratio-4", "ratio-16", "finished", "32 visual tokens"))
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert json.loads((tmp_path / "runs" / "ratio-4" / "RESULT.json").read_text())["steps"] == 24


def test_what_is_kept_of_its_outputs_is_small() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < 60_000
    assert str(ROOT) not in text
    assert [cell["source"] for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
