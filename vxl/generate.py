"""Watch once, ask many times: a video is encoded and run through the model once, each question goes on a
fork."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vxl.data.layout import Kind, Layout
from vxl.errors import DataError
from vxl.llm.cache import Cache
from vxl.prefill.base import Piece
from vxl.selector.asking import Waiting, prefill

if TYPE_CHECKING:
    from vxl.data.encoded import Encoded, Item
    from vxl.model import VideoLanguageModel


@dataclass(frozen=True, eq=False)
class Context:
    """What a model has watched; questions leave it as it is."""

    model: "VideoLanguageModel"
    cache: Cache
    frames: int
    """Frames seen, the repeated ones that fill up groups included."""
    visual_tokens: int
    tokens: int
    """All tokens, text included."""
    watch_ms: float
    """Waiting for frames, vision, compression and prefill."""
    prefill_ms: float
    """Of it, the language model."""
    waiting: Waiting | None = None
    """What is prefilled only when a question selects of it; the cache is empty then."""

    @property
    def cache_bytes(self) -> int:
        """Memory that the cache holds, and the visual tokens where they wait for a question."""
        return self.cache.bytes() + (self.waiting.bytes() if self.waiting else 0)


@dataclass(frozen=True)
class Answer:
    """What a model said, and what it cost."""

    text: str
    """Decoded without special tokens; empty where no tokenizer was given."""
    tokens: tuple[int, ...]
    """Generated tokens, without the one that ended the answer."""
    stopped: bool
    """Whether the answer ended by itself, and not at `max_new_tokens`."""
    prefill_ms: float
    """From the question to the first token. The video's prefill stands in the context; with a selector it is
    here."""
    decode_ms: float
    """From the first token to the last; of a batch, of the whole batch."""
    decode_tokens_per_s: float
    """Tokens after each row's first, also those that end answers, by `decode_ms`; 0 where there are none."""
    cache_bytes: int
    """Memory that the cache held at the end, the shared part included."""
    peak_bytes: int | None
    """Highest memory of the GPU's allocator since it was last reset; None on a CPU."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    temperature: float = 0.0
    """0 takes the most likely token; above, tokens are drawn from softmax(logits / temperature)."""
    top_p: float = 1.0
    """Draw only from the most likely tokens that together have this probability."""
    seed: int = 0
    """Of the draws; row r of a batch draws like a single question with seed + r."""


@torch.no_grad()
def watch(
    model: "VideoLanguageModel",
    head: "Encoded",
    visuals: Sequence[Iterable[Tensor]] = (),
    *,
    on_piece: Callable[[int, int], None] | None = None,
) -> Context:
    """Encodes videos and images and runs everything before the question through the model, once.

    Frames are taken, encoded and fed in pieces of whole groups (`prefill.groups`), so memory beyond the cache
    follows the piece and not the video. With a selector they are only encoded: each question is prefilled
    with what it keeps.

    Args:
        model: In evaluation mode.
        head: Tokens up to the question, with a place for every visual token (`Prompt.head`).
        visuals: For each item of the head its frames, uint8 at the tower's size, in tensors of any number of
            frames ([C,H,W] or [F,C,H,W]); for an image its views. Read once, as needed.
        on_piece: Called after each piece with the groups done and the groups of all visuals.

    Raises:
        DataError: A visual has more or fewer frames than its place in the head.
    """
    began = time.perf_counter()
    if len(visuals) != len(head.items):
        raise DataError(f"the prompt shows {len(head.items)} visuals, but {len(visuals)} were given.")
    cache = model.llm.new_cache()
    layout = layout_of(head).to(model.device)
    tokens_1T = torch.tensor([head.tokens], device=model.device)
    encoded = [encode_stream(model, item, frames) for item, frames in zip(head.items, visuals, strict=True)]
    prefill_ms = 0.0
    waiting: list[Tensor] = []
    done, total = 0, sum(item.groups for item in head.items)
    cuts = tuple((start, stop) for start, stop, _, _ in pieces(head, model.prefill.groups))
    for start, stop, item, groups in pieces(head, model.prefill.groups):
        visual_GKD = None if item is None else next(encoded[item])
        part = layout.slice(start, stop)
        embeds_1TD = model.splice(tokens_1T[:, start:stop], visual_GKD, part)
        if model.selector.drops:
            waiting.append(embeds_1TD)
        else:
            before = now(model)
            model.prefill.feed(model.llm, model.policy, cache, Piece(embeds_1TD, part))
            prefill_ms += now(model) - before
        done += groups
        if on_piece is not None and groups:
            on_piece(done, total)
    for stream in encoded:
        next(stream, None)  # a stream that was taken whole ends; one with more frames says so
    cache.join()
    return Context(
        model=model,
        cache=cache,
        frames=sum(item.frames for item in head.items),
        visual_tokens=head.kind.count(Kind.VISUAL),
        tokens=len(head),
        watch_ms=now(model) - 1000 * began,
        prefill_ms=prefill_ms,
        waiting=Waiting(torch.cat(waiting, dim=1), layout, cuts) if waiting else None,
    )


def ask(context: Context, question: Sequence[int], **settings: Any) -> Answer:
    """Answers one question; see `ask_all` for the settings."""
    return ask_all(context, [question], **settings)[0]


@torch.no_grad()
def ask_all(
    context: Context,
    questions: Sequence[Sequence[int]],
    *,
    max_new_tokens: int = 32,
    stop: Collection[int] = (),
    sampling: Sampling | None = None,
    tokenizer: Any = None,
    on_token: Callable[[int, int], None] | None = None,
) -> list[Answer]:
    """Answers questions about what was watched, all at once, each on a fork of the context of its own.

    Args:
        context: From `watch`; it is not changed.
        questions: Tokens of each question, up to the assistant's header (`Prompt.tail`).
        max_new_tokens: Longest answer.
        stop: Tokens that end an answer (`Prompt.end`).
        sampling: How tokens are chosen; None = the most likely.
        tokenizer: Decodes the answers' text; None = only tokens.
        on_token: Called with row and token as soon as a token is known, those that end an answer left out.

    Raises:
        DataError: A question is empty.
    """
    if not questions or not all(questions) or max_new_tokens < 1:
        raise DataError("nothing to answer: a question has no tokens, or max_new_tokens is below 1.")
    model, rows = context.model, len(questions)
    choose = Chooser(sampling or Sampling(), rows)
    began = now(model)
    if context.waiting is None:
        cache = context.cache.fork(rows)
    else:
        cache = prefill(model, context.waiting, questions, draw=sampling.seed if sampling else 0)
    hidden_BD = feed_questions(model, cache, questions)
    said: list[list[int]] = [[] for _ in range(rows)]
    stopped = [False] * rows
    first = last = began
    for count in range(1, max_new_tokens + 1):
        next_B = choose(model.llm.logits(hidden_BD))
        last = now(model)
        first = last if count == 1 else first
        for row, token in enumerate(next_B.tolist()):
            if stopped[row] or token in stop:
                stopped[row] = True
                continue
            said[row].append(token)
            if on_token is not None:
                on_token(row, token)
        if all(stopped) or count == max_new_tokens:
            break
        hidden_BD = model.llm.extend(model.llm.embed(next_B[:, None].to(model.device)), cache)[:, -1]
        model.policy.after_decode(cache)
    decode_ms = last - first
    decoded = sum(len(tokens) + ended - 1 for tokens, ended in zip(said, stopped, strict=True))
    return [
        Answer(
            text="" if tokenizer is None else tokenizer.decode(tokens, skip_special_tokens=True).strip(),
            tokens=tuple(tokens),
            stopped=stopped[row],
            prefill_ms=first - began,
            decode_ms=decode_ms,
            decode_tokens_per_s=1000 * decoded / decode_ms if decode_ms else 0.0,
            cache_bytes=cache.bytes(),
            peak_bytes=torch.cuda.max_memory_allocated(model.device) if model.device.type == "cuda" else None,
        )
        for row, tokens in enumerate(said)
    ]


def feed_questions(model: "VideoLanguageModel", cache: Cache, questions: Sequence[Sequence[int]]) -> Tensor:
    """Runs questions of different lengths behind the context; hidden_BD of each one's last token."""
    lengths = torch.tensor([len(question) for question in questions])
    longest = int(lengths.max())
    padded = [[*question, *([question[-1]] * (longest - len(question)))] for question in questions]
    tokens_BT = torch.tensor(padded, device=model.device)
    valid_BT = (torch.arange(longest) < lengths[:, None]).to(model.device)
    layout = Layout.text(len(questions), longest, model.device)
    piece = Piece(model.llm.embed(tokens_BT), layout, None if bool((lengths == longest).all()) else valid_BT)
    model.policy.before_question(cache, piece)
    hidden_BTD = model.llm.extend(piece.embeds_BTD, cache, valid_BT=piece.valid_BT, layout=layout)
    model.policy.after_decode(cache)
    return hidden_BTD[torch.arange(len(questions)), lengths - 1]


