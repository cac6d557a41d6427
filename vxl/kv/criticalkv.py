"""An observing window first, then entries whose values move the output most."""

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.output import moved_output
from vxl.kv.scored.ranking import best, chosen, shared
from vxl.kv.scored.window import Shared, SharedConfig, WindowConfig, Windowed
from vxl.llm.decoder import Decoder


@dataclass(frozen=True, kw_only=True)
class CriticalConfig(SharedConfig):
    """What the two stages of CriticalKV have."""

    eps: float = 1e-4
    """Added to a score before it is multiplied with what the value does to the output."""
    first: float = 0.5
    """Part of the places that go by the score alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.first <= 1 or self.eps < 0:
            raise ConfigError(
                f"first={self.first} eps={self.eps} are no stages.\n"
                "  allowed: 0 <= first <= 1, eps of 0 or more\n  e.g.  first=0.5 eps=0.0001"
            )


class Critical(Shared):
    """Two stages over a score b that has no norm of values in it: the best `first` of the places by b, the
    rest by (b + eps) * o_e, with o_e = mean over the query heads h of ||W_o,h v_e||_1."""

    together = False  # each layer has an output projection of its own

    def __init__(self, config: CriticalConfig) -> None:
        super().__init__(config)
        self.floor, self.first = config.eps, config.first
        self.llm: Decoder | None = None

    def equip(self, llm: Decoder) -> None:
        """Keeps the language model at hand for its output projections."""
        super().equip(llm)
        self.llm = llm

    @override
    def choose(self, entries: Entries) -> Tensor:
        score_BNS, sure_BNS = self.score(entries), self.sure(entries)
        open_BNS = entries.open_BNS.expand_as(score_BNS)
        sure_BNS = torch.zeros_like(open_BNS) if sure_BNS is None else sure_BNS.expand_as(open_BNS) & open_BNS
        places_BN1 = entries.free_BN1.expand(-1, open_BNS.shape[1], -1)
        least_BN1 = sure_BNS.sum(dim=-1, keepdim=True)
        if self.adaptive:
            # What each head has in any case is its best by the score.
            least_BN1 = least_BN1 + ((places_BN1 - least_BN1).clamp(min=0) * self.least).long()
            found_BNS = shared(score_BNS, open_BNS, sure_BNS, entries.free_BN1, self.least)
            places_BN1 = found_BNS.sum(dim=-1, keepdim=True)
        else:
            least_BN1 = least_BN1.clamp(min=1)
        count_BN1 = torch.minimum(places_BN1, torch.maximum((places_BN1 * self.first).long(), least_BN1))
        first_BNS = chosen(score_BNS, open_BNS, sure_BNS, count_BN1)
        left_BN1 = places_BN1 - first_BNS.sum(dim=-1, keepdim=True)
        second_BNS = (score_BNS + self.floor) * self.weight(entries)
        return first_BNS | best(second_BNS, open_BNS & ~first_BNS, left_BN1)

    def weight(self, entries: Entries) -> Tensor:
        """What each entry's value does to the output, [B, N, S]."""
        assert self.llm is not None, "the policy was not equipped with a language model"
        return moved_output(self.llm, entries, 1).mean(dim=-1)


@dataclass(frozen=True, kw_only=True)
class CriticalKVConfig(WindowConfig, CriticalConfig):
    """Half of the places by the attention of the question's last tokens, half by what it moves in the
    output."""

    _target_: str = "vxl.kv.criticalkv.CriticalKV"


class CriticalKV(Critical, Windowed):
    """CriticalKV (arXiv 2502.03805, section 4) over the attention of an observing window, with `adaptive`
    over heads that share a budget: their shares come from the attention alone, as in kvpress'
    CriticalAdaKVPress.

    `eps` matters, since attention scores are near 1e-3. An act costs S * H * D for each query head.
    """

    def __init__(self, config: CriticalKVConfig) -> None:
        super().__init__(config)
