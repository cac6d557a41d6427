"""The vision transformer that SigLIP, CLIP and DINOv2 share; they differ in a few switches.

Written out here and not taken from `transformers`: its modules rename their parameters between releases
(DINOv2) and replace the last hidden state by its normed form; a tower's output and checkpoints have to stay.
Parameters have SigLIP's and CLIP's names.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vxl.errors import ConfigError
from vxl.option.option import refuse_below
from vxl.vision.base import VisionConfig, VisionEncoder
from vxl.vision.weights import load_exactly, read_tower, resize_positions
from vxl.weights.fp8 import together

QUICK = 1.702
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(QUICK * x),
}


@dataclass(frozen=True, kw_only=True)
class ViTConfig(VisionConfig):
    """The sizes of a vision transformer."""

    mlp: int = 4304
    """Inner width of each block's MLP."""
    heads: int = 16
    """Attention heads of each block."""
    layers: int = 26
    """Blocks that are run: the output of this many of the checkpoint's blocks; later ones are not built."""

    def __post_init__(self) -> None:
        """Heads divide the width, and there is a block."""
        super().__post_init__()
        refuse_below(1, self, "width", "mlp")
        if self.heads < 1 or self.width % self.heads:
            raise ConfigError(
                f"heads={self.heads} does not divide width={self.width}.\n"
                f"  allowed: divisors of {self.width}, such as "
                f"{', '.join(str(n) for n in range(1, 33) if self.width % n == 0)}"
            )
        if self.layers < 1:
            raise ConfigError(f"layers={self.layers} runs no block.\n  allowed: 1 or more")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Where the families differ."""

    activation: Literal["gelu", "gelu_tanh", "quick_gelu"]
    eps: float
    class_token: bool = False
    """A learned token in front of the patches, with a position of its own."""
    registers: int = 0
    """Learned tokens between the class token and the patches, without positions (DINOv2 with registers)."""
    patch_bias: bool = True
    pre_norm: bool = False
    """A norm between the embeddings and the first block (CLIP)."""
    post_norm: bool = False
    """A norm behind the last block (DINOv2)."""
    layer_scale: bool = False
    """A learned factor a channel on each branch (DINOv2)."""


class ViT(VisionEncoder):
    """Patches, positions, blocks; the output is the last block's, raw unless there is a `post_norm`."""

    config: ViTConfig

    def __init__(self, config: ViTConfig, architecture: Architecture) -> None:
        super().__init__(config)
        self.embeddings = Embeddings(config, architecture)
        self.pre_layrnorm = (  # spelt as CLIP's published weights spell it
            nn.LayerNorm(config.width, architecture.eps) if architecture.pre_norm else nn.Identity()
        )
        blocks = nn.ModuleList(TowerBlock(config, architecture) for _ in range(config.layers))
        self.encoder = nn.ModuleDict({"layers": blocks})
        self.post_layernorm = (
            nn.LayerNorm(config.width, architecture.eps) if architecture.post_norm else nn.Identity()
        )
        self.class_tokens = int(architecture.class_token)
        self.extra_tokens = self.class_tokens + architecture.registers
        self.apply(initialise)

    def encode(self, pixels_FCHW: Tensor) -> Tensor:
        """patches_FPV: class token and registers are dropped."""
        return self.hidden(pixels_FCHW)[:, self.extra_tokens :]

    def hidden(self, pixels_FCHW: Tensor) -> Tensor:
        """All tokens behind the last block: class token, registers, patches."""
        hidden = self.pre_layrnorm(self.embeddings(pixels_FCHW))
        again = round(self.config.recomputed * self.config.layers) if self.config.checkpointing else 0
        for number, block in enumerate(self.encoder["layers"].children()):
            if number < again and torch.is_grad_enabled():
                hidden = checkpoint(block, hidden, use_reentrant=False)
            else:
                hidden = block(hidden)
        return self.post_layernorm(hidden)

    def load_pretrained(self) -> None:
        """Fills the tower from the checkpoint `config.weights`; nothing to do for `random`.

        Raises:
            CheckpointError: The checkpoint is absent, lacks a tensor, or has one of another shape.
        """
        if self.config.weights == "random":
            return
        own = self.state_dict()
        tensors = read_tower(self.config.weights, own.keys(), self.published_name)
        table = "embeddings.position_embedding.weight"
        with_registers = self.extra_tokens > self.class_tokens  # whose code resizes with antialias
        tensors[table] = resize_positions(
            tensors[table], self.grid, self.class_tokens, antialias=with_registers
        )
        load_exactly(self, tensors, self.config.weights)

    @staticmethod
    def published_name(name: str) -> tuple[str, ...]:
        """The names that a parameter of ours may have in a published checkpoint."""
        return (name,)


