"""The loss over a large vocabulary, without the scores of all tokens at all places at once.

32k supervised tokens with 152k scores each are 20 GB in float32, and the backward pass wants them again.
Here they come in chunks of places, and the backward pass makes each chunk's anew.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vxl.distributed import ContextGroup, sum_of_parts
from vxl.llm.attention.split import Split
from vxl.sequence.rows import IGNORE


@dataclass(frozen=True, eq=False)
class Supervised:
    """The supervised places of a batch that this process has: S of `count`."""

    hidden_SD: Tensor
    """The final hidden state there."""
    labels_S: Tensor
    """The tokens that should come there."""
    count: int
    """Supervised places of the whole batch."""
    group: ContextGroup | None = None
    """The processes that share the batch's rows; None: this one has all of it."""
    number_S: Tensor | None = None
    """Which of the batch's supervised tokens they are, row after row."""

    def loss_sum(self, head: Callable[[Tensor], Tensor], chunk: int) -> Tensor:
        """`loss_sum` over the whole batch; its gradient in each process is that of its own places."""
        own = loss_sum(head, self.hidden_SD, self.labels_S, chunk)
        return own if self.group is None else sum_of_parts(own, self.group)

    def at(self, number_Q: Tensor) -> Tensor:
        """hidden_QD, without gradient, at some of the batch's supervised tokens."""
        hidden_SD = self.hidden_SD.detach()
        if self.group is None or self.number_S is None:
            return hidden_SD[number_Q]
        same_QS = (number_Q[:, None] == self.number_S).to(hidden_SD.dtype)
        return sum_of_parts(same_QS @ hidden_SD, self.group)


def supervised(hidden_BTD: Tensor, labels_BT: Tensor, group: ContextGroup | None) -> Supervised:
    """Where the language model's outputs are learnt from.

    Args:
        hidden_BTD: Final hidden states, of this process's columns.
        labels_BT: The labels of whole rows.
        group: The processes that share rows.
    """
    target_BT = labels_BT[:, 1:]
    places_BT = target_BT != IGNORE
    if group is None:
        labels_S = target_BT[places_BT]
        return Supervised(hidden_BTD[:, :-1][places_BT], labels_S, len(labels_S))
    split = Split(group, labels_BT.shape[1])
    target_BL = split.own(target_BT, IGNORE)
    places_BL = target_BL != IGNORE
    number_BT = places_BT.flatten().cumsum(0).view_as(places_BT) - 1
    numbers = split.own(number_BT)[places_BL]
    return Supervised(hidden_BTD[places_BL], target_BL[places_BL], int(places_BT.sum()), group, numbers)


def loss_sum(head: Callable[[Tensor], Tensor], hidden_SD: Tensor, labels_S: Tensor, chunk: int) -> Tensor:
    """Sum of the cross entropies of S places, in float32 at least.

    Args:
        head: Gives the scores of hidden states.
        hidden_SD: Final hidden states.
        labels_S: The tokens that should come there.
        chunk: Places whose scores exist at a time.
    """

    def part(hidden_CD: Tensor, labels_C: Tensor) -> Tensor:
        logits_CV = head(hidden_CD)
        precise = torch.promote_types(logits_CV.dtype, torch.float32)
        return F.cross_entropy(logits_CV.to(precise), labels_C, reduction="sum")

    if len(labels_S) <= chunk:
        return part(hidden_SD, labels_S)
    pieces = zip(hidden_SD.split(chunk), labels_S.split(chunk), strict=True)
    return torch.stack([checkpoint(part, *piece, use_reentrant=False) for piece in pieces]).sum()
