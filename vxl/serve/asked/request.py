"""What a client asks: the body of a chat completion, read strictly and refused by the field that is wrong."""

from dataclasses import dataclass, field
from typing import Any, Literal

from vxl.serve.asked.fields import Fields, shown
from vxl.serve.asked.unsupported import refuse_unsupported
from vxl.serve.request_error import RequestError

MOST_MESSAGES, MOST_PARTS, MOST_STOPS, MOST_ROWS, MOST_SEED = 200, 200, 16, 8, 2**62
MOST_FRAMES = 1_000_000


@dataclass(frozen=True)
class Visual:
    """A video or an image that a message shows."""

    kind: Literal["video", "image"]
    url: str = field(repr=False)
    where: str
    """Its field in the request."""
    uuid: str | None = None
    """The client's own name of what is behind the URL: what was watched under both is taken again."""


@dataclass(frozen=True)
class Message:
    """A message: texts and what is shown, in order."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | Visual, ...]

    @property
    def text(self) -> str:
        """Its words."""
        return "\n".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True)
class FramesWish:
    """Which frames a client wants to be looked at, and what it says of frames that it sends itself."""

    num_frames: int | None = None
    """At most so many; 0 for no limit."""
    fps: float | None = None
    """So many a second; of sent frames: the rate of the video that they are from."""
    indices: tuple[int, ...] = ()
    """Of sent frames: their numbers in that video."""
    total: int | None = None
    """Of sent frames: how many it has."""
    duration: float | None = None
    """Of sent frames: its length in seconds."""
    sample: bool = False
    """Whether sent frames are chosen among, as those of a file."""


@dataclass(frozen=True)
class Wishes:
    """What the page asks for beside an answer: the field `vxl`."""

    keep: float | None = None
    """Share of the visual tokens that the policy keeps, in place of its own `kv.keep`."""
    progress: bool = False
    """Whether a stream tells how far watching is."""
    strip: bool = False
    """Whether it tells what was kept and looked at, part by part."""
    watch: bool = False
    """Whether the video is only watched, for questions that come later."""


@dataclass(frozen=True)
class ChatRequest:
    """A chat completion that is wanted."""

    model: str
    messages: tuple[Message, ...]
    max_new_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    rows: int = 1
    stream: bool = False
    include_usage: bool = False
    goes_on: bool = False
    """Whether the answer goes on with the last message, which is the assistant's."""
    frames: FramesWish = FramesWish()
    wishes: Wishes = Wishes()
    user: str = ""
    """Whom the client asks for: requests of one are served in turn with those of others."""


def read_request(body: Any, *, most_media: int) -> ChatRequest:
    """Reads the body of a chat completion.

    Args:
        body: As JSON gave it.
        most_media: Videos and images of a request.

    Raises:
        RequestError: A field is missing, has the wrong type or value, or asks for what is not supported.
    """
    fields = Fields(body)
    refuse_unsupported(fields)
    messages = _messages(fields, most_media)
    temperature = fields.number("temperature", 0.0, 2.0) or 0.0
    rows = fields.whole("n", 1, MOST_ROWS) or 1
    if rows > 1 and temperature == 0.0:
        raise RequestError(f"n={rows} with temperature 0 would be one answer {rows} times; leave n out.", "n")
    stream = fields.flag("stream", False)
    if fields.given("stream_options") and not stream:
        raise RequestError("stream_options is for stream=true.", "stream_options")
    top_p = fields.number("top_p", 0.0, 1.0)
    return ChatRequest(
        model=fields.text("model", most=1000),
        messages=messages,
        max_new_tokens=_longest(fields),
        temperature=temperature,
        top_p=1.0 if top_p is None else top_p,
        seed=fields.whole("seed", -MOST_SEED, MOST_SEED),
        stop=_stops(fields),
        rows=rows,
        stream=stream,
        include_usage=fields.inner("stream_options").flag("include_usage", False),
        goes_on=_goes_on(fields, messages),
        frames=_frames(fields),
        wishes=_wishes(fields.inner("vxl")),
        user=fields.text("user", most=1000) if fields.given("user") else "",
    )


def _longest(fields: Fields) -> int | None:
    given = {key: fields.whole(key, 1, 10**9) for key in ("max_completion_tokens", "max_tokens")}
    new, old = given.values()
    if new is not None and old is not None and new != old:
        raise RequestError(
            f"max_completion_tokens={new} and max_tokens={old} differ; give one of them.", "max_tokens"
        )
    return old if new is None else new


def _stops(fields: Fields) -> tuple[str, ...]:
    value = fields.values.get("stop")
    texts = (
        [value] if isinstance(value, str) else fields.list("stop", MOST_STOPS, "a string, or a list of them")
    )
    for number, text in enumerate(texts):
        if not isinstance(text, str) or not 0 < len(text) <= 1000:
            where = "stop" if isinstance(value, str) else f"stop[{number}]"
            raise RequestError(
                f"{where} is {shown(text)}; expected: a string of 1 to 1000 characters.", where
            )
    return tuple(texts)


