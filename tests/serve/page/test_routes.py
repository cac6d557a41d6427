import re
from pathlib import Path
from typing import Any

import pytest

from tests.serve.written import chat
from vxl.serve.page.routes import HERE

CHAT = "/v1/chat/completions"


@pytest.fixture
def client(serve: Any, clips: Path) -> Any:
    return serve(examples=clips, max_mib=1, upload_mib=1)


def shown(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def test_the_page_names_nothing_elsewhere_and_runs_nothing_inline(client: Any) -> None:
    for path in ("/", "/page.css", "/page.js"):
        got = client.get(path)
        assert got.status_code == 200
        assert "default-src 'none'" in got.headers["content-security-policy"]
        assert not re.findall(r"https?://|//[a-z]+\.", re.sub(r"^//.*|\s// .*", "", got.text, flags=re.M))
    html = client.get("/").text
    assert not re.findall(r"<script>|\son\w+=|style=|<style", html)
    assert "innerHTML" not in client.get("/page.js").text
    ids = set(re.findall(r'id="([\w-]+)"', html))
    assert set(re.findall(r'\$\("([\w-]+)"\)', client.get("/page.js").text)) <= ids
    for label in re.findall(r'<label for="(\w+)"', html):
        assert label in ids


def test_colours_are_told_apart() -> None:
    """WCAG's contrast of text, 4.5 at least, in both schemes."""

    def light(colour: str) -> float:
        parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    schemes = re.findall(r":root \{(.*?)\}", (HERE / "page.css").read_text(), re.S)
    assert len(schemes) == 2
    for scheme in schemes:
        colour = dict(re.findall(r"--([\w-]+): (#\w{6})", scheme))
        pairs = [(ink, ground) for ink in ("ink", "faint", "wrong", "accent") for ground in ("paper", "card")]
        for one, other in [*pairs, ("on-accent", "accent")]:
            high, low = sorted((light(colour[one]), light(colour[other])), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (one, other)


def test_examples_are_offered_and_can_be_asked_about(client: Any, clips: Path) -> None:
    about = client.get("/page/about").json()
    assert about["examples"] == [f"vxl:example/{path.name}" for path in sorted(clips.glob("*.mp4"))]
    assert (about["model"], about["policy"], about["keep"]) == ("first", "full", None)
    url = "vxl:example/city.mp4"
    facts = client.get("/page/facts", params={"url": url}).json()
    assert (facts["name"], facts["kind"]) == ("city.mp4", "video")
    assert facts["seconds"] > 1
    strip = client.get("/page/strip", params={"url": url})
    assert strip.headers["content-type"] == "image/jpeg"
    assert client.post(CHAT, json=chat(shown(url), "?")).status_code == 200


def test_what_is_dropped_can_be_asked_about(client: Any, clips: Path) -> None:
    data = (clips / "city.mp4").read_bytes()
    got = client.post("/page/videos", params={"name": "<b>.mp4"}, content=data)
    assert got.status_code == 200, got.text
    assert got.json()["name"] == "<b>.mp4"
    answer = client.post(CHAT, json=chat(shown(got.json()["url"]), "?"))
    assert answer.status_code == 200
    same = client.post(CHAT, json=chat(shown("vxl:example/city.mp4"), "?"))
    assert same.json()["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


def test_what_is_dropped_is_limited_and_checked(client: Any, clips: Path) -> None:
    def dropped(name: str, data: bytes) -> Any:
        return client.post("/page/videos", params={"name": name}, content=data)

    assert dropped("a.mp4", bytes(2**20 + 1)).status_code == 413
    assert dropped("a.exe", b"x").status_code == 400
    bad = dropped("a.mp4", b"no video")
    assert bad.status_code == 400
    assert "can't be read as a video" in bad.json()["error"]["message"]
    videos = client.app.state.server.opener.videos
    assert list(Path(videos._folder.name).iterdir()) == []
    first = dropped("a.mp4", (clips / "city.mp4").read_bytes()).json()["url"]
    videos.kept = (clips / "city.mp4").stat().st_size + 1
    second = dropped("b.mp4", (clips / "city.mp4").read_bytes() + b"\0").json()["url"]
    assert client.get("/page/facts", params={"url": first}).status_code == 400
    assert client.get("/page/facts", params={"url": second}).status_code == 200


@pytest.mark.parametrize(
    "url", ["vxl:example/../secret.mp4", "vxl:upload/../a", "vxl:upload/", "vxl:", "a", ""]
)
def test_only_what_is_offered_is_there(client: Any, url: str) -> None:
    assert client.get("/page/strip", params={"url": url}).status_code == 400
    assert client.post(CHAT, json=chat(shown(url), "?")).status_code == 400


def test_a_key_is_asked_for_everything_but_the_pages_files(serve: Any, tmp_path: Path, clips: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    client = serve(key_file=tmp_path / "key", examples=clips)
    assert [client.get(path).status_code for path in ("/", "/page.js", "/page.css")] == [200] * 3
    for path in ("/page/about", "/page/facts?url=vxl:example/city.mp4", "/page/strip", "/metrics"):
        assert client.get(path).status_code == 401
    assert client.post("/page/videos?name=a.mp4", content=b"x").status_code == 401


def test_there_may_be_no_page(serve: Any) -> None:
    client = serve(page=False)
    assert [client.get(path).status_code for path in ("/", "/page/about")] == [404] * 2
