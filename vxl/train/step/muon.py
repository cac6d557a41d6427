"""`optim=muon`: orthogonalised momentum for hidden matrices, AdamW for all other weights."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.llm.lora import is_update
from vxl.option.option import Option

Rule = Literal["muon", "adamw"]
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial a x + b x^3 + c x^5, which pulls singular values from (0, 1] to about 1 in few steps."""
RMS = 0.2
"""Of an update of AdamW, as measured: an update of Muon has it too, and so takes AdamW's learning rate."""


@dataclass(frozen=True, kw_only=True)
class MuonConfig(Option):
    """Muon (https://kellerjordan.github.io/posts/muon) with updates of AdamW's size (arXiv 2502.16982)."""

    _target_: str = "vxl.train.step.muon.Muon"
    momentum: float = 0.95
    """Of hidden matrices: share of the running mean of gradients that stays at a step (Nesterov's)."""
    iterations: int = 5
    """Newton-Schulz iterations that orthogonalise an update."""
    weight_decay: float = 0.0
    """Share of a weight, times the learning rate, that a step takes away; of all weights that learn."""
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    """Of all other weights: AdamW's running means of gradients and of their squares."""
    eps: float = 1e-8
    """Of all other weights: what AdamW adds to the root of its mean of squares."""

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ConfigError(
                f"momentum={self.momentum} is no share of a mean.\n  expected: 0 <= momentum < 1"
            )
        if self.iterations < 1:
            raise ConfigError(f"iterations={self.iterations} orthogonalise nothing.\n  expected: 1 or more")
        if self.weight_decay < 0:
            raise ConfigError(f"weight_decay={self.weight_decay} lets weights grow.\n  expected: 0 or more")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas={self.betas} are not AdamW's.\n  expected: two numbers, 0 <= beta < 1")
        if self.eps < 0:
            raise ConfigError(f"eps={self.eps} is below 0.\n  expected: 0 or more")


class Muon(Optimizer):
    """One optimizer with two rules, and one learning rate a part for both.

    A hidden matrix W of M x N with gradient G moves by

        B <- m B + (1 - m) G
        U = orthogonalised(m B + (1 - m) G)        singular values of about 1
        W <- (1 - rate decay) W - rate 0.2 sqrt(max(M, N)) U

    which is `torch.optim.Muon` with nesterov and adjust_lr_fn="match_rms_adamw". Of a sharded matrix that one
    multiplies the shards, and sums bf16 products over ranks; here it is gathered, orthogonalised by each rank
    and cut again, so that every strategy takes the steps of one process.

    Args:
        config: Momentum, weight decay, and what AdamW needs.
        params: Groups with a `rule` each (`rules_of_muon`).
    """

    def __init__(self, config: MuonConfig, params: list[dict[str, Any]]) -> None:
        self.config = config
        others = [group for group in params if group["rule"] == "adamw"]
        first, second = config.betas
        self.adamw = (
            AdamW(others, betas=(first, second), eps=config.eps, weight_decay=config.weight_decay)
            if others
            else None
        )
        super().__init__(params, {"weight_decay": config.weight_decay})

    @override
    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Moves every weight that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["rule"] == "muon":
                for weight_MN in group["params"]:
                    if weight_MN.grad is not None:
                        self._move(weight_MN, group["lr"], group["weight_decay"])
        if self.adamw is not None:  # which counts and remembers in the state of this one
            self.adamw.state = self.state
            self.adamw.param_groups = [group for group in self.param_groups if group["rule"] == "adamw"]
            self.adamw.step()
        return loss

    def _move(self, weight_MN: Tensor, rate: float, decay: float) -> None:
        # late: sharded tensors take 1.5 s, and to count memory needs none of them
        from vxl.train.parallel.gradients import local_shard
        from vxl.train.parallel.whole import of_whole

        state, momentum, gradient_MN = self.state[weight_MN], self.config.momentum, weight_MN.grad
        assert gradient_MN is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient_MN)
        gradient, mean = local_shard(gradient_MN), local_shard(state["momentum_buffer"])
        mean.lerp_(gradient, 1 - momentum)
        update = gradient.lerp(mean, momentum).bfloat16()
        update = of_whole(update, weight_MN, partial(orthogonalised, iterations=self.config.iterations))
        own = local_shard(weight_MN)
        own.mul_(1 - rate * decay)
        own.add_(update, alpha=-rate * RMS * math.sqrt(max(weight_MN.shape)))


def rules_of_muon(model: nn.Module) -> dict[str, Rule]:
    """The rule of every parameter, by its name.

    Muon's are the weights of linear layers, LoRA's two factors among them; but not the output layer.
    Embeddings, tables of positions, convolutions, norms and biases are AdamW's, whatever their shape.
    """
    rules: dict[str, Rule] = {}
    for path, module in model.named_modules():
        hidden = isinstance(module, nn.Linear) and path.rpartition(".")[2] != "lm_head"
        for own, parameter in module.named_parameters(path, recurse=False):
            weight = own.endswith(".weight") or is_update(own)
            rules[own] = "muon" if hidden and weight and parameter.ndim == 2 else "adamw"
    return rules


def orthogonalised(matrix_MN: Tensor, iterations: int) -> Tensor:
    """The matrix with its singular values pulled to about 1 by Newton-Schulz iterations, in bf16."""
    a, b, c = COEFFICIENTS
    tall = matrix_MN.shape[0] > matrix_MN.shape[1]
    wide = matrix_MN.bfloat16()
    wide = wide.T if tall else wide
    wide = wide / wide.norm().clamp(min=1e-7)  # singular values of at most 1
    for _ in range(iterations):
        gram = wide @ wide.T
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        wide = torch.addmm(wide, polynomial, wide, beta=a)
    return wide.T if tall else wide


def iteration_flops(rows: int, columns: int) -> float:
    """Operations of one iteration on a matrix: a product to the small square, one of squares, one back."""
    short, long = sorted((rows, columns))
    return 4.0 * short * short * long + 2.0 * short**3
