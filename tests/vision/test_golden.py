"""SigLIP as Video-XL-2 runs it, against the published code's numbers."""

import pytest
import torch

from tests.golden import TOLERANCE, error, golden
from vxl.vision.siglip import Siglip, SiglipConfig

PREFIX = "model.vision_tower.vision_tower.vision_model."
# Published, and used by nobody: the models take the last kept block's raw output.
UNUSED = {"post_layernorm.weight", "post_layernorm.bias"}


def published(dtype: torch.dtype) -> Siglip:
    """The tower with the golden weights."""
    recorded = golden("video_xl_2/vision")
    weights = {key.removeprefix(PREFIX): value for key, value in recorded.items() if key.startswith(PREFIX)}
    tower = Siglip(SiglipConfig(width=64, mlp=128, heads=4, layers=2))
    assert weights.keys() - tower.state_dict().keys() == UNUSED
    tower.load_state_dict({key: value for key, value in weights.items() if key not in UNUSED})
    return tower.to(dtype).requires_grad_(False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tower_gives_the_published_features(dtype: torch.dtype) -> None:
    recorded = golden("video_xl_2/vision")
    assert error(published(dtype)(recorded["frames_uint8"]), recorded["hidden"]) <= TOLERANCE[dtype]
