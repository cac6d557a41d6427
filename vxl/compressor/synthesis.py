"""The network of Dynamic Token Synthesis: F frames of patches become one frame, group by group.

Everything stays channels-last (G F P V, P = side x side row-major), which is how patches arrive, how matrix
products want them and how convolutions on a GPU are fastest. Parameters have the published names and shapes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vxl.compressor.group_norm import GroupNorm
from vxl.errors import ConfigError
from vxl.precision import product_dtype

NORM_GROUPS = 32
MAX_DISTANCE = 64


class Synthesis(nn.Module):
    """Per halving of the frames: spatial attention, temporal attention, strided convolution.

    4 frames take two rounds, as published; 2 take one, 8 take three. A single frame has no time to synthesise
    and gets the spatial attention alone.
    """

    def __init__(self, width: int, *, frames: int, side: int, transposed_key: bool = False) -> None:
        """Builds for groups of `frames` frames (1, 2, 4, 8, ...) of `side` x `side` patches of `width`.

        Raises:
            ConfigError: 32 does not divide the width, or `frames` is no power of two.
        """
        super().__init__()
        if width % NORM_GROUPS:
            raise ConfigError(
                f"vision.width={width} does not suit compressor=dts: its norms have {NORM_GROUPS} groups.\n"
                f"  allowed: multiples of {NORM_GROUPS}\n  e.g.  vision.width={width + -width % NORM_GROUPS}"
            )
        rounds = frames.bit_length() - 1
        if frames != 2**rounds:
            raise ConfigError(f"compressor.temporal={frames} is no power of two.\n  allowed: 1, 2, 4, 8")
        self.temporal_encoding = nn.Parameter(torch.randn(frames, width))
        layers: list[nn.Module] = []
        for _ in range(rounds):
            layers += [
                SpatialAttention(width),
                TemporalAttention(width, transposed_key=transposed_key),
                Halving(width, side),
            ]
        self.encoder = nn.Sequential(*(layers or [SpatialAttention(width)]))

    def forward(self, patches_GFPV: Tensor) -> Tensor:
        """synthesised_GPV of patches_GFPV; groups never see each other."""
        # Contiguous here: every sum behind it would go on in the order of a memory view.
        placed_GFPV = (patches_GFPV + self.temporal_encoding[:, None]).contiguous()
        return self.encoder(placed_GFPV).squeeze(1)


class SpatialAttention(nn.Module):
    """Every patch attends to all patches of its frame, with one head; no MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = GroupNorm(width, NORM_GROUPS)
        self.q = Pointwise(width, width, dims=3)
        self.k = Pointwise(width, width, dims=3)
        self.v = Pointwise(width, width, dims=3)
        self.proj_out = Pointwise(width, width, dims=3)

    def forward(self, x_GFPV: Tensor) -> Tensor:
        """x_GFPV plus what its frame's patches say; statistics of the norm run over the group's frames."""
        groups, frames, patches = x_GFPV.shape[:3]
        normed = self.norm(x_GFPV.flatten(1, 2)).unflatten(1, (frames, patches)).flatten(0, 1).unsqueeze(1)
        attended = attend_wide(self.q(normed), self.k(normed), self.v(normed))
        return x_GFPV + self.proj_out(attended.squeeze(1)).unflatten(0, (groups, frames))


