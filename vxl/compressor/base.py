"""What every compressor is: patches of whole groups in, visual tokens of the language model's width out."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vxl.compressor.plan import CompressorPlan
from vxl.compressor.projector import Projector
from vxl.errors import ConfigError, DataError
from vxl.option.build import locate
from vxl.option.option import Option


@dataclass(frozen=True, kw_only=True)
class CompressorConfig(Option):
    """How many patches become one visual token, and on which grid."""

    ratio: int = 16
    """Patches of the compressor's grid in / visual tokens into the language model."""
    temporal: int | None = None
    """Frames that become one; null = as the ratio says."""
    spatial: int | None = None
    """k of the k x k patches that become one token; null = as the ratio says."""
    grid: int | None = None
    """Side that the tower's grid is resized to first, such as 24 from SigLIP's 27; null = not at all."""
    slice: int = 24
    """Groups compressed at once; bounds the memory and leaves the numbers alone."""

    def __post_init__(self) -> None:
        """All of them count something."""
        for key in ("ratio", "temporal", "spatial", "grid", "slice"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(f"{key}={value} is not positive.\n  allowed: 1 or more")


class Compressor(nn.Module):
    """Base of the compressors. One gives `plan` and `compress`; the base resizes the grid, checks and slices.

    Groups never see each other, so a video may come in pieces of any multiple of `frames_per_group` frames,
    or in one tensor with others. Whoever builds the tensor fills a video's last group with its last frame.

    Attributes:
        ratio: Patches in / visual tokens out.
        frames_per_group: Frames that become one group.
        tokens_per_group: K, the visual tokens of a group.
        projector: The MLP into the language model's width, the last learned part of every compressor.
    """

    def __init__(self, config: CompressorConfig, *, vision_width: int, grid: int, llm_width: int) -> None:
        """Builds for a tower of `grid` x `grid` patches of `vision_width` and embeddings of `llm_width`."""
        super().__init__()
        self.config = config
        self.shape = self.plan(config, grid)
        self.tower_grid = grid
        self.vision_width = vision_width
        self.llm_width = llm_width
        self.ratio = self.shape.ratio
        self.frames_per_group = self.shape.frames_per_group
        self.tokens_per_group = self.shape.tokens_per_group
        self.projector = Projector(vision_width, llm_width)

    @classmethod
    @abstractmethod
    def plan(cls, config: CompressorConfig, grid: int) -> CompressorPlan:
        """How the ratio turns out on a tower's grid; ConfigError if it does not fit."""

    @abstractmethod
    def compress(self, patches_GFPV: Tensor) -> Tensor:
        """visual_GKD of whole groups, on the compressor's own grid."""

    def tokens(self, frames: int) -> int:
        """Visual tokens that a video of `frames` frames becomes."""
        return self.shape.tokens(frames)

    def forward(self, patches_FPV: Tensor) -> Tensor:
        """Visual tokens, group after group.

        Args:
            patches_FPV: Features from the tower, frames in order; F is a multiple of `frames_per_group`.

        Returns:
            visual_GKD.

        Raises:
            DataError: F does not fill whole groups, or P or V are not what the tower was said to give.
        """
        self._check(patches_FPV)
        patches_GFPV = patches_FPV.unflatten(0, (-1, self.frames_per_group))
        slices = patches_GFPV.split(self.config.slice)
        compressed = (self.compress(self._resized(part)) for part in slices)
        return next(compressed) if len(slices) == 1 else torch.cat(list(compressed))

    def _resized(self, patches_GFPV: Tensor) -> Tensor:
        """The patches on the compressor's grid: bilinear in float32, half-pixel centres, no antialias."""
        side, target = self.tower_grid, self.shape.grid
        if side == target:
            return patches_GFPV
        image_FVHW = patches_GFPV.flatten(0, 1).unflatten(1, (side, side)).permute(0, 3, 1, 2)
        precise = image_FVHW.to(torch.promote_types(image_FVHW.dtype, torch.float32))
        resized_FVHW = F.interpolate(precise, size=(target, target), mode="bilinear", align_corners=False)
        resized_FPV = resized_FVHW.permute(0, 2, 3, 1).flatten(1, 2).to(patches_GFPV.dtype)
        return resized_FPV.unflatten(0, patches_GFPV.shape[:2])

    def _check(self, patches_FPV: Tensor) -> None:
        frames, patches, width = patches_FPV.shape
        group = self.frames_per_group
        if frames % group:
            raise DataError(
                f"{frames} frames do not fill groups of {group}.\n"
                f"  expected: a multiple of {group}\n"
                f"  repeat the last frame {-frames % group} times, to {frames + -frames % group} frames"
            )
        if (patches, width) != (self.tower_grid**2, self.vision_width):
            expected = self.tower_grid**2
            hint = "  a class token is no patch: vision.keep_class=false" if patches == expected + 1 else ""
            raise DataError(
                f"the compressor got {patches} patches of width {width} a frame.\n"
                f"  expected: {self.tower_grid} x {self.tower_grid} = {expected} of width "
                f"{self.vision_width}\n{hint}".rstrip()
            )


def plan(config: "CompressorConfig", grid: int) -> CompressorPlan:
    """The plan of a compressor behind a tower with `grid` x `grid` patches.

    Raises:
        ConfigError: The ratio does not fit the grid; the message lists those that do.
    """
    return locate(config._target_).plan(config, grid)
