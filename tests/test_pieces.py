"""How a video comes changes nothing: in pieces, in a batch, packed with others; for random shapes."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.small_model import model
from vxl.compressor.base import CompressorConfig
from vxl.compressor.dts import DTSConfig
from vxl.compressor.none import UncompressedConfig
from vxl.compressor.pool import PoolConfig
from vxl.data.batch.collate import Example, collate
from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.generate import ask_all, watch
from vxl.model import VideoLanguageModel
from vxl.prefill.full import FullConfig
from vxl.selector.base import SelectorConfig
from vxl.selector.none import KeepAllConfig
from vxl.selector.query import QueryConfig
from vxl.sequence.layout import Kind
from vxl.vision.siglip import SiglipConfig

SAME = {"rtol": 1e-9, "atol": 1e-9}

compressors = st.sampled_from(
    [
        DTSConfig(ratio=16),
        DTSConfig(ratio=8, published_layout=True, published_relative_key=True),
        DTSConfig(ratio=2, grid=2),
        PoolConfig(ratio=4),
        UncompressedConfig(),
    ]
)
SELECTORS = [KeepAllConfig(), QueryConfig(keep=0.5), QueryConfig(keep=1.0, tokens=5, score="token")]
selectors = st.sampled_from(SELECTORS)
visuals = st.lists(st.tuples(st.sampled_from(["video", "image"]), st.integers(1, 4)), max_size=3)
"""Videos of some groups and images of some views; none is text alone."""
conversations = st.lists(visuals, min_size=1, max_size=4)
piece = st.integers(1, 5)


@dataclass
class Made:
    """A conversation: its head, its question, and the frames of each visual as they come from a file."""

    head: Encoded
    question: list[int]
    frames: list[Tensor]

    def example(self, size: int) -> Example:
        whole = Encoded(**{n: list(v) for n, v in vars(self.head).items() if n != "answer_at"})
        whole.text(self.question, question=True)
        whole.text([10, 11], supervised=True)
        filled = [
            frames.repeat_interleave(size, dim=0) if item.kind == "image" else fill(frames, size)
            for item, frames in zip(self.head.items, self.frames, strict=True)
        ]
        nothing = torch.zeros(0, 3, 28, 28, dtype=torch.uint8)
        return Example(whole, torch.cat([nothing, *filled]))


def fill(frames: Tensor, size: int) -> Tensor:
    return torch.cat([frames, frames[-1:].expand(-len(frames) % size, -1, -1, -1)])


def made(m: VideoLanguageModel, shown: list[tuple[str, int]], draw: torch.Generator) -> Made:
    """A conversation with visuals of random pixels; the last group of a video may be short of frames."""
    size, tokens = m.compressor.frames_per_group, m.compressor.tokens_per_group
    head, frames, group = Encoded(), [], 0

    def number(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=draw))

    head.text([1, 2, number(12, 60)])
    for kind, groups in shown:
        for g in range(groups):
            if kind == "video":
                head.visual([7] * number(1, 4) + [20 + g], Kind.TIME, group, float(g))
            head.visual([9] * tokens, Kind.VISUAL, group, float(g))
            group += 1
        head.items.append(BatchedVisual(kind, size * groups, groups))  # ty: ignore[invalid-argument-type]
        head.text([4])
        count = groups if kind == "image" else size * groups - number(0, size)
        frames.append(torch.randint(0, 256, (count, 3, 28, 28), dtype=torch.uint8, generator=draw))
    return Made(head, [number(12, 90) for _ in range(number(1, 6))], frames)


def build(compressor: CompressorConfig, selector: SelectorConfig, groups: int = 2) -> Any:
    vision = SiglipConfig(size=28, patch=7, width=32, mlp=32, heads=2, layers=1, slice=3)
    parts = {"vision": vision, "compressor": compressor, "selector": selector}
    return model(**parts, prefill=FullConfig(groups=groups)).double().requires_grad_(False)


@settings(max_examples=25)
@given(
    compressor=compressors, groups=st.integers(1, 6), cuts=st.sets(st.integers(1, 5)), seed=st.integers(0, 99)
)
def test_a_video_encoded_in_pieces(
    compressor: CompressorConfig, groups: int, cuts: set[int], seed: int
) -> None:
    m = build(compressor, KeepAllConfig())
    size = m.compressor.frames_per_group
    draw = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (size * groups, 3, 28, 28), dtype=torch.uint8, generator=draw)
    edges = sorted({0, groups, *(cut for cut in cuts if cut < groups)})
    parts = [m.encode(frames[size * a : size * b]) for a, b in pairwise(edges)]
    torch.testing.assert_close(torch.cat(parts), m.encode(frames), **SAME)


@settings(max_examples=40)
@given(
    compressor=compressors,
    selector=st.sampled_from([*SELECTORS, QueryConfig(published_query=True)]),
    shown=conversations,
    row=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_a_mixed_batch_is_each_sample_alone(
    compressor: CompressorConfig, selector: SelectorConfig, shown: Any, row: int, seed: int
) -> None:
    """Videos, images, several of them, text alone; `row` of them packed into each row."""
    m = build(compressor, selector)
    draw = torch.Generator().manual_seed(seed)
    examples = [made(m, visuals, draw).example(m.compressor.frames_per_group) for visuals in shown]
    together = m(collate([examples[n : n + row] for n in range(0, len(examples), row)], pad=0))
    alone = [m(collate([[example]], pad=0)) for example in examples]
    torch.testing.assert_close(together.hidden_SD, torch.cat([out.hidden_SD for out in alone]), **SAME)
    torch.testing.assert_close(together.loss_sum, sum(out.loss_sum for out in alone), rtol=1e-6, atol=1e-5)


@settings(max_examples=40)
@given(
    compressor=compressors,
    selector=selectors,
    shown=visuals,
    groups=st.integers(1, 4),
    by=piece,
    questions=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_watching_in_pieces_is_the_whole_sequence_at_once(
    compressor: CompressorConfig,
    selector: SelectorConfig,
    shown: Any,
    groups: int,
    by: int,
    questions: int,
    seed: int,
) -> None:
    """Frames come `by` at a time, are fed in pieces of `groups` groups, and several questions are asked."""
    m = build(compressor, selector, groups)
    draw = torch.Generator().manual_seed(seed)
    first = made(m, shown, draw)
    asked = [Made(first.head, [30 + n] * (n + 1), first.frames) for n in range(questions)]
    expected = [
        m.llm.logits(m(collate([[one.example(m.compressor.frames_per_group)]], pad=0)).hidden_SD[0])
        for one in asked
    ]
    context = watch(m, first.head, [frames.split(by) for frames in first.frames])
    said: list[Tensor] = []
    logits = m.llm.logits
    m.llm.logits = lambda hidden: said.append(logits(hidden)) or said[-1]
    ask_all(context, [one.question for one in asked], max_new_tokens=1)
    torch.testing.assert_close(said[0], torch.stack(expected), **SAME)
