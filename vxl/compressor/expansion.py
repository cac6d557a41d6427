"""The mirror of Dynamic Token Synthesis: one frame of tokens becomes F frames of patches, group by group.

It only serves the reconstruction (vxl.compressor.reconstruct); nothing of it was published. Blocks are those
of the synthesis in the opposite order, with the transposed convolution in place of the strided one.
"""

import torch
from torch import Tensor, nn

from vxl.compressor.synthesis import SpatialAttention, TemporalAttention


class Expansion(nn.Module):
    """Per doubling of the frames: transposed convolution, temporal attention, spatial attention."""

    def __init__(self, width: int, *, frames: int, side: int) -> None:
        """Builds for groups of `frames` frames (1, 2, 4, 8, ...) of `side` x `side` patches of `width`."""
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(frames.bit_length() - 1):
            layers += [
                Doubling(width, side),
                TemporalAttention(width, transposed_key=False),
                SpatialAttention(width),
            ]
        self.decoder = nn.Sequential(*(layers or [SpatialAttention(width)]))

    def forward(self, synthesised_GPV: Tensor) -> Tensor:
        """patches_GFPV of synthesised_GPV; groups never see each other."""
        return self.decoder(synthesised_GPV.unsqueeze(1))


class Doubling(nn.Module):
    """A transposed 3 x 3 x 3 convolution, stride 2 in time: `Halving` backwards, edges repeated as there."""

    def __init__(self, width: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.conv = nn.ConvTranspose3d(width, width, kernel_size=3, stride=(2, 1, 1), padding=(0, 2, 2))

    def forward(self, x_GFPV: Tensor) -> Tensor:
        """Twice as many frames."""
        x_GFHWV = x_GFPV.unflatten(2, (self.side, self.side))
        for axis in (2, 3):
            first, last = x_GFHWV.narrow(axis, 0, 1), x_GFHWV.narrow(axis, -1, 1)
            x_GFHWV = torch.cat([first, x_GFHWV, last], axis)
        doubled_GVFHW = self.conv(x_GFHWV.permute(0, 4, 1, 2, 3))
        # The first frame is the one that `Halving` repeats before the group.
        return doubled_GVFHW[:, :, 1:].permute(0, 2, 3, 4, 1).flatten(2, 3)
