"""Chunks against the mask that they stand for, and against the published numbers."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.golden.sequences import golden_embeds, golden_layout, golden_llm, golden_sequence
from tests.llm.tiny import decoder, reference
from tests.small_model import IMAGE, example, frames, head, model, video
from vxl.data.batch.collate import collate
from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.errors import ConfigError
from vxl.generate import ask, watch
from vxl.generate.watching import layout_of
from vxl.kv.full import Full, FullConfig
from vxl.llm.decoder import Decoder
from vxl.prefill.chunked import Chunked, ChunkedConfig
from vxl.prefill.full import FullConfig as PlainConfig
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.piece import Piece

KEEP = Full(FullConfig())


def visible(encoded: Encoded, size: int, previous: int, all_time: bool) -> Tensor:
    """The mask, written out position by position."""
    first = {item: encoded.group[encoded.item.index(item)] for item in set(encoded.item) - {-1}}
    own = [
        None if item < 0 else (item, (group - first[item]) // size)
        for item, group in zip(encoded.item, encoded.group, strict=True)
    ]
    order = {chunk: number for number, chunk in enumerate(dict.fromkeys(c for c in own if c is not None))}
    chunk = [None if c is None else order[c] for c in own]
    count = len(encoded)
    mask = torch.zeros(count, count, dtype=torch.bool)
    for i in range(count):
        for j in range(i + 1):
            free = chunk[i] is None or encoded.kind[j] != Kind.VISUAL
            free = free or (all_time and encoded.kind[i] == Kind.TIME)
            mask[i, j] = free or chunk[j] >= chunk[i] - previous
    return mask


def by_mask(llm: Decoder, embeds: Tensor, mask: Tensor) -> Tensor:
    additive = torch.zeros(1, 1, *mask.shape, dtype=embeds.dtype).masked_fill(~mask, -1e30)
    return reference(llm)(inputs_embeds=embeds, attention_mask=additive).logits


SHOWN = {
    "one video": (video(7),),
    "a short last chunk": (video(5),),
    "two videos and an image": (video(3), BatchedVisual("image", 4, 1), video(5)),
    "text alone": (),
}


SIZES = [(2, 1), (1, 0), (3, 2), (2, 9)]
# Text is in no chunk, whatever their sizes.
MASKS = [
    (name, *sizes, rows, together)
    for name, sizes, rows, together in itertools.product(SHOWN, SIZES, ["all", "window"], [1, 2, 16])
    if SHOWN[name] or (sizes, rows) == ((2, 1), "all")
]


@pytest.fixture(scope="module")
def llm() -> Decoder:
    return decoder()


@torch.no_grad()
@pytest.mark.parametrize(("name", "size", "previous", "time_rows", "together"), MASKS)
def test_every_row_is_the_masks(
    llm: Decoder, name: str, size: int, previous: int, time_rows: Any, together: int
) -> None:
    shown = SHOWN[name]
    encoded = head(*shown)
    embeds = llm.embed(torch.tensor([encoded.tokens]) % 97) + 0.1 * torch.randn(
        1, len(encoded), 48, generator=torch.Generator().manual_seed(0)
    )
    mask = visible(encoded, size, previous, time_rows == "all")
    expected = by_mask(llm, embeds, mask)
    config = ChunkedConfig(
        groups_per_chunk=size, previous_chunks=previous, time_rows=time_rows, chunks_per_pass=together
    )
    chunked = Chunked(config)
    layout = layout_of(encoded)
    for cut in (len(encoded), 11):  # at once, and cut anywhere, inside chunks too
        cache, hidden = llm.new_cache(), []
        for start in range(0, len(encoded), cut):
            stop = min(start + cut, len(encoded))
            piece = Piece(embeds[:, start:stop], layout.slice(start, stop))
            hidden.append(chunked.feed(llm, KEEP, cache, piece))
        torch.testing.assert_close(llm.logits(torch.cat(hidden, 1)), expected, rtol=1e-5, atol=1e-5)
    if (size, previous) == (1, 0) and shown:
        assert (mask.sum() < len(encoded) * (len(encoded) + 1) // 2).item()


@torch.no_grad()
@pytest.mark.parametrize("time_rows", ["all", "window"])
def test_rows_of_different_layouts_are_rows_alone(time_rows: Any) -> None:
    llm = decoder()
    heads = [head(video(5)), head(), head(video(2), IMAGE, video(3))]
    chunked = Chunked(
        ChunkedConfig(groups_per_chunk=2, previous_chunks=1, time_rows=time_rows, chunks_per_pass=2)
    )
    wide = max(map(len, heads))
    layout = Layout.text(3, wide)
    for row, encoded in enumerate(heads):
        layout.document_BT[row, len(encoded) :] = -1
        for name in ("kind_BT", "group_BT", "item_BT"):
            getattr(layout, name)[row, : len(encoded)] = getattr(layout_of(encoded), name)[0]
    embeds = llm.embed(torch.randint(0, 97, (3, wide), generator=torch.Generator().manual_seed(0)))
    for cut in (wide, 13):
        cache, hidden = llm.new_cache(rows=3), []
        for start in range(0, wide, cut):
            part = Piece(embeds, layout, layout.real_BT).part(start, min(start + cut, wide))
            hidden.append(chunked.feed(llm, KEEP, cache, part))
        got = llm.logits(torch.cat(hidden, 1))
        for row, encoded in enumerate(heads):
            mask = visible(encoded, 2, 1, time_rows == "all")
            expected = by_mask(llm, embeds[row, None, : len(encoded)], mask)
            torch.testing.assert_close(got[row, None, : len(encoded)], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_policies_that_act_get_single_chunks() -> None:
    seen: list[int] = []

    class Counting(Full):
        def after_chunk(self, cache: Any, piece: Piece) -> None:
            seen.append(piece.embeds_BTD.shape[1])

    llm, encoded = decoder(), head(video(5))
    embeds = llm.embed(torch.tensor([encoded.tokens]) % 97)
    chunked = Chunked(ChunkedConfig(groups_per_chunk=2))
    chunked.feed(llm, Counting(FullConfig()), llm.new_cache(), Piece(embeds, layout_of(encoded)))
    assert seen == [3, 12, 12, 6, 1]


def test_gradients_are_the_masks() -> None:
    llm = decoder()
    encoded = head(video(5))
    embeds = (0.3 * torch.randn(1, len(encoded), 48)).requires_grad_()
    by_mask(llm, embeds, visible(encoded, 2, 1, True)).pow(2).mean().backward()
    expected, embeds.grad = embeds.grad, None
    chunked = Chunked(ChunkedConfig(groups_per_chunk=2, previous_chunks=1))
    positions = torch.arange(len(encoded))[None]
    hidden, *_ = chunked.forward(llm, KEEP, embeds, positions, layout_of(encoded))
    llm.logits(hidden).pow(2).mean().backward()
    torch.testing.assert_close(embeds.grad, expected, rtol=1e-4, atol=1e-6)


def test_training_rows_are_documents_alone() -> None:
    plain, chunked = model(), model(prefill=ChunkedConfig(groups_per_chunk=1, previous_chunks=0))
    examples = [example(video(5)), example(video(2), seed=1), example(), example(video(4), seed=2)]
    batch = collate([[examples[0], examples[1]], [examples[2]], [examples[3]]], pad=0)
    total = sum(chunked(collate([[one]], pad=0)).loss_sum for one in examples)
    loss = chunked.train()(batch).loss_sum
    torch.testing.assert_close(loss, total, rtol=1e-5, atol=1e-5)
    assert (loss - plain(batch).loss_sum).abs() > 1e-3
    loss.backward()
    assert all(parameter.grad is not None for parameter in chunked.parameters())


@pytest.mark.parametrize("groups", [1, 3, 16])
def test_pieces_of_any_size_change_nothing(groups: int) -> None:
    answers = []
    for size in (groups, 2):
        small = model(prefill=ChunkedConfig(groups=size, groups_per_chunk=2, previous_chunks=1))
        answers.append(ask(watch(small, head(video(9)), [frames(36)]), [5, 6], max_new_tokens=20).tokens)
    assert answers[0] == answers[1]
    plain = model(prefill=PlainConfig())
    assert ask(watch(plain, head(video(9)), [frames(36)]), [5, 6], max_new_tokens=20).tokens != answers[0]


@torch.no_grad()
@pytest.mark.parametrize("case", [0, 1, 2, 3])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 2e-5), (torch.float32, 2e-4)])
def test_video_xl_2_chunks_are_the_published_ones(case: int, dtype: torch.dtype, bound: float) -> None:
    golden, known, ids = golden_sequence(case)
    layout = golden_layout(known, ids)
    llm = golden_llm(dtype)
    embeds = golden_embeds(llm, golden, ids, layout)
    size, previous = known["block_size_groups"], known["prev_blocks"]
    chunked = Chunked(ChunkedConfig(groups_per_chunk=size, previous_chunks=previous))
    hidden = chunked.feed(llm, KEEP, llm.new_cache(), Piece(embeds, layout))
    got, expected = llm.logits(hidden[0, known["logit_rows"]]), golden["logits_chunked"].to(dtype)
    torch.testing.assert_close(got, expected, rtol=bound, atol=bound)
    if case in (1, 3):
        full = golden["logits_full"].to(dtype)
        assert (expected - full).abs().max() > 100 * bound  # the chunks matter


def test_no_chunk_is_refused() -> None:
    with pytest.raises(ConfigError, match="groups_per_chunk=0 previous_chunks=3 is no chunk"):
        ChunkedConfig(groups_per_chunk=0)
    with pytest.raises(ConfigError, match="chunks_per_pass=0 runs nothing"):
        ChunkedConfig(chunks_per_pass=0)
