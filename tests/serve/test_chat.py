"""Answers in all their forms: streamed, drawn, stopped, begun, of several turns."""

import json
from typing import Any

import pytest

from tests.serve.written import chat
from vxl.generate import Sampling
from vxl.generate.loaded import LoadedModel

CHAT = "/v1/chat/completions"
QUESTION = "What is shown in the video?"


def answer(client: Any, *parts: Any, **fields: Any) -> dict[str, Any]:
    got = client.post(CHAT, json=chat(*parts, **fields))
    assert got.status_code == 200, got.text
    return got.json()


def texts(body: dict[str, Any]) -> list[str]:
    return [choice["message"]["content"] for choice in body["choices"]]


def streamed(client: Any, *parts: Any, **fields: Any) -> list[dict[str, Any]]:
    got = client.post(CHAT, json=chat(*parts, stream=True, **fields))
    assert got.headers["content-type"].startswith("text/event-stream"), got.text
    events = got.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]


def test_a_stream_is_the_answer_in_pieces(client: Any, city: Any) -> None:
    whole = answer(client, city, QUESTION, max_tokens=12)
    chunks = streamed(client, city, QUESTION, max_tokens=12, stream_options={"include_usage": True})
    *pieces, last, usage = chunks
    assert pieces[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    said = "".join(piece["choices"][0]["delta"]["content"] for piece in pieces)
    assert said.strip() == texts(whole)[0]
    assert len(pieces) > 2
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}]
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert "usage" not in "".join(map(str, streamed(client, city, QUESTION)))


def test_a_mistake_before_a_stream_is_a_status(client: Any) -> None:
    missing = {"type": "video_url", "video_url": {"url": "file:///no/such.mp4"}}
    assert client.post(CHAT, json=chat(missing, "?", stream=True)).status_code == 400


def test_several_draws_have_seeds_of_their_own(
    client: Any, city: Any, loaded: LoadedModel, clips: Any
) -> None:
    settings = {"temperature": 1.5, "top_p": 0.9, "max_tokens": 8}
    drawn = texts(answer(client, city, QUESTION, n=3, seed=7, **settings))
    context = loaded.watch(clips / "city.mp4")
    for row, text in enumerate(drawn):
        own = loaded.ask(context, QUESTION, max_new_tokens=8, sampling=Sampling(1.5, 0.9, 7 + row))
        assert text == own.text
    assert len(set(drawn)) > 1
    chunks = streamed(client, city, QUESTION, n=3, seed=7, **settings)
    for row, text in enumerate(drawn):
        own = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == row]
        assert "".join(choice["delta"].get("content", "") for choice in own).strip() == text
        assert own[-1]["finish_reason"]


def test_draws_without_a_seed_differ(client: Any, city: Any) -> None:
    drawn = {texts(answer(client, city, QUESTION, temperature=2, max_tokens=12))[0] for _ in range(4)}
    assert len(drawn) > 1


def test_a_text_ends_before_a_stop_string(client: Any, city: Any) -> None:
    whole = texts(answer(client, city, QUESTION, max_tokens=16))[0]
    assert len(whole) > 4
    got = answer(client, city, QUESTION, max_tokens=16, stop=whole[2:4])
    assert texts(got)[0] == whole[: whole.index(whole[2:4])].strip()
    assert got["choices"][0]["finish_reason"] == "stop"


def test_an_answer_goes_on_where_it_was_begun(client: Any, city: Any, loaded: LoadedModel) -> None:
    asked = chat(city, QUESTION)["messages"]
    whole = texts(answer(client, messages=asked, max_tokens=10))[0]
    half = whole[: len(whole) // 2]
    begun = [*asked, {"role": "assistant", "content": half}]
    rest = answer(
        client, messages=begun, max_tokens=10, add_generation_prompt=False, continue_final_message=True
    )
    said = rest["usage"]["prompt_tokens"] - answer(client, messages=asked)["usage"]["prompt_tokens"]
    assert said == len(loaded.tokenizer.encode(half, add_special_tokens=False))
    assert rest["usage"]["prompt_tokens_details"]["cached_tokens"] > 0


def test_what_was_said_before_is_heard(client: Any, city: Any) -> None:
    asked = chat(city, "Who?")["messages"]

    def after(reply: str) -> dict[str, Any]:
        turns = [*asked, {"role": "assistant", "content": reply}, {"role": "user", "content": QUESTION}]
        return answer(client, messages=turns, max_tokens=10)

    one, two = after("A shark."), after("Two dragons in the sky, far away.")
    assert texts(one) != texts(two)
    assert two["usage"]["prompt_tokens_details"]["cached_tokens"] > 0  # the video is that of both


def test_a_system_turn_takes_the_place_of_the_models_own(client: Any, city: Any) -> None:
    own = answer(client, city, QUESTION)
    asked = chat(city, QUESTION)["messages"]
    usual = {"role": "system", "content": "You are a helpful assistant."}
    same = answer(client, messages=[usual, *asked])
    assert same["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert texts(same) == texts(own)
    other = answer(client, messages=[{"role": "developer", "content": "Speak like a pirate."}, *asked])
    assert other["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_without_anything_to_see(client: Any, loaded: LoadedModel) -> None:
    got = answer(client, "Hello?")
    assert texts(got)[0] == loaded.ask(loaded.watch(), "Hello?", max_new_tokens=6).text


def test_what_is_too_long_is_the_clients(client: Any, loaded: LoadedModel, serve: Any) -> None:
    got = client.post(CHAT, json=chat("word " * (loaded.most or 0)))
    assert got.status_code == 400
    assert "the language model was trained for" in got.json()["error"]["message"]
    got = serve(max_new_tokens=5).post(CHAT, json=chat("Hello?"))
    assert (got.status_code, got.json()["error"]["param"]) == (400, "max_tokens")
    assert answer(serve(max_new_tokens=5), "Hello?", max_tokens=None)["usage"]["completion_tokens"] <= 5


@pytest.mark.parametrize("rate", [0.5, 2])
def test_a_rate_of_frames_is_heeded(client: Any, city: Any, rate: float) -> None:
    got = answer(client, city, QUESTION, mm_processor_kwargs={"fps": rate})
    again = answer(client, city, QUESTION, media_io_kwargs={"video": {"fps": rate}})
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert again["usage"]["prompt_tokens"] == got["usage"]["prompt_tokens"]