def attend_wide(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention [N,1,P,V] with one wide head, which no fused kernel on a GPU is made for."""
    if not q.is_cuda or q.dtype not in (torch.float16, torch.bfloat16):
        return F.scaled_dot_product_attention(q, k, v)
    if torch.is_grad_enabled():  # as products: the backward of PyTorch's kernel takes five times as long
        scores_NPP = q[:, 0] @ (k[:, 0] * q.shape[-1] ** -0.5).transpose(1, 2)
        return (scores_NPP.softmax(dim=-1, dtype=torch.float32).to(v.dtype) @ v[:, 0]).unsqueeze(1)
    scores_NPP = torch.bmm(q[:, 0], k[:, 0].transpose(1, 2), out_dtype=torch.float32)
    weights_NPP = scores_NPP.mul_(q.shape[-1] ** -0.5).softmax(dim=-1).to(q.dtype)
    return torch.bmm(weights_NPP, v[:, 0]).unsqueeze(1)


class TemporalAttention(nn.Module):
    """Every patch attends to its own place in the group's frames, with one head and relative positions."""

    def __init__(self, width: int, *, transposed_key: bool) -> None:
        """Builds; `transposed_key` is the published definition of the relative term (DTSConfig)."""
        super().__init__()
        self.transposed_key = transposed_key
        self.norm = GroupNorm(width, NORM_GROUPS)
        self.qkv = Pointwise(width, 3 * width, dims=1)
        self.proj_out = Pointwise(width, width, dims=1)
        self.relative_position_k = RelativePositions(width)
        self.relative_position_v = RelativePositions(width)
        # So that the block starts as the identity, up to what the table of the values adds.
        for layer in (self.qkv, self.proj_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x_GFPV: Tensor) -> Tensor:
        """x_GFPV plus what the same patch says in the group's other frames.

        Scores of query i and key j are q_i k_j / sqrt(V) + q_i R[j - i] / sqrt(sqrt(V)); the published ones
        have q_j R[i - j] in the second term.
        """
        groups, frames, patches, width = x_GFPV.shape
        normed_NFV = self.norm(x_GFPV).transpose(1, 2).contiguous().flatten(0, 1)
        q, k, v = self.qkv(normed_NFV).chunk(3, dim=-1)
        root = width**-0.25
        keys_IJV = self.relative_position_k(frames)
        relative_NIJ = torch.einsum("nic,ijc->nij", q * root, keys_IJV)
        if self.transposed_key:
            relative_NIJ = relative_NIJ.transpose(1, 2)
        scores_NIJ = (q * root) @ (k * root).transpose(1, 2) + relative_NIJ
        weights_NIJ = scores_NIJ.softmax(-1, dtype=torch.promote_types(q.dtype, torch.float32)).to(q.dtype)
        values_IJV = self.relative_position_v(frames)
        out_NFV = weights_NIJ @ v + torch.einsum("nij,ijc->nic", weights_NIJ, values_IJV)
        out_GFPV = self.proj_out(out_NFV).unflatten(0, (groups, patches)).transpose(1, 2)
        return x_GFPV + out_GFPV


class RelativePositions(nn.Module):
    """A vector per distance of two frames, distances beyond 64 clipped."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embeddings_table = nn.Parameter(torch.empty(2 * MAX_DISTANCE + 1, width))
        nn.init.xavier_uniform_(self.embeddings_table)

    def forward(self, frames: int) -> Tensor:
        """table_IJV: at (i, j) the vector of the distance j - i."""
        at = torch.arange(frames, device=self.embeddings_table.device)
        distance = (at[None, :] - at[:, None]).clamp(-MAX_DISTANCE, MAX_DISTANCE)
        return self.embeddings_table[distance + MAX_DISTANCE]


class Halving(nn.Module):
    """A 3 x 3 x 3 convolution, stride 2 in time, edges repeated: one frame before, one patch on each side."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.conv = nn.Conv3d(width, width, kernel_size=3, stride=(2, 1, 1))

    def forward(self, x_GFPV: Tensor) -> Tensor:
        """Half as many frames."""
        x_GFPV = x_GFPV.to(product_dtype(x_GFPV))  # once, and before it is copied
        # Padded by concatenation: the gradient of F.pad's replication is not deterministic on CUDA.
        x_GFHWV = torch.cat([x_GFPV[:, :1], x_GFPV], 1).unflatten(2, (self.side, self.side))
        for axis in (2, 3):
            first, last = x_GFHWV.narrow(axis, 0, 1), x_GFHWV.narrow(axis, -1, 1)
            x_GFHWV = torch.cat([first, x_GFHWV, last], axis)
        halved_GVFHW = self.conv(x_GFHWV.permute(0, 4, 1, 2, 3))
        return halved_GVFHW.permute(0, 2, 3, 4, 1).flatten(2, 3)


class Pointwise(nn.Module):
    """A convolution of kernel 1 on channels-last input: a matrix product, its weight shaped as theirs."""

    def __init__(self, width: int, out: int, *, dims: int) -> None:
        """Builds; the weight has `dims` trailing axes of length 1, as the published one."""
        super().__init__()
        linear = nn.Linear(width, out)
        self.weight = nn.Parameter(linear.weight.detach()[(...,) + (None,) * dims])
        self.bias = nn.Parameter(linear.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """x (..., width) -> (..., out)."""
        return F.linear(x, self.weight.flatten(1), self.bias)
