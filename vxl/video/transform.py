"""What a vision tower wants its pixels to be: size and normalisation, number for number."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

# Frames resized at once on an accelerator, where intermediate results are float32.
SLICE = 32


@dataclass(frozen=True)
class PixelSpec:
    """The pixels that a tower was trained on.

    `squash` resizes to size x size and gives up the aspect ratio (SigLIP); `shortest_crop` resizes the
    shorter side to `size` and cuts out the centre (CLIP). Both are bicubic, antialiased as Pillow does it.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Literal["squash", "shortest_crop"] = "squash"


def resize_FCHW(frames_FCHW: Tensor, spec: PixelSpec) -> Tensor:
    """Resizes uint8 frames as Pillow would.

    On the CPU PyTorch's kernel for uint8 gives Pillow's very numbers (ten times faster if the channels are
    last in memory, as decoders leave them); on an accelerator the same two passes are matrix products.

    Args:
        frames_FCHW: uint8 RGB of any size.
        spec: What the tower wants.

    Returns:
        uint8 [F, C, size, size], contiguous, on the same device.
    """
    height, width = resized_shape(frames_FCHW.shape[-2], frames_FCHW.shape[-1], spec)
    if (height, width) == tuple(frames_FCHW.shape[-2:]):
        resized_FCHW = frames_FCHW
    elif frames_FCHW.device.type == "cpu":
        resized_FCHW = F.interpolate(frames_FCHW, size=(height, width), mode="bicubic", antialias=True)
    else:
        pieces = [_two_passes(piece, height, width) for piece in frames_FCHW.split(SLICE)]
        resized_FCHW = torch.cat(pieces) if pieces else frames_FCHW.new_empty(0, 3, height, width)
    top, left = (height - spec.size) // 2, (width - spec.size) // 2
    return resized_FCHW[..., top : top + spec.size, left : left + spec.size].contiguous()


def resized_shape(height: int, width: int, spec: PixelSpec) -> tuple[int, int]:
    """Height and width after resizing and before cutting."""
    if spec.resize == "squash":
        return spec.size, spec.size
    shorter = min(height, width)
    return int(spec.size * height / shorter), int(spec.size * width / shorter)


def normalise(frames_FCHW: Tensor, spec: PixelSpec, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 pixels to (x / 255 - mean) / std, computed in float32 whatever torch's default precision is."""
    device = frames_FCHW.device
    mean_C11 = torch.tensor(spec.mean, device=device, dtype=torch.float32).view(-1, 1, 1)
    std_C11 = torch.tensor(spec.std, device=device, dtype=torch.float32).view(-1, 1, 1)
    return ((frames_FCHW.float() / 255.0 - mean_C11) / std_C11).to(dtype)


def _two_passes(frames_FCHW: Tensor, height: int, width: int) -> Tensor:
    """Along the rows, rounded to uint8, then along the columns: the order of Pillow before 13."""
    with torch.autocast(frames_FCHW.device.type, enabled=False):
        across_WS = _weights(frames_FCHW.shape[-1], width, frames_FCHW.device).T
        down_SH = _weights(frames_FCHW.shape[-2], height, frames_FCHW.device)
        rows_FCHS = (frames_FCHW.float() @ across_WS).round_().clamp_(0, 255)
        return (down_SH @ rows_FCHS).round_().clamp_(0, 255).to(torch.uint8)


@lru_cache(maxsize=32)
def _weights(before: int, after: int, device: torch.device) -> Tensor:
    """The antialiased bicubic filter (a = -0.5) as a matrix [after, before]."""
    scale = max(before / after, 1.0)
    centres_S1 = (torch.arange(after, dtype=torch.float64)[:, None] + 0.5) * (before / after)
    # Pillow takes the whole pixels within the support, counted from its rounded edges.
    low_S1 = (centres_S1 - 2.0 * scale + 0.5).clamp_(min=0).floor_()
    high_S1 = (centres_S1 + 2.0 * scale + 0.5).clamp_(max=before).floor_()
    pixels_H = torch.arange(before, dtype=torch.float64)
    distance_SH = ((pixels_H + 0.5 - centres_S1) / scale).abs()
    near_SH = (1.5 * distance_SH - 2.5) * distance_SH.square() + 1.0
    far_SH = ((-0.5 * distance_SH + 2.5) * distance_SH - 4.0) * distance_SH + 2.0
    weights_SH = torch.where(distance_SH < 1.0, near_SH, torch.where(distance_SH < 2.0, far_SH, 0.0))
    weights_SH = torch.where((pixels_H >= low_S1) & (pixels_H < high_S1), weights_SH, 0.0)
    return (weights_SH / weights_SH.sum(dim=1, keepdim=True)).float().to(device)
