import base64
import hashlib
import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.serve.written import chat
from vxl.generate.loaded import Clip, LoadedModel
from vxl.serve.asked.request import FramesWish, Visual
from vxl.serve.media.sent import ChosenFrames, read_data_url
from vxl.serve.request_error import RequestError

CHAT = "/v1/chat/completions"
QUESTION = "What is shown in the video?"


def video(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}} | more


def picture(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(file, "JPEG")
    return file.getvalue()


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def answer(client: Any, *parts: Any, **fields: Any) -> dict[str, Any]:
    got = client.post(CHAT, json=chat(*parts, **fields))
    assert got.status_code == 200, got.text
    return got.json()


def refused(client: Any, *parts: Any, **fields: Any) -> tuple[int, str]:
    got = client.post(CHAT, json=chat(*parts, **fields))
    error = got.json()["error"]
    assert error["param"], error
    return got.status_code, error["message"]


def test_a_video_that_is_sent_is_the_same_as_its_file(client: Any, city: Any, clips: Path) -> None:
    sent = video(f"data:video/mp4;base64,{text((clips / 'city.mp4').read_bytes())}")
    first = answer(client, city, QUESTION)
    again = answer(client, sent, QUESTION)
    assert again["choices"] == first["choices"]
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0  # by its content


def test_an_image_is_watched_too(client: Any, loaded: LoadedModel) -> None:
    sent = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{text(picture('red'))}"}}
    got = answer(client, sent, QUESTION)["choices"][0]["message"]["content"]
    context = loaded.watch(Clip(picture("red"), "image"))
    assert got == loaded.ask(context, QUESTION, max_new_tokens=6).text


FRAMES = [picture(colour) for colour in ("red", "green", "blue", "white", "black")]
SENT = "data:video/jpeg;base64," + ",".join(map(text, FRAMES))


@pytest.mark.parametrize(
    ("wish", "seconds"),
    [
        (FramesWish(), (0.0, 1.0, 2.0, 3.0, 4.0)),
        (FramesWish(fps=2.0), (0.0, 0.5, 1.0, 1.5, 2.0)),
        (FramesWish(duration=10.0), (0.0, 2.0, 4.0, 6.0, 8.0)),
        (FramesWish(fps=30.0, indices=(0, 30, 60, 75, 300)), (0.0, 1.0, 2.0, 2.5, 10.0)),
        (FramesWish(indices=(0, 1, 2, 3, 90), total=100, duration=10.0), (0.0, 0.1, 0.2, 0.3, 9.0)),
    ],
)
def test_frames_that_are_sent_have_their_times(wish: FramesWish, seconds: tuple[float, ...]) -> None:
    frames, _ = read_data_url(Visual("video", SENT, "here"), wish, 10**6)
    assert isinstance(frames, ChosenFrames)
    assert frames.shown_at == seconds
    assert (frames.info.frames, frames.info.width, frames.info.height) == (5, 64, 48)


def test_frames_that_are_sent_are_all_shown_unless_they_are_chosen_among(client: Any) -> None:
    def prompt_tokens(**settings: Any) -> int:
        got = answer(client, video(SENT), QUESTION, media_io_kwargs={"video": settings})
        return got["usage"]["prompt_tokens"]

    every = prompt_tokens(num_frames=1)
    assert prompt_tokens(num_frames=1, do_sample_frames=True) < every
    assert prompt_tokens(fps=7) == every


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("data:video/mp4;base64,!!", "not base64"),
        ("data:video/mp4;base64,", "holds nothing"),
        ("data:video/mp4,abc", "expected: data:video"),
        ("data:image/png;base64,AAAA", "expected: data:video"),
        ("data:video/mp4;base64,AAAA", "can't be read as a video"),
        ("data:video/jpeg;base64,AAAA", "can't be read as an image"),
        (f"data:video/jpeg;base64,{text(FRAMES[0])},", "holds nothing"),
        ("ftp://host/a.mp4", "expected: file:///PATH"),
        ("", "expected: file:///PATH"),
        ("http://host/a.mp4", "not allowed here"),
        ("HTTPS://host/a.mp4", "not allowed here"),
    ],
)
def test_what_cant_be_had_is_refused(client: Any, url: str, said: str) -> None:
    status, message = refused(client, video(url), QUESTION)
    assert status == 400
    assert said in message


