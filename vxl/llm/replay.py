"""Decoding as a CUDA graph: one token a row, over a past that lies still and a tail with room.

Launched one by one, the few hundred kernels of a token take longer to start than to run. A graph starts them
at once, but reads and writes fixed places: so the largest block of the cache is read where it lies, and
whatever else there is (the question, the answer so far) is copied into a tail of fixed size that new tokens
are written into.
"""

import torch
from torch import Tensor

from vxl.llm import fused
from vxl.llm.attention.step import Step
from vxl.llm.block import Block
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.llm.kernels import WIDTHS

TAIL = 512
"""Least room of a tail, in entries."""
LONGEST = 16384
"""Longest tail; what does not fit is decoded without a graph."""
ROWS = 8
"""Most rows that are decoded by a graph."""


class Tail:
    """A captured step of decoding: its fixed tensors, and the graph."""

    def __init__(self, llm: Decoder, cache: Cache, room: int) -> None:
        """Makes room for a cache's entries beside its largest blocks; `fill` puts them there."""
        from vxl.llm.kernels.ranges import Tiles  # late: Triton, which only GPUs need
        from vxl.llm.kernels.steps import FEW, LEAST, PROGRAMS

        self.llm = llm
        self.room = room
        self.main = [main_block(blocks) for blocks in cache.layers]
        first = self.main[0]
        rows, (_, heads, keys, width) = cache.rows, first.keys_BNSH.shape
        device, dtype = first.keys_BNSH.device, first.keys_BNSH.dtype
        self.keys = [torch.zeros(rows, heads, room, width, device=device, dtype=dtype) for _ in self.main]
        self.values = [torch.zeros_like(tail) for tail in self.keys]
        self.angles = cache.rotary.half_angles(first.positions_BNS[: len(first.keys_BNSH), 0], dtype)
        self.tokens_B1 = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        self.positions_B1 = torch.zeros(rows, 1, dtype=torch.int64, device=device)
        group = llm.causal_lm.config.num_attention_heads // heads
        count = -(-group // FEW)
        places_M = torch.arange(count * FEW, dtype=torch.int32, device=device).clamp_(max=group - 1)
        bounds_B24 = torch.zeros(rows, count, 4, dtype=torch.int32, device=device)
        bounds_B24[..., 0] = keys
        self.tiles = Tiles(places_M, torch.zeros_like(places_M), bounds_B24, FEW)
        self.splits = max(2, min(PROGRAMS // (heads * rows), keys // LEAST)) + 1
        self.graph: torch.cuda.CUDAGraph | None = None
        self.logits_BV = torch.empty(0)

    def fits(self, cache: Cache, room: int) -> bool:
        """Whether the graph serves another cache."""
        return (
            room <= self.room
            and cache.rows == len(self.tokens_B1)
            and all(
                main_block(blocks).keys_BNSH.data_ptr() == main.keys_BNSH.data_ptr()
                and len(main_block(blocks)) == len(main)
                for blocks, main in zip(cache.layers, self.main, strict=True)
            )
        )

    def fill(self, cache: Cache) -> None:
        """Copies what a cache has beside its largest blocks, and says where its rows go on."""
        lengths = torch.zeros(cache.rows, dtype=torch.int64)
        for number, (blocks, main) in enumerate(zip(cache.layers, self.main, strict=True)):
            lengths.zero_()
            for block in blocks:
                if block.keys_BNSH.data_ptr() == main.keys_BNSH.data_ptr():
                    continue
                keys = block.rotated(cache.rotary)
                for row in range(cache.rows):
                    own = row if len(keys) > 1 else 0
                    k, v = keys[own], block.values_BNSH[own]
                    if block.valid_BNS is not None:
                        there = block.valid_BNS[own if len(block.valid_BNS) > 1 else 0, 0]
                        k, v = k[:, there], v[:, there]
                    start = int(lengths[row])
                    self.keys[number][row, :, start : start + k.shape[1]] = k
                    self.values[number][row, :, start : start + k.shape[1]] = v
                    lengths[row] += k.shape[1]
        self.set_place(lengths, cache.next_B)

    def set_place(self, lengths: Tensor, next_B: Tensor) -> None:
        """Where each row's next token goes, in the tail and in the sequence."""
        self.tiles.bounds[:, :, 3] = lengths.to(self.tiles.bounds.device)[:, None]
        self.tiles.bounds[:, :, 2] = self.tiles.bounds[:, :, 3] + 1
        self.positions_B1.copy_(next_B[:, None])

    def __call__(self, tokens_B: Tensor) -> Tensor:
        """logits_BV behind the rows' next tokens."""
        if self.graph is None:
            self.capture()
        assert self.graph is not None
        self.tokens_B1.copy_(tokens_B[:, None])
        self.graph.replay()
        return self.logits_BV

    def capture(self) -> None:
        """Runs a step a few times, so that everything is loaded, and captures it."""
        lengths, next_B = self.tiles.bounds[:, 0, 3].clone(), self.positions_B1[:, 0].clone()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self.step()
                self.set_place(lengths, next_B)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits_BV = self.step()

    def step(self) -> Tensor:
        """One token a row through the model; counts on by itself."""
        cos_BTH, sin_BTH = self.llm.rotary.angles(self.positions_B1, torch.float32)
        step = Step(self.positions_B1, self.llm.rotary, cos_BTH, sin_BTH)
        hidden_BTD = fused.run_body(
            self.llm.causal_lm.model, self.llm.embed(self.tokens_B1), step, self.attend
        )
        logits_BV = self.llm.logits(hidden_BTD[:, -1])
        self.tiles.bounds[:, :, 2:] += 1
        self.positions_B1 += 1
        return logits_BV

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, cos: Tensor, sin: Tensor, scaling: float
    ) -> Tensor:
        """[B, 1, query heads, H]: puts a layer's new token into the tail and attends to everything."""
        from vxl.llm.kernels.pointwise import place  # late: Triton, which only GPUs need
        from vxl.llm.kernels.ranges import attend_ranges

        keys, values, main = self.keys[layer], self.values[layer], self.main[layer]
        place(query, key, value, cos, sin, keys, values, self.tiles.bounds[:, 0])
        a, angles = (main.keys_BNSH, main.values_BNSH), self.angles
        if main.rotated_BNSH is not None:
            a, angles = (main.rotated_BNSH, main.values_BNSH), None
        return attend_ranges(query, a, (keys, values), self.tiles, scaling, splits=self.splits, angles=angles)

    def bytes(self) -> int:
        """Memory of the tail."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values, *self.angles))


def main_block(blocks: tuple[Block, ...]) -> Block:
    """The largest block."""
    return max(blocks, key=len)


def can_replay(llm: Decoder, cache: Cache, tokens: int) -> bool:
    """Whether decoding `tokens` more tokens a row can be a graph."""
    if cache.rows > ROWS or not all(cache.layers):
        return False
    if any(type(block) is not Block for blocks in cache.layers for block in blocks):
        return False  # a graph reads memory that stays where it is
    main = main_block(cache.layers[0])
    keys = main.keys_BNSH
    same = all(len(main_block(blocks)) == len(main) for blocks in cache.layers)
    plain = all(
        (block.valid_BNS is None or block.valid_BNS.shape[1] == 1) and block.positions_BNS.shape[1] == 1
        for blocks in cache.layers
        for block in blocks
    )
    return (
        fused.suits_body(llm.causal_lm.model, keys)
        and keys.shape[3] in WIDTHS
        and main.valid_BNS is None
        and same
        and plain
        and cache.entries() - len(main) + tokens <= LONGEST
    )


def tail_for(llm: Decoder, source: Cache, cache: Cache, tokens: int) -> Tail:
    """A filled tail for a fork of `source`; hold the lock of `source.graph_slot`.

    Args:
        llm: The language model.
        source: The cache that was watched into, for whose forks the graph is kept.
        cache: The fork, with the question in it.
        tokens: Tokens to decode.
    """
    slot = source.graph_slot
    need = cache.entries() - len(main_block(cache.layers[0])) + tokens
    if slot.tail is None or not slot.tail.fits(cache, need):
        slot.tail = None  # its memory is free before the next one's is taken
        slot.tail = Tail(llm, cache, max(TAIL, 1 << (need - 1).bit_length()))
    slot.tail.fill(cache)
    return slot.tail