class Chooser:
    """Chooses each row's next token; every row draws from a generator of its own."""

    def __init__(self, sampling: Sampling, rows: int) -> None:
        self.sampling = sampling
        # On the CPU, so that a seed means the same on every device.
        self.generators = [torch.Generator().manual_seed(sampling.seed + row) for row in range(rows)]

    def __call__(self, logits_BV: Tensor) -> Tensor:
        """Tokens [B]."""
        if self.sampling.temperature == 0:
            return logits_BV.argmax(dim=-1)
        likely_BV = (logits_BV.float().cpu() / self.sampling.temperature).softmax(dim=-1)
        likely_BV, order_BV = likely_BV.sort(dim=-1, descending=True, stable=True)
        before_BV = likely_BV.cumsum(dim=-1) - likely_BV
        likely_BV = likely_BV.masked_fill(before_BV >= self.sampling.top_p, 0.0)
        likely_BV[:, 0].clamp_(min=torch.finfo(torch.float32).tiny)  # top_p=0 is the most likely token
        drawn = [
            order[torch.multinomial(likely, 1, generator=generator)]
            for likely, order, generator in zip(likely_BV, order_BV, self.generators, strict=True)
        ]
        return torch.cat(drawn)


def pieces(head: "Encoded", groups: int) -> Iterator[tuple[int, int, int | None, int]]:
    """Cuts a head into text and pieces of at most `groups` groups of one visual: (start, stop, item,
    groups)."""
    start = 0
    while start < len(head):
        item, first, stop = head.item[start], head.group[start], start + 1
        while (
            stop < len(head) and head.item[stop] == item and (item < 0 or head.group[stop] - first < groups)
        ):
            stop += 1
        yield (start, stop, None, 0) if item < 0 else (start, stop, item, head.group[stop - 1] - first + 1)
        start = stop


