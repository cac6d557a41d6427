"""Entries whose keys are unlike the others' stay."""

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries, unit
from vxl.kv.scored.policy import Scored


@dataclass(frozen=True, kw_only=True)
class KeyDiffConfig(ScoredConfig):
    """The entries stay whose keys are least like the mean key, in every head its own."""

    _target_: str = "vxl.kv.keydiff.KeyDiff"
    rotated: bool = True
    """Whether keys are compared at their positions, as in kvpress; otherwise un-rotated."""


class KeyDiff(Scored):
    """Score: -cos(k_e, a) with the anchor a = mean over all held entries of k / ||k||, in each head.

    KeyDiff (arXiv 2504.15364, section 3; algorithm 1 runs it block by block, as `at=chunks` does). Protected
    entries count in the anchor. It reads no queries.
    """

    together = True

    def __init__(self, config: KeyDiffConfig) -> None:
        super().__init__(config)
        self.rotated = config.rotated

    @override
    def score(self, entries: Entries) -> Tensor:
        key_BNSH = unit(entries.turned_BNSH if self.rotated else entries.keys_BNSH)
        valid_BNS1 = entries.valid_BNS[..., None]
        anchor_BN1H = (key_BNSH * valid_BNS1).sum(dim=2, keepdim=True) / valid_BNS1.sum(dim=2, keepdim=True)
        return -(key_BNSH * unit(anchor_BN1H)).sum(dim=-1)
