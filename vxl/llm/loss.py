"""The loss over a large vocabulary, without the scores of all tokens at all places at once.

32k supervised tokens with 152k scores each are 20 GB in float32, and the backward pass wants them again.
Here they come in chunks of places, and the backward pass makes each chunk's anew.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


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
