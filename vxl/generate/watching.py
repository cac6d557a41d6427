"""Watching: videos and images are encoded and run through the model once, in pieces of whole groups."""

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.errors import DataError
from vxl.generate.context import Context, now
from vxl.generate.length import refuse_longer
from vxl.generate.prefetch import prefetch
from vxl.generate.pruning import PrunedPiece, prune_pieces, without_dropped
from vxl.generate.selecting import Waiting
from vxl.kv.policy import SEED
from vxl.llm.cache import Cache
from vxl.model import VideoLanguageModel
from vxl.prune.base import VideoTokens
from vxl.relevance.base import FrameVectors
from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece


@torch.no_grad()
def watch(
    model: VideoLanguageModel,
    head: Encoded,
    visuals: Sequence[Iterable[Tensor]] = (),
    *,
    names: Sequence[str] = (),
    on_piece: Callable[[int, int], None] | None = None,
    seed: int = 0,
    most: int | None = None,
    into: Callable[[Cache], object] | None = None,
) -> Context:
    """Encodes videos and images and runs everything before the question through the model, once.

    Frames are taken, encoded and fed in pieces of whole groups (`prefill.groups`), so memory beyond the cache
    follows the piece and not the video. A visual that is no tensor or list of them is taken ahead in a thread
    while the model is at earlier pieces, and copied to a GPU beside its work; on a GPU nothing waits for a
    result before the end. With a selector they are only encoded: each question is prefilled with what it
    keeps.

    Args:
        model: In evaluation mode.
        head: Tokens up to the question, with a place for every visual token (`Prompt.head`).
        visuals: For each item of the head its frames, uint8 at the tower's size, in tensors of any number of
            frames ([C,H,W] or [F,C,H,W]); for an image its views. Read once, as needed.
        names: What the visuals are called, for relevance that looks them up.
        on_piece: Called after each piece with the groups done and the groups of all visuals.
        seed: Of what a policy draws, such as the ratios of `kv=vst`.
        most: How long the sequence may get, questions included; None for any length.
        into: Called with the cache that will be filled, for who wants to look at it meanwhile.

    Raises:
        DataError: A visual has more or fewer frames than its place in the head, or the head is too long.
    """
    began = time.perf_counter()
    if len(visuals) != len(head.items):
        raise DataError(f"the prompt shows {len(head.items)} visuals, but {len(visuals)} were given.")
    frames = sum(item.frames for item in head.items)
    whole = model.policy.keeps_all_watched or model.policy.local is not None
    if whole and not (model.policy.stays_near or model.selector.drops or model.pruner.drops):
        refuse_longer(len(head), most, frames)  # before anything is decoded
    cache = model.llm.new_cache()
    cache.state[SEED] = seed
    if into is not None:
        into(cache)
    if not model.pruner.drops:  # otherwise it is not known how many will stay
        model.prefill.begin(model.policy, cache, len(head))
    host = layout_of(head)
    layout = host.to(model.device)
    tokens_1T = torch.tensor([head.tokens], device=model.device)
    streams = [encode_stream(model, *pair) for pair in zip(head.items, visuals, strict=True)]
    clock = Clock(model.device)
    waiting: list[Tensor] = []
    vectors: list[Tensor] = []
    groups_done, total = 0, sum(item.groups for item in head.items)
    cuts = tuple((start, stop) for start, stop, _, _ in pieces(head, model.prefill.groups))
    tokens = visual_tokens = 0
    try:
        for shown in shown_pieces(model, head, streams, vectors):
            start, stop = shown.start, shown.stop
            part, host_part = layout.slice(start, stop), host.slice(start, stop)
            places = int(host_part.visual_BT.sum())
            embeds_1TD = model.splice(tokens_1T[:, start:stop], shown.visual_GKD, part, places)
            if shown.kept_GK is not None:
                embeds_1TD, part = without_dropped(model.pruner, embeds_1TD, part, shown.kept_GK)
                host_part = part.to("cpu")
                places = int(host_part.visual_BT.sum())
            tokens, visual_tokens = tokens + embeds_1TD.shape[1], visual_tokens + places
            if model.selector.drops:
                waiting.append(embeds_1TD)
            elif embeds_1TD.shape[1]:
                with clock:
                    piece = Piece(embeds_1TD, part, host=host_part)
                    model.prefill.feed(model.llm, model.policy, cache, piece)
            groups_done += shown.groups
            if on_piece is not None and shown.groups:
                on_piece(groups_done, total)
        for stream in streams:
            next(stream, None)  # a stream that was taken whole ends; one with more frames says so
        model.prefill.finish(model.llm, model.policy, cache)
        model.policy.after_watch(cache)
    finally:
        for stream in streams:
            stream.close()
    cache.reserve = 0
    cache.join()
    return Context(
        model=model,
        cache=cache,
        frames=frames,
        visual_tokens=visual_tokens,
        tokens=tokens,
        watch_ms=now(model) - 1000 * began,
        prefill_ms=clock.ms(),
        names=tuple(names),
        waiting=Waiting(torch.cat(waiting, dim=1), layout, cuts) if waiting else None,
        seen=FrameVectors(model.relevance.sees, torch.cat(vectors)) if vectors else None,
        most=most,
    )


