"""What a language model remembers of a batch of sequences: keys and values in blocks, per layer.

Keys are kept un-rotated, so that a policy may drop, merge or move entries; their positions stand beside them.
Appending opens a new block or fills the room of the last one and never copies the past. A fork shares all
blocks with its parent and appends to blocks of its own. Dropping entries rewrites only the blocks that
lose some.

Letters: B rows · N key-value heads (1 where all heads agree) · S entries · H head width.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vxl.llm.attention.step import Observed, Step
from vxl.llm.block import Block, Choice, Places, at_end, merged_block
from vxl.llm.cache import holding
from vxl.llm.cache.eviction import block_by_block, evicted, one_kind
from vxl.llm.cache.graph_slot import GraphSlot
from vxl.llm.cache.offload import map_tensors, mover
from vxl.llm.cache.rooms import Rooms
from vxl.llm.cache.size import held_bytes, used_bytes
from vxl.llm.memo import IdentityMemo
from vxl.llm.rope import Rotary
from vxl.sequence.layout import Layout


class Cache:
    """Keys and values of a batch of sequences.

    Args:
        layers: Number of layers.
        rotary: The model's rotation.
        device: Where the positions live.
        rows: Sequences of the batch.
        memo: Whether rotated keys are remembered beside the un-rotated ones: half as much memory again, and
            decoding need not rotate the past at every token.
        room: Tokens for which space is made at once when single tokens are appended.
    """

    def __init__(
        self,
        layers: int,
        rotary: Rotary,
        device: torch.device,
        *,
        rows: int = 1,
        memo: bool = True,
        room: int = 64,
    ) -> None:
        self.rotary = rotary
        self.memo = memo
        self.room = room
        self.layers: list[tuple[Block, ...]] = [()] * layers
        self.next_B = torch.zeros(rows, dtype=torch.int64, device=device)
        """Rotary position of each row's next token."""
        self.fed = 0
        """Columns that have gone in, padding and dropped ones included."""
        self.layouts: list[Layout] = []
        """What was fed, as far as the feeder said: pieces in order, which `Block.index_BNS` counts through.
        Pieces from before a fork may have one row for all."""
        self.state: dict[str, Any] = {}
        """What a policy remembers of these sequences; a fork gets a copy of the dict."""
        self.observed: Observed | None = None
        """Queries of the last pass, if the step observed any; forks start without."""
        self.reserve = 0
        """Tokens that are known to come: the next room is made for so many, so that they lie in one block. A
        fork knows of none."""
        self.scratch: dict[str, Any] = {}
        """What was worked out of what was fed, and can be again: it is neither saved nor moved."""
        self.graph_slot = GraphSlot()
        """The CUDA graph that decodes its forks; a fork and a copy start without."""
        self._rooms = Rooms(layers)

    @property
    def rows(self) -> int:
        """Sequences of the batch."""
        return len(self.next_B)

    def entries(self, layer: int = 0) -> int:
        """Columns of a layer; rows and heads that keep fewer have invalid ones among them."""
        return sum(len(block) for block in self.layers[layer])

    def valid(self, layer: int = 0) -> Tensor:
        """Which entries of a layer exist, bool [B, N, S]."""
        masks = [
            torch.ones_like(block.positions_BNS, dtype=torch.bool)
            if block.valid_BNS is None
            else block.valid_BNS
            for block in self.layers[layer]
        ]
        return self._joined(masks, torch.bool)

    def positions(self, layer: int = 0) -> Tensor:
        """Rotary positions of a layer's entries, int64 [B, N, S]."""
        return self._joined([block.positions_BNS for block in self.layers[layer]], torch.int64)

    def index(self, layer: int = 0) -> Tensor:
        """Which fed token each entry of a layer comes from, int64 [B, N, S]."""
        return self._joined([block.index_BNS for block in self.layers[layer]], torch.int64)

    def append(self, step: Step, layout: Layout | None = None) -> None:
        """Takes in what the layers left in `step.new`; a step can be appended once."""
        assert step.new is not None, "the step was made without a cache"
        tokens = step.positions_BT.shape[1]
        positions = step.positions_BT[:, None, :].expand(self.rows, 1, tokens)
        index = torch.arange(self.fed, self.fed + tokens, device=positions.device).expand(
            self.rows, 1, tokens
        )
        valid = None if step.valid_BT is None else step.valid_BT[:, None, :]
        rooms_memo, size = IdentityMemo[tuple[Tensor, Tensor]](), max(self.room, self.reserve)
        for layer, new in enumerate(step.new):
            assert new is not None, f"layer {layer} did not run through vxl's attention"
            rotated_BNTH = new.rotated_BNTH if self.memo else None
            block = Block(new.keys_BNTH, new.values_BNTH, positions, index, valid, rotated_BNTH)
            self.layers[layer] = self._rooms.append(layer, self.layers[layer], block, size, rooms_memo)
            step.new[layer] = None
        counts = tokens if step.valid_BT is None else step.valid_BT.sum(dim=1)
        self.next_B = torch.maximum(self.next_B, step.positions_BT[:, 0] + counts)
        self.fed += tokens
        if layout is not None:
            self.layouts.append(layout)
        self.observed = None
        if step.queries is not None and step.observed_BQ is not None:
            queries = tuple(query for query in step.queries if query is not None)
            self.observed = Observed(queries, step.observed_BQ, tokens)

    def fork(self, rows: int | None = None) -> "Cache":
        """A cache that goes on from here on its own and shares all blocks.

        Args:
            rows: From a cache of one row, this many rows that share its blocks.
        """
        assert rows is None or self.rows in (1, rows), f"{self.rows} rows can't become {rows}"
        device, rows = self.next_B.device, rows or self.rows
        fork = Cache(len(self.layers), self.rotary, device, rows=rows, memo=self.memo, room=self.room)
        fork.layers = list(self.layers)
        fork.next_B = self.next_B.expand(rows).clone()
        fork.fed = self.fed
        fork.layouts = list(self.layouts)
        fork.state, fork.scratch = dict(self.state), dict(self.scratch)
        return fork

    def keep(self, keep: Tensor | Sequence[Tensor], *, joined: bool = False) -> None:
        """Drops the other entries and frees their memory.

        Args:
            keep: Which entries of every layer stay, bool [B or 1, N, S]; or one such tensor a layer.
            joined: Whether a layer that loses any is one block then; else blocks that lose none stay shared.
        """
        masks = [keep] * len(self.layers) if isinstance(keep, Tensor) else keep
        together = joined and one_kind(self.layers)
        if joined and not together:
            self.join()
        for layer, blocks in (evicted if together else block_by_block)(self.layers, masks):
            if not blocks or blocks[-1] is not self.layers[layer][-1]:
                self._rooms.close(layer)
            self.layers[layer] = blocks

    def close_up(self, stays_BT: Tensor) -> None:
        """Drops the others of the last T entries; those that stay move up, so that positions have no gaps.

        For entries that one `append` brought. `next_B` is the caller's to set.

        Args:
            stays_BT: bool, in the host's memory, so that the host need not synchronise with the device.
        """
        choices = IdentityMemo[Choice]()
        for layer, blocks in enumerate(self.layers):
            last = blocks[-1]
            block = last.chosen(choices.get((last.positions_BNS,), partial(at_end, last, stays_BT)))
            self._rooms.close(layer)
            if len(block):
                block = block.at(block.positions_BNS, self.rotary)
            self.layers[layer] = (*blocks[:-1], block) if len(block) else blocks[:-1]

    def move(self, positions: Tensor | Sequence[Tensor]) -> None:
        """Gives entries other rotary positions; blocks whose positions stay are still shared.

        `next_B` is the caller's to set.

        Args:
            positions: int64 [B or 1, N, S], for all layers, or one such tensor a layer.
        """
        stay, parts = IdentityMemo[bool](), IdentityMemo[Tensor]()
        for layer, blocks in enumerate(self.layers):
            target_BNS = positions if isinstance(positions, Tensor) else positions[layer]
            moved_blocks: list[Block] = []
            start = 0
            for block in blocks:
                # One tensor for all layers that agree: later acts tell by it that they do.
                key, make = (target_BNS, start, len(block)), partial(target_BNS.narrow, -1, start, len(block))
                part, old = parts.get(key, make), block.positions_BNS
                same = stay.get((part, old), partial(holding.agree, part, old))
                moved_blocks.append(block if same else block.at(part, self.rotary))
                start += len(block)
            if moved_blocks and moved_blocks[-1] is not blocks[-1]:
                self._rooms.close(layer)
            self.layers[layer] = tuple(moved_blocks)

    def detach(self) -> None:
        """Cuts all entries from the graph: gradients go no further back."""
        self.layers = [tuple(block.detached() for block in blocks) for blocks in self.layers]

    def merge(
        self, members_BPR: Tensor, order_BM: Tensor, positions_BM: Tensor, valid_BM: Tensor | None
    ) -> None:
        """Replaces entries by means of entries, in every layer alike.

        Keys are averaged un-rotated. One layer at a time, so that memory grows by a layer's blocks at most.
        `next_B` is the caller's to set.

        Args:
            members_BPR: Which R entries each of P means is of; [B or 1, P, R].
            order_BM: The new entries: e < S is an old entry, S + p the p-th mean; [B or 1, M].
            positions_BM: Their rotary positions.
            valid_BM: New entries that exist; None = all.
        """
        index_BNS = self.index()
        first_BNP = index_BNS.gather(2, members_BPR[:, None, :, 0].expand(self.rows, -1, -1))
        index = torch.cat((index_BNS, first_BNP), dim=2).gather(
            2, order_BM[:, None].expand(self.rows, -1, -1)
        )
        places = Places(positions_BM[:, None], index, None if valid_BM is None else valid_BM[:, None])
        for layer in range(len(self.layers)):
            make = partial(
                merged_block,
                members_BPR=members_BPR,
                order_BM=order_BM,
                places=places,
                rotary=self.rotary,
                memo=self.memo,
            )
            self.rewrite(layer, make)

    def rewrite(self, layer: int, make: Callable[[tuple[Block, ...]], Block]) -> None:
        """Replaces a layer's blocks by one that is made of them."""
        self.layers[layer] = (holding.held_like(self.layers[layer], make),)
        self._rooms.close(layer)

    def join(self) -> None:
        """Copies the blocks of each layer into one, which decoding reads faster; no number changes.

        One layer at a time: memory grows by one layer. Blocks of all rows stay apart from those of one row.
        """
        memo = holding.Shared()
        for layer, blocks in enumerate(self.layers):
            one = holding.joined(blocks, memo)
            if len(one) < len(blocks):
                self._rooms.close(layer)
                self.layers[layer] = one

    def code(self, run: int | None = None) -> None:
        """Holds what it has in codes, layer by layer; see `vxl.llm.cache.holding.coded`."""
        self._rooms.close()
        memo = holding.Shared()
        for layer, blocks in enumerate(self.layers):
            self.layers[layer] = holding.coded(blocks, run, memo)

    def offload(self) -> None:
        """Moves the keys and values that it has to the host's memory, layer by layer."""
        self._rooms.close()
        self.layers = [holding.on_host(blocks) for blocks in self.layers]

    def to(self, device: torch.device) -> "Cache":
        """A copy on another device (in page-locked memory where it leaves a GPU), or itself where it is
        there."""
        if device.type == self.next_B.device.type and device.index in (None, self.next_B.device.index):
            return self
        copy = Cache(len(self.layers), self.rotary, device, rows=self.rows, memo=self.memo, room=self.room)
        copy.fed = self.fed
        with mover(device) as move:
            copy.next_B = move(self.next_B)
            copy.layouts, copy.state = map_tensors((self.layouts, self.state), move)
            copy.layers = [tuple(block.moved(move) for block in blocks) for blocks in self.layers]
        return copy

    def bytes(self, device: str | None = None) -> int:
        """Memory that the cache keeps alive, room and positions included; what it shares counts in full. Of
        devices of one type ("cuda") alone, if one is named."""
        return held_bytes(self.layers, device)

    def used_bytes(self) -> int:
        """Bytes of the entries that it has: what `bytes` counts without room for tokens that may come."""
        return used_bytes(self.layers)

    def go_on_as(self, other: "Cache") -> None:
        """Becomes what another cache of the same sequences is, which is used no more then."""
        for name in ("layers", "next_B", "fed", "layouts", "state", "scratch", "observed"):
            setattr(self, name, getattr(other, name))
        self._rooms.close()

    def _joined(self, parts: list[Tensor], dtype: torch.dtype) -> Tensor:
        heads = max((part.shape[1] for part in parts), default=1)
        parts = [part.expand(self.rows, heads, -1) for part in parts]
        empty = torch.zeros(self.rows, heads, 0, dtype=dtype, device=self.next_B.device)
        return torch.cat([empty, *parts], dim=-1)
