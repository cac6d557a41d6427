import contextlib
import copy
from typing import Any

import pytest

from tests.serve.written import chat
from vxl.serve.asked.fields import parse_json
from vxl.serve.asked.request import ChatRequest, FramesWish, Visual, Wishes, read_request
from vxl.serve.request_error import RequestError

VIDEO = {"type": "video_url", "video_url": {"url": "file:///a.mp4"}, "uuid": "mine"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "auto"}}


def read(body: Any) -> ChatRequest:
    return read_request(body, most_media=4)


def test_the_request_of_the_specification() -> None:
    asked = read(
        {
            "model": "my-run",
            "max_completion_tokens": 128,
            "temperature": 0,
            "top_p": 1,
            "seed": 1,
            "stop": ["\n\n"],
            "n": 1,
            "stream": False,
            "logprobs": False,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant."},
                {"role": "user", "content": [VIDEO, IMAGE, {"type": "text", "text": "What happens?"}]},
            ],
            "media_io_kwargs": {"video": {"num_frames": 128}},
            "mm_processor_kwargs": {"fps": 1},
            "add_generation_prompt": True,
            "continue_final_message": False,
            "something_that_nobody_knows": [1],
        }
    )
    video = Visual("video", "file:///a.mp4", "messages[1].content[0].video_url.url", "mine")
    image = Visual("image", "data:image/png;base64,AA==", "messages[1].content[1].image_url.url")
    assert asked.messages[1].parts == (video, image, "What happens?")
    assert (asked.max_new_tokens, asked.seed, asked.stop, asked.rows) == (128, 1, ("\n\n",), 1)
    assert asked.frames == FramesWish(num_frames=128, fps=1.0)


def test_what_is_null_is_absent() -> None:
    fields = [
        "max_tokens",
        "temperature",
        "top_p",
        "seed",
        "stop",
        "n",
        "stream",
        "stream_options",
        "tools",
        "vxl",
        "user",
    ]
    assert read(chat("Hello?", **dict.fromkeys(fields))) == read(chat("Hello?", max_tokens=None))


def test_old_and_new_names_of_the_longest_answer() -> None:
    assert read(chat("?", max_tokens=None, max_completion_tokens=5)).max_new_tokens == 5
    assert read(chat("?", max_tokens=5, max_completion_tokens=5)).max_new_tokens == 5
    assert read(chat("?", max_tokens=None)).max_new_tokens is None


def test_an_answer_that_goes_on() -> None:
    begun = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "The"}]
    assert read(chat(messages=begun, add_generation_prompt=False, continue_final_message=True)).goes_on


def test_what_the_page_wishes() -> None:
    asked = read(chat("?", vxl={"keep": 0.25, "progress": True, "strip": True, "watch": True}))
    assert asked.wishes == Wishes(0.25, True, True, True)


def test_neutral_values_of_what_is_not_supported_are_let_through() -> None:
    read(chat("?", tools=[], tool_choice="none", top_k=-1, response_format={"type": "text"}, logit_bias={}))
    read(chat("?", presence_penalty=0.0, repetition_penalty=1.0, logprobs=False, modalities=["text"]))


def said_by(role: str, content: Any = "x", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x"}, {"role": role, "content": content} | more]}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": 7}, "model"),
        ({"model": None}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "audio"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "video_url"}]}]},
            "messages[0].content[0].video_url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {}}]}]},
            "messages[0].content[0].video_url.url",
        ),
        ({"messages": [{"role": "user", "content": [VIDEO] * 5}]}, "messages"),
        (said_by("tool"), "messages[1].role"),
        (said_by("system"), "messages[1].role"),
        (said_by("assistant"), "messages[1].role"),
        (said_by("assistant", [VIDEO]), "messages[1].content[0].video_url.url"),
        (said_by("user", tool_calls=[{}]), "messages[1].tool_calls"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"top_p": 1.5}, "top_p"),
        ({"seed": 1.5}, "seed"),
        ({"seed": 2**63}, "seed"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": 1}, "stop"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"n": 2}, "n"),
        ({"n": 0}, "n"),
        ({"n": 9, "temperature": 1}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"continue_final_message": True}, "messages[0].role"),
        ({"continue_final_message": True, "add_generation_prompt": True}, "add_generation_prompt"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"media_io_kwargs": {"video": {"num_frames": 0}}}, "media_io_kwargs.video.num_frames"),
        ({"media_io_kwargs": {"video": {"num_frames": "all"}}}, "media_io_kwargs.video.num_frames"),
        ({"media_io_kwargs": {"video": 4}}, "media_io_kwargs.video"),
        ({"media_io_kwargs": []}, "media_io_kwargs"),
        ({"media_io_kwargs": {"video": {"frames_indices": [2, 1]}}}, "media_io_kwargs.video.frames_indices"),
        ({"mm_processor_kwargs": {"fps": 0}}, "mm_processor_kwargs.fps"),
        (
            {"mm_processor_kwargs": {"fps": 1}, "media_io_kwargs": {"video": {"fps": 2}}},
            "mm_processor_kwargs.fps",
        ),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"functions": [{}]}, "functions"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 5}, "top_logprobs"),
        ({"logit_bias": {"1": 2}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"top_k": 5}, "top_k"),
        ({"min_tokens": True}, "min_tokens"),
        ({"vxl": {"keep": 0}}, "vxl.keep"),
        ({"vxl": {"strip": 1}}, "vxl.strip"),
        ({"user": 1}, "user"),
    ],
)
def test_mistakes_name_their_field(change: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as refused:
        read(chat("Hello?") | change)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert param in refused.value.message or param in ("messages", "stream_options")
    assert len(refused.value.message) < 250


@pytest.mark.parametrize("body", [b"", b"{", b"[NaN]", b"Infinity", b"\xff", b"[" * 100_000, b"\x00"])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(RequestError, match="the body is"):
        parse_json(body)


@pytest.mark.parametrize("body", [None, [], "x", 1])
def test_what_is_no_object(body: Any) -> None:
    with pytest.raises(RequestError, match="expected: a JSON object"):
        read(body)


ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    2**70,
    1e308,
    0.5,
    "",
    "x",
    "\ud800",
    [],
    [None],
    [[]],
    ["x"],
    [1, 0],
    {},
]
ODD += [{"": None}, {"url": []}, {"video": []}, [{}], [{"type": "text", "text": None}]]
PLACES = {
    "": "model messages max_tokens temperature top_p seed stop n stream stream_options user vxl tools audio",
    "messages.0": "role content tool_calls",
    "messages.0.content.0": "type text video_url image_url uuid",
    "messages.0.content.0.video_url": "url uuid",
    "stream_options": "include_usage",
    "media_io_kwargs": "video",
    "media_io_kwargs.video": "num_frames fps frames_indices total_num_frames duration do_sample_frames",
    "mm_processor_kwargs": "fps",
    "vxl": "keep progress strip watch",
}


@pytest.mark.parametrize(("place", "name"), [(p, n) for p, names in PLACES.items() for n in names.split()])
def test_whatever_is_sent_is_read_or_refused(place: str, name: str) -> None:
    for value in ODD:
        body: Any = chat(copy.deepcopy(VIDEO), "?", stream=True, stream_options={}, vxl={})
        body |= {"media_io_kwargs": {"video": {}}, "mm_processor_kwargs": {}}
        inner = body
        for step in place.split(".") if place else ():
            inner = inner[int(step) if step.isdigit() else step]
        inner[name] = value
        with contextlib.suppress(RequestError):
            assert read(body).messages
