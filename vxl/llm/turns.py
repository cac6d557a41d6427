"""Several chunks in one pass, between which a policy drops entries of each layer: as if they came one by one.

What a chunk sees of a layer is what the policy has left of that layer behind the chunks before it; no other
layer matters. So all chunks go through a layer's products together, and through its attention in turn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vxl.llm.attention.function import through_step
from vxl.llm.attention.step import Observed, Step
from vxl.llm.attention.windows import Windows
from vxl.llm.block import Block, alone
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder, last_columns
from vxl.sequence.layout import Layout


@dataclass(frozen=True, eq=False)
class Turn:
    """One of the chunks."""

    start: int
    """Its first token, counted in the pass."""
    stop: int
    windows: Windows
    """What it sees of what came before."""
    cache: Cache
    """What there is behind it, but for the layers: these come while the pass goes through them."""


def extend_in_turns(
    llm: Decoder,
    embeds_BTD: Tensor,
    cache: Cache,
    turns: Sequence[Turn],
    act: Callable[[Cache, int], None],
    observe: int,
) -> Tensor:
    """Runs chunks behind what a cache has, which is as it is behind the last one then; see `Decoder.extend`.

    Args:
        llm: The language model.
        embeds_BTD: All chunks.
        cache: What came before.
        turns: The chunks in order; all tokens are in one of them.
        act: Drops entries of a layer of a turn's cache, when the chunk is in it.
        observe: Of how many tokens at each chunk's end the queries are left in the turn's cache.

    Returns:
        hidden_BTD.
    """
    step = llm.step(cache=cache, tokens=embeds_BTD.shape[1])
    parts = [part_of(step, turn, observe, llm.layers) for turn in turns]
    lengths = [turn.stop - turn.start for turn in turns]

    def attend(layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        assert step.new is not None
        new, past = step.new[layer], cache.layers[layer]
        assert new is not None
        outputs = []
        # Cut once a layer, not once a turn: what the host does for a turn is what a GPU waits for.
        rotated_keys = (
            [None] * len(turns) if new.rotated_BNTH is None else new.rotated_BNTH.split(lengths, dim=2)
        )
        tensors = [x.split(lengths, dim=2) for x in (query, key, value, new.keys_BNTH, new.values_BNTH)]
        for number, (turn, (part, position_BNT, index_BNT)) in enumerate(zip(turns, parts, strict=True)):
            own_query, own_key, own_value, new_keys, new_values = (pieces[number] for pieces in tensors)
            part.past[layer] = past  # ty: ignore[invalid-assignment]
            outputs.append(through_step(layer, own_query, own_key, own_value, scaling, part))
            part.past[layer] = ()  # ty: ignore[invalid-assignment]
            block = Block(new_keys, new_values, position_BNT, index_BNT, None, rotated_keys[number])
            turn.cache.layers[layer] = (*past, block)
            act(turn.cache, layer)
            past = turn.cache.layers[layer]
            if past[-1] is block:  # nothing was dropped: it is still a view of the whole pass
                past = (*past[:-1], of_its_own(block))
            turn.cache.layers[layer] = past if turn is turns[-1] else ()
        step.new[layer] = None
        return torch.cat(outputs, dim=1)

    hidden_BTD = llm(embeds_BTD, replace(step, in_turn=attend))
    cache.go_on_as(turns[-1].cache)
    return hidden_BTD


def fed_with(cache: Cache, layout: Layout) -> Cache:
    """A fork that counts more tokens as fed, which its layers lack as yet."""
    fork, tokens = cache.fork(), layout.shape[1]
    fork.next_B, fork.fed = fork.next_B + tokens, fork.fed + tokens
    fork.layouts.append(layout)
    return fork


def part_of(step: Step, turn: Turn, observe: int, layers: int) -> tuple[Step, Tensor, Tensor]:
    """A turn's part of a step, and the positions and columns of its tokens, int64 [B, 1, T]."""
    positions_BT = step.positions_BT[:, turn.start : turn.stop]
    observed_BQ = last_columns(positions_BT, None, observe) if observe else None
    queries: list[Tensor | None] | None = [None] * layers if observe else None
    part = replace(
        step,
        positions_BT=positions_BT,
        past=[()] * layers,
        windows=turn.windows,
        new=None,
        observed_BQ=observed_BQ,
        queries=queries,
        scratch={},
    )
    if observed_BQ is not None:
        tokens = turn.stop - turn.start
        turn.cache.observed = Observed(queries, observed_BQ, tokens)  # ty: ignore[invalid-argument-type]
    first = turn.windows.first
    index_T = torch.arange(first, first + turn.stop - turn.start, device=positions_BT.device)
    return part, positions_BT[:, None], index_T.expand(len(positions_BT), 1, -1)


def of_its_own(block: Block) -> Block:
    """A block that keeps nothing alive but itself."""
    rotated_BNSH = None if block.rotated_BNSH is None else alone(block.rotated_BNSH)
    return replace(
        block,
        keys_BNSH=alone(block.keys_BNSH),
        values_BNSH=alone(block.values_BNSH),
        rotated_BNSH=rotated_BNSH,
    )