def test_sizes_are_limited(serve: Any, clips: Path, city: Any) -> None:
    client = serve(max_mib=1, max_frames=4, max_seconds=2)
    large = text(bytes(2**20 + 10))
    assert refused(client, video(f"data:video/mp4;base64,{large}"), QUESTION)[0] == 413
    assert client.post(CHAT, json=chat("x" * 4 * 2**20)).status_code == 413
    assert "5 frames; allowed: 4" in refused(client, video(SENT), QUESTION)[1]
    assert "s long; allowed: 2 s" in refused(client, city, QUESTION)[1]
    assert "at most 16" in refused(client, *[city] * 17, QUESTION)[1]


def test_more_numbers_than_frames_are_refused() -> None:
    for wish in (FramesWish(indices=(1, 2)), FramesWish(indices=(1, 2, 3, 4, 5))):
        with pytest.raises(RequestError):
            read_data_url(Visual("video", SENT, "here"), wish, 10**6)


@pytest.fixture
def web(clips: Path) -> Iterator[tuple[str, list[str]]]:
    """A server of clips on this machine, and what it was asked for."""
    asked: list[str] = []

    class Web(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            kind, _, rest = self.path.removeprefix("/").partition("/")
            if kind == "to":
                self.send_response(302)
                self.send_header("Location", rest)
                self.end_headers()
                return
            file = clips / rest
            self.send_response(200 if file.is_file() else 404)
            self.end_headers()
            if file.is_file():
                self.wfile.write(file.read_bytes() * (1000 if kind == "long" else 1))

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def test_allowed_hosts_are_fetched_from(serve: Any, city: Any, web: tuple[str, list[str]]) -> None:
    place, asked = web
    client = serve(domains=(place,))
    first = answer(client, city, QUESTION)
    fetched = answer(client, video(f"http://{place}/clip/city.mp4"), QUESTION)
    moved = answer(client, video(f"http://{place}/to//clip/city.mp4"), QUESTION)
    assert fetched["choices"] == moved["choices"] == first["choices"]
    assert moved["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    named = [answer(client, video(f"http://{place}/clip/bunny.mp4", uuid="bunny"), QUESTION) for _ in "12"]
    assert named[1]["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert asked.count("/clip/bunny.mp4") == 1  # by the client's own name


def test_a_name_of_the_client_names_nothing_else(serve: Any, web: tuple[str, list[str]]) -> None:
    client = serve(domains=(web[0],))
    answer(client, video(f"http://{web[0]}/clip/city.mp4", uuid="x"), QUESTION)
    got = answer(client, video(f"http://{web[0]}/clip/bunny.mp4", uuid="x"), QUESTION)
    assert got["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_other_hosts_are_never_asked(serve: Any, web: tuple[str, list[str]]) -> None:
    place, asked = web
    port = place.partition(":")[2]
    for domains in (("127.0.0.1",), ("localhost",), ("*.0.0.1",), (f"127.0.0.1:{int(port) ^ 1}",)):
        status, message = refused(serve(domains=domains), video(f"http://{place}/clip/city.mp4"), QUESTION)
        assert status == 400
        assert "none of the hosts" in message
    assert asked == []
    client = serve(domains=(place, "a.org"), max_mib=1)
    for url in (
        f"http://{place}/to/http://localhost:{port}/clip/city.mp4",
        f"http://{place}/to/file:///etc/passwd",
        f"http://a.org@localhost:{port}/clip/city.mp4",
        f"http://{place}@localhost:{port}/clip/city.mp4",
        f"http://localhost:{port}#@{place}/clip/city.mp4",
        f"http://{place}:99999/",
        "http:///clip",
    ):
        assert refused(client, video(url), QUESTION)[0] == 400, url
    assert not [path for path in asked if not path.startswith("/to/")]


def test_what_is_fetched_has_limits(serve: Any, web: tuple[str, list[str]]) -> None:
    client = serve(domains=(web[0],), max_mib=1)
    assert refused(client, video(f"http://{web[0]}/long/city.mp4"), QUESTION)[0] == 413
    assert "answers with 404" in refused(client, video(f"http://{web[0]}/clip/absent"), QUESTION)[1]
    around = video(f"http://{web[0]}/to//to//to//to//to//clip/city.mp4")
    assert "more than 3 redirects" in refused(client, around, QUESTION)[1]


def test_the_content_of_a_file_is_hashed_once(tmp_path: Path) -> None:
    from vxl.serve.media.files import Files

    file = tmp_path / "a"
    file.write_bytes(b"one")
    files = Files((tmp_path,))
    assert files.content(file) == hashlib.sha256(b"one").hexdigest()
    assert files.content(file) == hashlib.sha256(b"one").hexdigest()
    assert len(files._known) == 1
    file.write_bytes(b"other")
    assert files.content(file) == hashlib.sha256(b"other").hexdigest()
