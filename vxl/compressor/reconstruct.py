"""ReCoT: the DTS network learns to reconstruct the tower's patches, before there is a language model.

Video-XL-Pro (arXiv 2503.18478) trains it like this first; Video-XL-2 starts from such weights, too. The
published code lacks this training and its decoder. What the paper says is followed: the network encodes a
group, a decoder reconstructs the tower's patches of its frames, some of which the network never saw
(vxl.compressor.guide), and an image is a video of its repeated self. What it leaves open are options here.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vxl.compressor.dts import DTS, DTSConfig, frames_of_memory_view
from vxl.compressor.expansion import Expansion
from vxl.compressor.guide import Guide, draw_kept
from vxl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ReconstructConfig:
    """What the sources of ReCoT leave open."""

    mask: float = 0.5
    """Largest share of a group's patches that the network does not see, in training; 0: it sees all."""
    least: float = 0.0
    """Smallest such share. Each pass draws its own in between: a network that always misses many patches does
    worse on whole frames, and whole frames are what it is for. The same as mask: always that share."""
    noise: float = 1.0
    """How random the choice among low-scoring patches is: the scale of Gumbel noise beside scores of
    deviation 1; 0: always the lowest."""
    gradient: Literal["straight_through", "none"] = "straight_through"
    """How the scores learn: through the masked patches as if masking were a sigmoid, or not at all, which
    leaves the choice to their random first weights and the noise."""
    loss: Literal["all", "masked"] = "all"
    """Which patches of a group count: all of them, or the masked ones alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.mask < 1:
            raise ConfigError(f"mask={self.mask} is no share of the patches.\n  expected: 0 <= mask < 1")
        if not 0 <= self.least <= self.mask:
            raise ConfigError(
                f"least={self.least} is above mask={self.mask}, or below 0.\n  expected: 0 to mask"
            )
        if self.noise < 0:
            raise ConfigError(f"noise={self.noise} is no scale.\n  expected: 0 (no noise) or more")
        if self.loss == "masked" and not self.least:
            raise ConfigError(
                "loss=masked with least=0: a pass that masks nothing learns nothing.\n"
                f"  e.g.  least={self.mask or 0.5}  (and mask not below)   or  loss=all"
            )


class Reconstruct(DTS):
    """A DTS compressor in this training: patches in, the error of each group out.

    Its network has the names that it has in every model, so that the next stage starts from it; decoder,
    guide and mask are left behind. The projector leads into a language model, and there is none.
    """

    def __init__(
        self, config: DTSConfig, objective: ReconstructConfig, *, vision_width: int, grid: int
    ) -> None:
        super().__init__(config, vision_width=vision_width, grid=grid, llm_width=1)
        del self.projector
        self.objective = objective
        frames, side = self.frames_per_group, self.shape.grid
        self.guide = Guide(vision_width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(vision_width))
        self.expansion = Expansion(vision_width, frames=frames, side=side)

    def compress(self, patches_GFPV: Tensor) -> Tensor:
        """errors_G2: mean squared error of each group, and that of the group's mean patch in every place.

        In training some patches are masked; in evaluation, as in the model to come, none are.
        """
        seen_GFPV, counted_GFP = patches_GFPV, None
        masked = self._draw_masked(patches_GFPV) if self.training else 0
        if masked:
            kept_GFP = draw_kept(self.guide(patches_GFPV), masked, self.objective.noise)
            if self.objective.gradient == "none":
                kept_GFP = kept_GFP.detach()
            if self.objective.loss == "masked":
                counted_GFP = 1 - kept_GFP.detach()
            kept_GFP1 = kept_GFP.unsqueeze(-1).to(patches_GFPV.dtype)
            seen_GFPV = kept_GFP1 * patches_GFPV + (1 - kept_GFP1) * self.mask_token
        made_GFPV = self.expansion(self.synthesise(seen_GFPV))
        if self.published_layout:
            made_GFPV = frames_of_memory_view(made_GFPV)
        return errors(made_GFPV, patches_GFPV, counted_GFP)

    def _draw_masked(self, patches_GFPV: Tensor) -> int:
        """How many patches of a group this pass masks; from the CPU's generator, which waits for nothing."""
        least, most = self.objective.least, self.objective.mask
        share = least + (most - least) * float(torch.rand((), device="cpu"))
        return int(share * patches_GFPV.shape[1] * patches_GFPV.shape[2])


def errors(made_GFPV: Tensor, patches_GFPV: Tensor, counted_GFP: Tensor | None = None) -> Tensor:
    """errors_G2 over the counted patches (None: all): of what was made, and of the group's mean patch."""
    precise = torch.promote_types(patches_GFPV.dtype, torch.float32)
    patches_GFPV = patches_GFPV.to(precise)
    made = (made_GFPV.to(precise), patches_GFPV.mean((1, 2), keepdim=True))
    found_GFP2 = torch.stack([(one - patches_GFPV).square().mean(-1) for one in made], -1)
    if counted_GFP is None:
        return found_GFP2.mean((1, 2))
    return (found_GFP2 * counted_GFP.unsqueeze(-1)).sum((1, 2)) / counted_GFP.sum((1, 2)).unsqueeze(-1)
