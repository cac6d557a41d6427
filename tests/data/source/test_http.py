"""Shards behind a real HTTP server, read by ranges from forked workers."""

import http.server
import re
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
from torch.utils.data import DataLoader

from tests.data.media import write
from vxl.data.order.mixture import Mixture
from vxl.data.order.rows import Order
from vxl.data.order.stream import Stream
from vxl.data.source.ranges import describe_file
from vxl.data.source.source import IndexedShards
from vxl.errors import DataError
from vxl.patience import pauses_of


class Plain(http.server.SimpleHTTPRequestHandler):
    """Python's server: it ignores ranges."""

    def log_message(self, *_):
        pass


class Ranged(Plain):
    """Answers `Range: bytes=a-b`; refuses every third request, as busy servers do."""

    asked = 0

    def do_GET(self):
        found = re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not found:
            return super().do_GET()
        Ranged.asked += 1
        if Ranged.asked % 3 == 0:
            return self.send_error(503)
        start, stop = int(found[1]), int(found[2]) + 1
        with open(self.translate_path(self.path), "rb") as file:
            file.seek(start)
            data = file.read(stop - start)
        self.send_response(206)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return None


def served(folder, handler) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def ranged(tmp_path):
    write(tmp_path / "shards", 6, shards=2)
    yield from served(tmp_path / "shards", Ranged)


@pytest.fixture
def plain(tmp_path):
    write(tmp_path / "shards", 6, shards=2)
    yield from served(tmp_path / "shards", Plain)


def prepare(loaded, seed):
    return loaded.sample.key


@pytest.fixture
def quickly():
    with pauses_of(0.01):
        yield


def test_ranges_retries_and_forked_workers(ranged, tmp_path, quickly):
    source = IndexedShards(f"{ranged}/s-{{0,1}}-000.tar", cache=tmp_path / "cache")
    assert len(source) == 6
    order = Order(Mixture({"web": source}, seed=0), lambda sample: 1, seed=0, bucket=6)
    stream = Stream(order, prepare, repr, batch=2, stop_row=6)
    loader = DataLoader(stream, batch_size=None, num_workers=2)
    assert sorted(key for micro in loader for row in micro.rows for key in row) == [
        f"s{n:04d}" for n in range(6)
    ]


def test_a_server_without_ranges(plain, tmp_path):
    with pytest.raises(DataError, match=r"stream it instead:  'pipe:curl -sL http"):
        IndexedShards(f"{plain}/s-0-000.tar", cache=tmp_path / "cache")


class Silent(Ranged):
    """Takes the first requests, fsspec's HEAD and GET of two attempts, and does not answer them."""

    asked = 0

    def parse_request(self):
        Silent.asked += 1
        if Silent.asked <= 4:
            time.sleep(5)
        return super().parse_request()


def test_a_server_that_does_not_answer_is_named_and_asked_again(tmp_path, monkeypatch, quickly, caplog):
    monkeypatch.setattr("vxl.data.source.ranges.SILENT", 0.2)
    write(tmp_path / "shards", 6, shards=2)
    for url in served(tmp_path / "shards", Silent):
        shard = f"{url}/s-0-000.tar"
        assert describe_file(shard)[0] == (tmp_path / "shards" / "s-0-000.tar").stat().st_size
        assert caplog.text.count(f"{shard} can't be read (") == 2
        assert f"{shard} is read again" in caplog.text


def test_not_there(ranged, tmp_path):
    with pytest.raises(DataError, match=r"none\.tar can't be read: HTTP 404 Not Found\.$"):
        IndexedShards(f"{ranged}/none.tar", cache=tmp_path / "cache")
