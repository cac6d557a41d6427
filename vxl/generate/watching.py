"""Watching: videos and images are encoded and run through the model once, in pieces of whole groups."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vxl.data.layout import Kind, Layout
from vxl.errors import DataError
from vxl.generate.context import Context, now
from vxl.kv.policy import SEED
from vxl.prefill.base import Piece
from vxl.selector.asking import Waiting

if TYPE_CHECKING:
    from vxl.data.encoded import Encoded, Item
    from vxl.model import VideoLanguageModel


@torch.no_grad()
def watch(
    model: "VideoLanguageModel",
    head: "Encoded",
    visuals: Sequence[Iterable[Tensor]] = (),
    *,
    names: Sequence[str] = (),
    on_piece: Callable[[int, int], None] | None = None,
    seed: int = 0,
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
        names: What the visuals are called, for relevance that looks them up.
        on_piece: Called after each piece with the groups done and the groups of all visuals.
        seed: Of what a policy draws, such as the ratios of `kv=vst`.

    Raises:
        DataError: A visual has more or fewer frames than its place in the head.
    """
    began = time.perf_counter()
    if len(visuals) != len(head.items):
        raise DataError(f"the prompt shows {len(head.items)} visuals, but {len(visuals)} were given.")
    cache = model.llm.new_cache()
    cache.state[SEED] = seed
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
    model.prefill.finish(model.llm, model.policy, cache)
    cache.join()
    return Context(
        model=model,
        cache=cache,
        frames=sum(item.frames for item in head.items),
        visual_tokens=head.kind.count(Kind.VISUAL),
        tokens=len(head),
        watch_ms=now(model) - 1000 * began,
        prefill_ms=prefill_ms,
        names=tuple(names),
        waiting=Waiting(torch.cat(waiting, dim=1), layout, cuts) if waiting else None,
    )


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