class Embeddings(nn.Module):
    """Pixels -> tokens: a strided convolution, learned positions, and the extra tokens of the family."""

    def __init__(self, config: ViTConfig, architecture: Architecture) -> None:
        super().__init__()
        positions = config.grid**2 + int(architecture.class_token)
        self.patch_embedding = nn.Conv2d(
            3, config.width, kernel_size=config.patch, stride=config.patch, bias=architecture.patch_bias
        )
        self.position_embedding = nn.Embedding(positions, config.width)
        self.class_embedding = self.register_tokens = None
        if architecture.class_token:
            self.class_embedding = nn.Parameter(torch.randn(config.width) * config.width**-0.5)
        if architecture.registers:
            self.register_tokens = nn.Parameter(torch.randn(architecture.registers, config.width) * 1e-6)

    def forward(self, pixels_FCHW: Tensor) -> Tensor:
        """tokens (F, extra + P, V)."""
        # Contiguous here: every norm and sum behind it would go on in the convolution's order, far slower.
        tokens = self.patch_embedding(pixels_FCHW).flatten(2).transpose(1, 2).contiguous()
        if self.class_embedding is not None:
            tokens = torch.cat([self.class_embedding.expand(len(tokens), 1, -1), tokens], 1)
        tokens = tokens + self.position_embedding.weight
        if self.register_tokens is not None:
            registers = self.register_tokens.expand(len(tokens), -1, -1)
            tokens = torch.cat([tokens[:, :1], registers, tokens[:, 1:]], 1)
        return tokens


class TowerBlock(nn.Module):
    """Attention and MLP, each behind a norm and added to its input."""

    def __init__(self, config: ViTConfig, architecture: Architecture) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.width, architecture.eps)
        self.self_attn = TowerAttention(config.width, config.heads)
        self.layer_norm2 = nn.LayerNorm(config.width, architecture.eps)
        self.mlp = MLP(config.width, config.mlp, architecture.activation)
        self.layer_scale1 = Scale(config.width) if architecture.layer_scale else nn.Identity()
        self.layer_scale2 = Scale(config.width) if architecture.layer_scale else nn.Identity()

    def forward(self, x_FPV: Tensor) -> Tensor:
        """x_FPV of the same shape; frames never see each other."""
        x_FPV = x_FPV + self.layer_scale1(self.self_attn(self.layer_norm1(x_FPV)))
        return x_FPV + self.layer_scale2(self.mlp(self.layer_norm2(x_FPV)))


class TowerAttention(nn.Module):
    """Every token of a frame attends to all of them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_FPV: Tensor) -> Tensor:
        """Attended x_FPV."""
        projections = (self.q_proj, self.k_proj, self.v_proj)
        whole = all(type(project) is nn.Linear for project in projections)
        if whole and x_FPV.is_cuda and not torch.is_grad_enabled():  # one product, three times as wide
            weight, bias = (torch.cat([getattr(p, name) for p in projections]) for name in ("weight", "bias"))
            parts = F.linear(x_FPV, weight, bias).chunk(3, dim=-1)
        else:
            parts = together(x_FPV, projections)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear layers with the family's GELU between them."""

    def __init__(self, width: int, inner: int, activation: str) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]
        self.quick = activation == "quick_gelu"
        self.fusible = activation == "gelu_tanh"  # the only one that cuBLAS knows
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x_FPV: Tensor) -> Tensor:
        """Mapped x_FPV."""
        whole = type(self.fc1) is type(self.fc2) is nn.Linear
        plain = whole and x_FPV.is_cuda and not torch.is_grad_enabled()
        if self.fusible and plain:  # the GELU inside the product
            inner = torch._addmm_activation(
                self.fc1.bias, x_FPV.flatten(0, -2), self.fc1.weight.t(), use_gelu=True
            )
            return self.fc2(inner).view_as(x_FPV)
        if self.quick and plain:  # a SiLU, scaled by the products
            inner = torch.addmm(QUICK * self.fc1.bias, x_FPV.flatten(0, -2), self.fc1.weight.t(), alpha=QUICK)
            inner = F.silu(inner, inplace=True)
            return torch.addmm(self.fc2.bias, inner, self.fc2.weight.t(), alpha=1 / QUICK).view_as(x_FPV)
        return self.fc2(self.activation(self.fc1(x_FPV)))


class Scale(nn.Module):
    """A learned factor a channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(width))

    def forward(self, x_FPV: Tensor) -> Tensor:
        """Scaled x_FPV."""
        return x_FPV * self.lambda1


def initialise(module: nn.Module) -> None:
    """Random weights as SigLIP starts from."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