class Clock:
    """Adds up the time of `with` blocks; on a GPU that of its work, without waiting for it."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.marks: list[Any] = []

    def __enter__(self) -> None:
        self.mark()

    def __exit__(self, *_: object) -> None:
        self.mark()

    def mark(self) -> None:
        """The time now, or when the GPU gets here."""
        if not self.cuda:
            self.marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self.marks.append(event)

    def ms(self) -> float:
        """Milliseconds; the GPU has to be done."""
        pairs = zip(self.marks[::2], self.marks[1::2], strict=True)
        return sum(a.elapsed_time(b) if self.cuda else 1000 * (b - a) for a, b in pairs)


def pieces(head: Encoded, groups: int) -> Iterator[tuple[int, int, int | None, int]]:
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


def shown_pieces(
    model: VideoLanguageModel,
    head: Encoded,
    streams: Sequence[Iterator[tuple[VideoTokens, Tensor | None]]],
    vectors: list[Tensor],
) -> Iterator[PrunedPiece]:
    """The pieces of a head with their visual tokens, in order, and what stays of them.

    Args:
        model: Whose pruner decides.
        head: Tokens up to the question.
        streams: Of each item the stream of `encode_stream`.
        vectors: Gets what relevance keeps of the frames.
    """

    def tokens_of(item: int) -> VideoTokens:
        tokens, seen_GFE = next(streams[item])
        if seen_GFE is not None:
            vectors.append(seen_GFE)
        return tokens

    for item, cuts in groupby(pieces(head, model.prefill.groups), key=lambda cut: cut[2]):
        if item is None:
            yield from (PrunedPiece(start, stop, 0, None) for start, stop, _, _ in cuts)
        elif model.pruner.drops and head.items[item].kind == "video":
            triples = ((start, stop, tokens_of(item)) for start, stop, _, _ in cuts)
            yield from prune_pieces(model.pruner, head.items[item].groups, triples)
        else:
            for start, stop, _, groups in cuts:
                yield PrunedPiece(start, stop, groups, tokens_of(item).visual_GKD)


def encode_stream(
    model: VideoLanguageModel, item: BatchedVisual, frames: Iterable[Tensor]
) -> Generator[tuple[VideoTokens, Tensor | None]]:
    """The visual tokens of one visual in pieces of `prefill.groups` groups, and what relevance keeps of the
    frames, seen_GFE; the last group is filled up.

    Raises:
        DataError: There are too few frames.
    """
    whole_pieces = whole_groups(item, frames, model.compressor.frames_per_group, model.prefill.groups)
    in_memory = isinstance(frames, Tensor | list | tuple)
    ready = whole_pieces if in_memory else prefetch(whole_pieces, model.device)
    try:
        for piece_FCHW in ready:
            tokens, patches_FPV = model.encode_for_pruner(piece_FCHW)
            seen_FE = model.relevance.see(patches_FPV)
            size = model.compressor.frames_per_group
            seen_GFE = None if seen_FE is None else seen_FE.unflatten(0, (-1, size))
            yield tokens, seen_GFE
    finally:
        ready.close()


def whole_groups(item: BatchedVisual, frames: Iterable[Tensor], size: int, groups: int) -> Generator[Tensor]:
    """A visual's frames in pieces of `groups` groups of `size`; the last frame fills up the last group."""
    want = groups * size
    waiting: list[Tensor] = []
    count = handed_on = 0
    for chunk in frames:
        chunk = chunk[None] if chunk.ndim == 3 else chunk
        if item.kind == "image":
            chunk = chunk.repeat_interleave(size, dim=0)
        waiting.append(chunk)
        count += len(chunk)
        if handed_on + count > item.frames:
            raise wrong_number(handed_on + count, item, size)
        while count >= want:
            ready = waiting[0] if len(waiting) == 1 else torch.cat(waiting)
            handed_on += want
            yield ready[:want]
            waiting, count = ([ready[want:]] if count > want else []), count - want
    fill = -count % size
    if handed_on + count + fill != item.frames:
        raise wrong_number(handed_on + count, item, size)
    if count:
        rest = torch.cat(waiting)
        yield torch.cat([rest, rest[-1:].expand(fill, *rest.shape[1:])])


def wrong_number(frames: int, item: BatchedVisual, size: int) -> DataError:
    """What to say where a visual's frames and its place in the prompt do not fit."""
    return DataError(
        f"a visual has {frames} frames, but its place in the prompt {item.groups} groups of {size}.\n"
        f"  expected: {item.frames - size + 1} to {item.frames} frames"
    )


def layout_of(encoded: Encoded) -> Layout:
    """The layout of one row."""
    return Layout(
        kind_BT=torch.tensor([encoded.kind], dtype=torch.uint8),
        group_BT=torch.tensor([encoded.group], dtype=torch.int32),
        item_BT=torch.tensor([encoded.item], dtype=torch.int32),
        document_BT=torch.zeros(1, len(encoded), dtype=torch.int32),
        seconds_BT=torch.tensor([encoded.seconds], dtype=torch.float32),
        question_BT=torch.tensor([encoded.question], dtype=torch.bool),
    )
