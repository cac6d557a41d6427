from pathlib import Path
from typing import Any

import pytest

from tests.serve.written import chat
from vxl.generate.loaded import LoadedModel

CHAT = "/v1/chat/completions"
QUESTION = "What is shown in the video?"


def test_an_answer_is_that_of_ask(client: Any, city: Any, loaded: LoadedModel, clips: Path) -> None:
    got = client.post(CHAT, json=chat(city, QUESTION))
    assert got.status_code == 200, got.text
    body = got.json()
    context = loaded.watch(clips / "city.mp4")
    answer = loaded.ask(context, QUESTION, max_new_tokens=6)
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": answer.text},
            "logprobs": None,
            "finish_reason": "stop" if answer.stopped else "length",
        }
    ]
    assert (body["object"], body["model"]) == ("chat.completion", "first")
    tokens = context.tokens + len(loaded.prompt.tail(QUESTION))
    assert body["usage"] == {
        "prompt_tokens": tokens,
        "completion_tokens": len(answer.tokens),
        "total_tokens": tokens + len(answer.tokens),
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def test_a_second_question_finds_the_video_watched(client: Any, city: Any, loaded: LoadedModel) -> None:
    client.post(CHAT, json=chat(city, QUESTION))
    second = client.post(CHAT, json=chat("Where is it?", city, max_tokens=None, max_completion_tokens=3))
    usage = second.json()["usage"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"] - len(
        loaded.prompt.tail("Where is it?")
    )
    assert usage["completion_tokens"] <= 3
    with_other_frames = chat(city, QUESTION, media_io_kwargs={"video": {"num_frames": 4}})
    got = client.post(CHAT, json=with_other_frames).json()["usage"]
    assert got["prompt_tokens_details"]["cached_tokens"] == 0
    assert got["prompt_tokens"] < usage["prompt_tokens"]


def test_models_and_health(client: Any) -> None:
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    assert [(one["id"], one["object"], one["owned_by"]) for one in listed["data"]] == [
        ("first", "model", "vxl")
    ]
    assert client.get("/v1/models/first").json() == listed["data"][0]
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "param", "said"),
    [
        ({"model": "other"}, 404, "model", "'other' is not served here"),
        ({"messages": []}, 400, "messages", "at least one message"),
        ({"temperature": "hot"}, 400, "temperature", "a number from 0 to 2"),
        ({"tools": [{"type": "function"}]}, 400, "tools", "not supported"),
    ],
)
def test_mistakes_name_their_field(client: Any, change: Any, status: int, param: str, said: str) -> None:
    got = client.post(CHAT, json=chat("Hello?", **change))
    error = got.json()["error"]
    assert (got.status_code, error["param"]) == (status, param)
    assert said in error["message"]


def test_other_addresses_and_methods_are_errors_of_the_same_form(client: Any) -> None:
    for got, status in ((client.get("/v2"), 404), (client.get(CHAT), 405)):
        assert got.status_code == status
        assert got.json()["error"]["type"] == "invalid_request_error"


def test_only_json_is_read(client: Any) -> None:
    assert client.post(CHAT, content="{}", headers={"Content-Type": "text/plain"}).status_code == 415
    got = client.post(CHAT, content="{", headers={"Content-Type": "application/json"})
    assert got.status_code == 400
    assert "not JSON" in got.json()["error"]["message"]


def test_a_key_is_asked_for(serve: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    client = serve(key_file=tmp_path / "key")
    for headers in ({}, {"Authorization": "Bearer other"}):
        for got in (client.get("/v1/models", headers=headers), client.post(CHAT, json={}, headers=headers)):
            assert got.status_code == 401
            assert got.json()["error"]["type"] == "authentication_error"
    assert client.get("/v1/models", headers={"Authorization": "Bearer secret"}).status_code == 200
    assert client.get("/health").status_code == 200


def test_files_are_read_below_allowed_folders_alone(serve: Any, clips: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.mp4"
    outside.write_bytes((clips / "city.mp4").read_bytes())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.mp4").symlink_to(outside)
    client = serve(files=(tmp_path / "in",))
    for url in (
        outside.as_uri(),
        f"file://{tmp_path}/in/../outside.mp4",
        f"file://{tmp_path}/in/link.mp4",
        f"file://{tmp_path}/in/%2e%2e/outside.mp4",
        "file:///etc/passwd",
        f"file://{tmp_path}/in/absent.mp4",
        f"file://{tmp_path}/in",
        f"file://host{outside}",
        "file:relative.mp4",
        "file:///a%00b",
    ):
        got = client.post(CHAT, json=chat({"type": "video_url", "video_url": {"url": url}}, "What?"))
        assert got.status_code == 400, url
        assert got.json()["error"]["param"] == "messages[0].content[0].video_url.url"
    refused = serve(files=()).post(
        CHAT, json=chat({"type": "video_url", "video_url": {"url": outside.as_uri()}}, "?")
    )
    assert "not allowed here" in refused.json()["error"]["message"]


def test_pages_of_other_servers_and_made_up_names_are_refused(client: Any, serve: Any) -> None:
    for headers, status in (
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "127.0.0.1:8000", "Origin": "http://evil.org"}, 403),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:9000"}, 403),
        ({"Host": "127.0.0.1:8000", "Origin": "null"}, 403),
        ({"Host": "evil.org"}, 403),
        ({"Host": "evil.org", "Origin": "http://evil.org"}, 403),
        ({"Host": ""}, 403),
    ):
        assert client.get("/v1/models", headers=headers).status_code == status, headers
    assert serve(hosts=("gpu7",)).get("/v1/models", headers={"Host": "GPU7:80"}).status_code == 200


def test_what_it_counts(client: Any, city: Any) -> None:
    for question in ("Who?", "Where?"):
        client.post(CHAT, json=chat(city, question))
    client.post(CHAT, json=chat(city, "?", tools=[1]))
    text = client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['vxl_requests_total{status="200"}'] == "2.0"
    assert values['vxl_requests_total{status="400"}'] == "1.0"
    assert values['vxl_contexts_found_total{where="none"}'] == "1.0"
    assert values['vxl_contexts_found_total{where="memory"}'] == "1.0"
    assert float(values['vxl_tokens_total{kind="cached"}']) > 50
    assert float(values["vxl_contexts_memory_bytes"]) > 1000
    assert values["vxl_requests_admitted"] == values["vxl_queue_waiting"] == "0.0"
    assert values["vxl_first_token_seconds_count"] == "2.0"
    assert values["vxl_watch_seconds_count"] == "1.0"
    assert "process_resident_memory_bytes" in values
