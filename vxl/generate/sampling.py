"""How the next token is chosen."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    temperature: float = 0.0
    """0 takes the most likely token; above, tokens are drawn from softmax(logits / temperature)."""
    top_p: float = 1.0
    """Draw only from the most likely tokens that together have this probability."""
    seed: int = 0
    """Of the draws; row r of a batch draws like a single question with seed + r."""


class TokenChooser:
    """Chooses each row's next token; every row draws from a generator of its own."""

    def __init__(self, sampling: Sampling, rows: int) -> None:
        self.sampling = sampling
        # On the CPU, so that a seed means the same on every device.
        self.generators = [torch.Generator().manual_seed(sampling.seed + row) for row in range(rows)]

    def __call__(self, logits_BV: Tensor) -> Tensor:
        """Tokens [B]."""
        if self.sampling.temperature == 0:
            return logits_BV.argmax(dim=-1)
        likely_BV = (logits_BV.float().cpu() / self.sampling.temperature).softmax(dim=-1)
        likely_BV, order_BV = likely_BV.sort(dim=-1, descending=True, stable=True)
        before_BV = likely_BV.cumsum(dim=-1) - likely_BV
        likely_BV = likely_BV.masked_fill(before_BV >= self.sampling.top_p, 0.0)
        likely_BV[:, 0].clamp_(min=torch.finfo(torch.float32).tiny)  # top_p=0 is the most likely token
        draws = [
            order[torch.multinomial(likely, 1, generator=generator)]
            for likely, order, generator in zip(likely_BV, order_BV, self.generators, strict=True)
        ]
        return torch.cat(draws)
