"""From a video's frame to what a tower reads, against the image processors that the family's code calls."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.video.test_transform import picture
from vxl.video.transform import normalise, resize_FCHW
from vxl.vision.base import VisionConfig
from vxl.vision.clip import ClipConfig
from vxl.vision.siglip import SiglipConfig


def processor(config: VisionConfig) -> Any:
    """transformers' own, with the sizes of the published checkpoints."""
    from transformers import CLIPImageProcessor, SiglipImageProcessor

    if isinstance(config, ClipConfig):
        return CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    half = [0.5, 0.5, 0.5]
    return SiglipImageProcessor(size={"height": 384, "width": 384}, image_mean=half, image_std=half)


@pytest.mark.parametrize("config", [SiglipConfig(), ClipConfig()], ids=lambda config: type(config).__name__)
@pytest.mark.parametrize(("height", "width"), [(720, 1280), (640, 360), (100, 150)])
def test_pixels_are_those_of_the_published_processors(config: VisionConfig, height: int, width: int) -> None:
    pixels_HWC = picture(height, width)
    ours_FCHW = normalise(
        resize_FCHW(torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None], config.pixels), config.pixels
    )
    given = processor(config)(Image.fromarray(pixels_HWC), return_tensors="np")["pixel_values"]
    theirs_FCHW = torch.from_numpy(np.asarray(given))
    assert ours_FCHW.shape == theirs_FCHW.shape == (1, 3, config.pixels.size, config.pixels.size)
    levels_CFHW = (ours_FCHW - theirs_FCHW).abs().transpose(0, 1) * torch.tensor(config.std).view(3, 1, 1, 1)
    assert levels_CFHW.mean() < 1 / 255
