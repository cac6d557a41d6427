"""What passes through the language model cost, for what the parts really do: tokens, and keys that they see.

A pass is counted when it is over, since what a layer finds may depend on its queries (kv=rekv). Nothing
waits for a device: counts that a device knows stay there until they are asked for.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vxl.llm.attention.step import Step
from vxl.llm.attention.windows import pairs_within
from vxl.llm.beacon import is_of_beacon
from vxl.llm.block import Block
from vxl.llm.decoder import Decoder
from vxl.weights.coded import coded


class Work:
    """Operations of a language model's passes within a `with` block; a multiply-add is two.

    Every token goes through the weights, beacons through theirs as well, and attends to the keys that it
    sees, which are fewer under chunked prefill, with summary tokens, and where entries were dropped.

    Args:
        llm: The decoder.
    """

    def __init__(self, llm: Decoder) -> None:
        self.llm, self.counting = llm, False
        body = dict(llm.causal_lm.model.named_parameters())
        sizes = {name: p.numel() for name, p in body.items() if p.ndim > 1 and "embed_tokens" not in name}
        beacons = sum(size for name, size in sizes.items() if is_of_beacon(name))
        packs = sum(layer.in_features * layer.out_features for _, layer in coded(llm))
        settings = llm.causal_lm.config
        heads: int = settings.num_attention_heads
        self.per_token = 2.0 * (sum(sizes.values()) - beacons + packs)
        self.per_beacon = 2.0 * beacons
        self.per_pair = 4.0 * heads * (getattr(settings, "head_dim", None) or llm.width // heads)
        self.of_logits = 2.0 * llm.vocab * llm.width
        """Operations of one token's scores, which are no pass."""
        self._done: list[float | Tensor] = []

    def __enter__(self) -> "Work":
        self._done, self.counting = [], True
        self._hook = self.llm.register_forward_hook(self._see)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hook.remove()

    def stop(self) -> None:
        """Counts no further pass."""
        self.counting = False

    @property
    def operations(self) -> float:
        """Of the passes so far."""
        return sum(float(count) for count in self._done)

    def _see(self, _: Any, inputs: tuple[Tensor, Step], hidden_BTD: Tensor) -> None:
        if not self.counting:
            return
        embeds_BTD, step = inputs
        rows, tokens = embeds_BTD.shape[:2]
        real_BT = torch.ones(rows, tokens, dtype=torch.bool) if step.valid_BT is None else step.valid_BT.cpu()
        self._done.append(self.per_token * int(real_BT.sum()))
        self._done.append(self.per_beacon * (0 if step.beacons is None else len(step.beacons)))
        self._done += [self.per_pair * pairs for pairs in pairs_seen(step, real_BT.numpy(), self.llm.layers)]


def pairs_seen(step: Step, real_BT: np.ndarray, layers: int) -> list[float | Tensor]:
    """Pairs of a token and a key that it sees, of each layer; the mean over heads that keep different keys.

    Args:
        step: The pass.
        real_BT: Tokens that are no padding.
        layers: Of the language model.
    """
    counts: dict[tuple[int, ...], float | Tensor] = {}
    pairs_of_layers: list[float | Tensor] = []
    for past in step.past or ((),) * layers:
        blocks = tuple(block.plain() for block in past)
        same = tuple(
            id(tensor) for block in blocks for tensor in (block.index_BNS, block.valid_BNS, len(block))
        )
        if same not in counts:
            counts[same] = sum(_of_row(step, blocks, row, real_T) for row, real_T in enumerate(real_BT))
        pairs_of_layers.append(counts[same])
    return pairs_of_layers


def _of_row(step: Step, past: Sequence[Block], row: int, real_T: np.ndarray) -> float | Tensor:
    tokens = int(real_T.sum())
    if step.sliding is not None:
        return float(step.sliding.pairs(row, int(sum(_entries(block, row) for block in past)), tokens))
    if step.windows is None:
        lengths = [tokens] if step.spans is None else [s.stop - s.start for s in step.spans if s.row == row]
        own = sum(length * (length + 1) // 2 for length in lengths)
        return own + tokens * sum((_entries(block, row) for block in past), 0.0)
    window, first = step.windows.of(row), step.windows.first
    pairs: float | Tensor = pairs_within(window, first, real_T)
    always_C = torch.zeros(first + len(real_T), dtype=torch.bool)
    always_C[torch.from_numpy(window.always_A)] = True
    for block in past:
        always_C = always_C.to(block.index_BNS.device)
        index_NS = block.index_BNS[row if len(block.index_BNS) > 1 else 0]
        always_NS = always_C[index_NS]
        for sight in window.sights:
            seen_NS = ((index_NS >= sight.since) | always_NS) & (index_NS >= sight.begin)
            pairs = pairs + int(real_T[sight.tokens_Q].sum()) * _entries(block, row, seen_NS)
    return pairs


def _entries(block: Block, row: int, seen_NS: Tensor | None = None) -> float | Tensor:
    """How many of a block's entries exist and are seen, the mean over heads."""
    if block.valid_BNS is None and seen_NS is None:
        return float(len(block))
    there = None if block.valid_BNS is None else block.valid_BNS[row if len(block.valid_BNS) > 1 else 0]
    masks = [mask_NS for mask_NS in (there, seen_NS) if mask_NS is not None]
    return (masks[0] & masks[-1]).sum(dim=-1).double().mean()