def _goes_on(fields: Fields, messages: tuple[Message, ...]) -> bool:
    """Whether the last message is the beginning of the answer."""
    goes_on = fields.flag("continue_final_message", False)
    header = fields.flag("add_generation_prompt", not goes_on)
    last = f"messages[{len(messages) - 1}].role"
    if goes_on and header:
        raise RequestError(
            "continue_final_message=true goes with add_generation_prompt=false.", "add_generation_prompt"
        )
    if not goes_on and not header:
        raise RequestError(
            "add_generation_prompt=false goes with continue_final_message=true.", "add_generation_prompt"
        )
    is_assistant = messages[-1].role == "assistant"
    if goes_on and not is_assistant:
        raise RequestError(f"continue_final_message=true, but {last} is not assistant.", last)
    if is_assistant and not goes_on:
        raise RequestError(
            f"{last} is assistant; end with the user, or go on with it:  "
            "add_generation_prompt=false, continue_final_message=true.",
            last,
        )
    return goes_on


def _frames(fields: Fields) -> FramesWish:
    video = fields.inner("media_io_kwargs").inner("video")
    processor = fields.inner("mm_processor_kwargs")
    count = video.whole("num_frames", -1, MOST_FRAMES)
    if count == 0:
        raise video.wrong("num_frames", "1 or more, or -1 for no limit")
    if video.given("fps") and processor.given("fps") and video.values["fps"] != processor.values["fps"]:
        raise RequestError(
            "media_io_kwargs.video.fps and mm_processor_kwargs.fps differ; give one of them.",
            processor.name("fps"),
        )
    rates = [one.number("fps", 0.001, 1000.0) for one in (video, processor)]
    indices = video.list("frames_indices", MOST_FRAMES, "a list of whole numbers")
    if not all(isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 10**9 for one in indices):
        raise video.wrong("frames_indices", "a list of whole numbers, 0 or more")
    if list(indices) != sorted(set(indices)):
        raise video.wrong("frames_indices", "numbers that rise")
    return FramesWish(
        num_frames=None if count is None else max(0, count),
        fps=rates[1] if rates[0] is None else rates[0],
        indices=tuple(indices),
        total=video.whole("total_num_frames", 1, 10**9),
        duration=video.number("duration", 0.001, 1_000_000.0),
        sample=video.flag("do_sample_frames", False),
    )


def _wishes(fields: Fields) -> Wishes:
    flags = {key: fields.flag(key, False) for key in ("progress", "strip", "watch")}
    return Wishes(keep=fields.number("keep", 0.001, 1.0), **flags)


def _messages(fields: Fields, most_media: int) -> tuple[Message, ...]:
    given = fields.list("messages", MOST_MESSAGES, "a list of messages")
    if not given:
        raise fields.wrong("messages", "a list of at least one message")
    found: list[Message] = []
    for number, value in enumerate(given):
        message = _message(Fields(value, f"messages[{number}]"))
        if message.role == "system" and any(one.role != "system" for one in found):
            raise RequestError(
                f"messages[{number}].role is system; it comes before all others.", f"messages[{number}].role"
            )
        found.append(message)
    shown_count = sum(isinstance(part, Visual) for message in found for part in message.parts)
    if shown_count > most_media:
        raise RequestError(f"{shown_count} videos and images; allowed: at most {most_media}.", "messages")
    if all(message.role == "system" for message in found):
        raise RequestError("there is no message of the user.", "messages")
    return tuple(found)


def _message(fields: Fields) -> Message:
    role = fields.values.get("role")
    if role not in ("system", "developer", "user", "assistant"):
        raise fields.wrong("role", "system, user or assistant")
    for key in ("tool_calls", "function_call", "audio"):
        if fields.given(key) and fields.values[key] != []:
            raise RequestError(f"{fields.name(key)} is not supported.", fields.name(key))
    name: Literal["system", "user", "assistant"] = "system" if role == "developer" else role
    if isinstance(fields.values.get("content"), str):
        return Message(name, (fields.text("content"),))
    given = fields.list("content", MOST_PARTS, "a string, or a list of parts")
    if not given:
        raise fields.wrong("content", "a string, or a list of parts")
    parts = []
    for number, value in enumerate(given):
        part = _part(Fields(value, f"{fields.name('content')}[{number}]"))
        if isinstance(part, Visual) and name != "user":
            raise RequestError(f"{part.where} is shown by the {role}; only the user shows.", part.where)
        parts.append(part)
    return Message(name, tuple(parts))


def _part(fields: Fields) -> str | Visual:
    kind = fields.values.get("type")
    if kind == "text":
        return fields.text("text")
    if kind not in ("video_url", "image_url"):
        raise fields.wrong("type", "text, image_url or video_url")
    value = fields.values.get(kind)
    inner = (
        Fields({"url": value}, fields.where) if isinstance(value, str) else Fields(value, fields.name(kind))
    )
    uuid = next((one.text("uuid", most=200) for one in (fields, inner) if one.given("uuid")), None)
    url = inner.text("url", most=2**33)
    return Visual("video" if kind == "video_url" else "image", url, inner.name("url"), uuid)
