"""Every token sees every earlier token of its document."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from vxl.kv.policy import Policy
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.prefill.base import Hidden, Prefill, PrefillConfig
from vxl.prefill.window import sliding_window
from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece


@dataclass(frozen=True, kw_only=True)
class FullConfig(PrefillConfig):
    """Plain causal attention over everything that came before."""

    _target_: str = "vxl.prefill.full.Full"


class Full(Prefill):
    """Plain causal attention over everything that came before; at inference over the policy's window, where
    it has one."""

    lets_policies_look = True

    def __init__(self, config: FullConfig) -> None:
        super().__init__(config)

    @override
    def forward(
        self,
        llm: Decoder,
        policy: Policy,
        embeds_BTD: Tensor,
        positions_BT: Tensor,
        layout: Layout,
        draw: int = 0,
        ratios: Sequence[int] = (),
    ) -> Hidden:
        return Hidden(llm(embeds_BTD, llm.step(positions_BT, document_BT=layout.document_BT)), {})

    @override
    def feed(self, llm: Decoder, policy: Policy, cache: Cache, piece: Piece) -> Tensor:
        piece = policy.before_chunk(cache, piece)
        sliding = None if policy.local is None else sliding_window(policy.local, cache, piece)
        hidden_BTD = llm.extend(
            piece.embeds_BTD,
            cache,
            valid_BT=piece.valid_BT,
            layout=piece.layout,
            sliding=sliding,
            observe=policy.observe_chunks,
        )
        policy.after_chunk(cache, piece)
        policy.hold(cache)
        return hidden_BTD
