"""No selection: every visual token stays."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from vxl.selector.base import Selected, Selector, SelectorConfig
from vxl.sequence.layout import Kind


@dataclass(frozen=True, kw_only=True)
class KeepAllConfig(SelectorConfig):
    """Every visual token stays, whatever the question."""

    _target_: str = "vxl.selector.none.KeepAll"


class KeepAll(Selector):
    """Every visual token stays."""

    drops: ClassVar[bool] = False

    def __init__(self, config: KeepAllConfig, *, llm_width: int, seed: int = 0) -> None:
        super().__init__()

    @override
    def select(
        self, shown_SD: Tensor, kind_S: Tensor, group_S: Tensor, query_QD: Tensor, draw: int = 0
    ) -> Selected:
        scores_N = shown_SD.new_ones(int((kind_S == Kind.VISUAL).sum()))
        return Selected(shown_SD, torch.ones_like(kind_S, dtype=torch.bool), scores_N)
