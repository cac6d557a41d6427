"""Real clients over real sockets: openai's own, several at once, and one that goes."""

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.serve.written import chat
from vxl.generate.loaded import LoadedModel

openai = pytest.importorskip("openai")
QUESTION = "What is shown in the video?"


def openai_client(address: str, **settings: Any) -> Any:
    return openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0, **settings)


def test_openais_own_client(listening: Callable[..., Any], city: Any) -> None:
    _, address = listening()
    client = openai_client(address)
    assert [model.id for model in client.models.list()] == ["first"]
    asked = chat(city, QUESTION, extra_body={"media_io_kwargs": {"video": {"num_frames": 4}}})
    whole = client.chat.completions.create(**asked)
    assert whole.usage.prompt_tokens_details.cached_tokens == 0
    pieces = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    said = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert said.strip() == whole.choices[0].message.content
    assert pieces[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert pieces[-1].usage.prompt_tokens_details.cached_tokens > 0
    with pytest.raises(openai.BadRequestError, match="temperature") as wrong:
        client.chat.completions.create(**asked | {"temperature": 9})
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**asked | {"model": "other"})


def test_wrong_keys_and_a_full_queue(listening: Callable[..., Any], city: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    server, address = listening(key_file=tmp_path / "key", queue=1)
    with pytest.raises(openai.AuthenticationError):
        openai_client(address).models.list()
    client = openai.OpenAI(base_url=f"{address}/v1", api_key="secret", max_retries=0)
    server.admitted += 1
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**chat(city, QUESTION))
    server.admitted -= 1
    assert client.chat.completions.create(**chat(city, QUESTION)).choices


class Held:
    """A server whose model waits for `go` before it answers, and notes what it answered together."""

    def __init__(self, server: Any) -> None:
        self.go, self.batches, self.at_work = threading.Event(), [], 0
        answer = server.worker.answer

        def held(jobs: Any) -> None:
            self.at_work += 1
            assert self.go.wait(60)
            self.batches.append([job.question for job in jobs])
            answer(jobs)

        server.worker.answer = held


def until(condition: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 60
        time.sleep(0.01)


def test_questions_on_one_video_are_answered_together(listening: Callable[..., Any], city: Any) -> None:
    server, address = listening(batch=3)
    client, held = openai_client(address), Held(server)
    questions = ["Who?", "Where is it?", "What is shown in the video?", "When?"]

    def ask(question: str, **more: Any) -> str:
        return client.chat.completions.create(**chat(city, question, **more)).choices[0].message.content

    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(ask, "first")
        until(lambda: held.at_work == 1)
        answers = []
        for number, question in enumerate(questions):
            answers.append(pool.submit(ask, question))
            until(lambda number=number: len(server.worker) == number + 1)
        other = pool.submit(ask, "other", temperature=1)
        until(lambda: len(server.worker) == 5)
        held.go.set()
        together = [answer.result() for answer in answers]
        first.result(), other.result()
    assert held.batches == [["first"], questions[:3], ["When?"], ["other"]]
    assert together == [ask(question) for question in questions]


def test_a_question_that_is_too_long_costs_the_others_nothing(
    listening: Callable[..., Any], city: Any, loaded: LoadedModel
) -> None:
    server, address = listening()
    client, held = openai_client(address), Held(server)

    def ask(question: str) -> str:
        return client.chat.completions.create(**chat(city, question)).choices[0].message.content

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(ask, "first")
        until(lambda: held.at_work == 1)
        short, long = pool.submit(ask, "Who?"), pool.submit(ask, "word " * (loaded.most or 0))
        until(lambda: len(server.worker) == 2)
        held.go.set()
        first.result()
        with pytest.raises(openai.BadRequestError, match="the language model was trained for"):
            long.result()
        assert short.result() == ask("Who?")
    assert len(held.batches[1]) == 2


def test_a_body_that_does_not_come_is_not_waited_for(listening: Callable[..., Any]) -> None:
    server, address = listening(fetch_seconds=1)
    host, _, port = address.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        lines = ["POST /v1/chat/completions HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
        sock.sendall("\r\n".join([*lines, "Content-Length: 100", "", "{"]).encode())
        assert sock.recv(1000).startswith(b"HTTP/1.1 408")
    until(lambda: server.admitted == 0)


def test_what_nobody_waits_for_is_not_answered(listening: Callable[..., Any], city: Any) -> None:
    server, address = listening()
    held = Held(server)
    for stream in (False, True):
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(f"{address}/v1/chat/completions", json=chat(city, "gone", stream=stream), timeout=0.5)
    until(lambda: server.admitted == 0)
    held.go.set()
    client = openai_client(address)
    assert client.chat.completions.create(**chat(city, "here")).choices
    assert held.batches in ([["here"]], [["gone"], ["here"]])  # the first one may be at the model already


def test_an_answer_ends_when_its_client_goes(listening: Callable[..., Any], city: Any) -> None:
    server, address = listening()
    body = chat(city, QUESTION, stream=True, max_tokens=4096)
    with httpx2.stream("POST", f"{address}/v1/chat/completions", json=body, timeout=60) as response:
        next(response.iter_bytes())
    until(lambda: server.admitted == 0)
    began = time.monotonic()
    assert openai_client(address).chat.completions.create(**chat(city, "Who?")).choices
    assert time.monotonic() - began < 20  # 4096 tokens take longer


def test_a_defect_is_500_and_no_more(listening: Callable[..., Any], city: Any, caplog: Any) -> None:
    server, address = listening()
    answer = server.worker.answer
    server.worker.answer = lambda jobs: 1 / 0
    client = openai_client(address)
    with pytest.raises(openai.InternalServerError, match="its log says where"):
        client.chat.completions.create(**chat(city, QUESTION))
    assert "ZeroDivisionError" in caplog.text
    server.worker.answer = answer
    assert client.chat.completions.create(**chat(city, QUESTION)).choices
