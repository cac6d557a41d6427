"""Of each new piece the entries with short keys stay; older ones stay as they are."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.policy import Scored


@dataclass(frozen=True, kw_only=True)
class QuickConfig(ScoredConfig):
    """Of each new piece the entries with the shortest keys stay, all heads together; older ones are kept."""

    _target_: str = "vxl.kv.quick.Quick"
    at: Literal["chunks"] = "chunks"
    """After each piece of the prefill: the score is of the newest piece alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        budget = next((name for name in ("tokens", "mib") if getattr(self, name) is not None), None)
        if budget is not None:
            raise ConfigError(
                f"{budget}={getattr(self, budget)} does not go with kv=quick: older entries always stay, "
                "so its cache\ngrows with the video.\n  allowed: kv.keep, a fraction\n"
                f"  e.g.  kv.{budget}=null kv.keep=0.25   or  kv=knorm kv.{budget}={getattr(self, budget)}"
            )


class Quick(Scored):
    """Score: -sqrt(sum over heads of ||u_e,n||^2), one set for all heads of a layer.

    QuickPrefill (arXiv 2505.16175, section 3; TIGER-AI-Lab/QuickVideo, lvu/utils.py). The published code
    keeps int(T * top_p) of each group of frames, prunes the text in front with the first group, evicts
    between attention and MLP of a layer, and may leave the hidden states of evicted tokens out of the higher
    layers (`prune_for_next_layer`), which is no matter of a cache and left out.
    """

    per_head = False
    together = True

    def __init__(self, config: QuickConfig) -> None:
        super().__init__(config)

    @override
    def score(self, entries: Entries) -> Tensor:
        return -entries.key_norms_BNS.square().sum(dim=1, keepdim=True).sqrt()

    @override
    def sure(self, entries: Entries) -> Tensor:
        """Everything that came before the newest piece."""
        cache = entries.cache
        return entries.index_BNS < cache.fed - cache.layouts[-1].shape[1]