def encode_stream(model: "VideoLanguageModel", item: "Item", frames: Iterable[Tensor]) -> Iterator[Tensor]:
    """visual_GKD of one visual in pieces of `prefill.groups` groups; its last group is filled up.

    Raises:
        DataError: There are too few frames.
    """
    size = model.compressor.frames_per_group
    want = model.prefill.groups * size
    waiting: list[Tensor] = []
    count = taken = 0
    for chunk in frames:
        chunk = chunk[None] if chunk.ndim == 3 else chunk
        if item.kind == "image":
            chunk = chunk.repeat_interleave(size, dim=0)
        waiting.append(chunk)
        count += len(chunk)
        if taken + count > item.frames:
            raise wrong_number(taken + count, item, size)
        while count >= want:
            ready = torch.cat(waiting)
            taken += want
            yield model.encode(ready[:want])
            waiting, count = [ready[want:]], count - want
    fill = -count % size
    if taken + count + fill != item.frames:
        raise wrong_number(taken + count, item, size)
    if count:
        rest = torch.cat(waiting)
        yield model.encode(torch.cat([rest, rest[-1:].expand(fill, *rest.shape[1:])]))


def wrong_number(frames: int, item: "Item", size: int) -> DataError:
    """What to say where a visual's frames and its place in the prompt do not fit."""
    return DataError(
        f"a visual has {frames} frames, but its place in the prompt {item.groups} groups of {size}.\n"
        f"  expected: {item.frames - size + 1} to {item.frames} frames"
    )


def layout_of(encoded: "Encoded") -> Layout:
    """The layout of one row."""
    return Layout(
        kind_BT=torch.tensor([encoded.kind], dtype=torch.uint8),
        group_BT=torch.tensor([encoded.group], dtype=torch.int32),
        item_BT=torch.tensor([encoded.item], dtype=torch.int32),
        document_BT=torch.zeros(1, len(encoded), dtype=torch.int32),
        seconds_BT=torch.tensor([encoded.seconds], dtype=torch.float32),
        question_BT=torch.tensor([encoded.question], dtype=torch.bool),
    )


def now(model: "VideoLanguageModel") -> float:
    """Milliseconds on a clock, when the device has done what it was given."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return 1000 * time.perf_counter()
