"""Compressors: patches_FPV -> visual_GKD, the visual tokens that the language model reads.

`compressor=NAME` is conf/compressor/NAME.yaml. May enter: what turns the vision tower's patches into visual
tokens; nothing that knows the language model beyond its width. Contract: see
`vxl.compressor.base.Compressor`. Groups of frames never see each other, so that a video may come in pieces of
whole groups with equal numbers.

Example:
    A compressor that keeps the first patch of every frame. Its `plan` is known before it is built.

    >>> from vxl.compressor.base import Compressor, CompressorConfig
    >>> from vxl.compressor.plan import CompressorPlan
    >>> class FirstPatch(Compressor):
    ...     @classmethod
    ...     def plan(cls, config, grid):
    ...         return CompressorPlan(1, tokens_per_group=1, temporal=1, spatial=grid, ratio=grid**2)
    ...     def compress(self, patches_GFPV):
    ...         return self.projector(patches_GFPV[:, 0, :1])
    >>> config = CompressorConfig(_target_="mylab.FirstPatch", ratio=16)
    >>> compressor = FirstPatch(config, vision_width=8, grid=4, llm_width=6)
    >>> compressor(torch.zeros(3, 16, 8)).shape  # 3 frames of 16 patches: 3 groups of 1 token
    torch.Size([3, 1, 6])
"""
