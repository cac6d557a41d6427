"""DTS, projector and pooling against the published code's numbers (Video-XL-2)."""

import pytest
import torch
from torch import Tensor

from tests.golden import TOLERANCE, error, golden
from vxl.compressor.dts import DTS, DTSConfig, memory_view

PUBLISHED = DTSConfig(grid=24, published_layout=True, published_relative_key=True)
NAMES = {"model.sae.": "dts.", "model.mm_projector.": "projector."}

dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])


def published(dtype: torch.dtype) -> DTS:
    """The compressor with the golden weights: published names differ from ours by their prefix alone."""
    compressor = DTS(PUBLISHED, vision_width=64, grid=27, llm_width=96)
    weights = {
        ours + key.removeprefix(theirs): value
        for key, value in golden("video_xl_2/compressor").items()
        for theirs, ours in NAMES.items()
        if key.startswith(theirs)
    }
    compressor.load_state_dict(weights)
    return compressor.to(dtype).requires_grad_(False)


def features(recorded: dict[str, Tensor], dtype: torch.dtype) -> Tensor:
    return recorded["hidden_int8"].to(dtype) / 32


def channels_first(x_GFPV: Tensor) -> Tensor:
    return x_GFPV.unflatten(2, (24, 24)).permute(0, 4, 1, 2, 3)


def stages_of(compressor: DTS, patches_FPV: Tensor) -> dict[str, Tensor]:
    """Every stage of one group, laid out as it was recorded."""
    stages: dict[str, Tensor] = {}
    for index, layer in enumerate(compressor.dts.encoder):
        layer.register_forward_hook(
            lambda _module, _inputs, out, name=f"stage_dts_{index}": stages.update(
                {name: channels_first(out)}
            )
        )
    compressor(patches_FPV)
    resized = compressor._resized(patches_FPV[None])
    stages["stage_interpolated"] = channels_first(resized)[0].transpose(0, 1)
    stages["stage_grouped"] = channels_first(memory_view(resized))
    return stages


@dtypes
def test_every_stage_of_a_group(dtype: torch.dtype) -> None:
    recorded = golden("video_xl_2/stages")
    stages = stages_of(published(dtype), features(recorded, dtype)[:4])
    assert stages.keys() == {key for key in recorded if key.startswith("stage_")}
    assert {key: error(value, recorded[key]) for key, value in stages.items()} == pytest.approx(
        dict.fromkeys(stages, 0.0), abs=TOLERANCE[dtype]
    )


@dtypes
def test_visual_features_of_a_video(dtype: torch.dtype) -> None:
    recorded = golden("video_xl_2/stages")
    visual_GKD = published(dtype)(features(recorded, dtype))
    assert error(visual_GKD, recorded["visual_features"]) <= TOLERANCE[dtype]


@dtypes
def test_visual_features_of_a_group_filled_with_its_last_frame(dtype: torch.dtype) -> None:
    recorded = golden("video_xl_2/short")
    patches_FPV = features(recorded, dtype)
    visual_GKD = published(dtype)(torch.cat([patches_FPV, patches_FPV[-1:]]))
    assert error(visual_GKD, recorded["visual_features"]) <= TOLERANCE[dtype]


@pytest.mark.parametrize("switch", ["published_layout", "published_relative_key"])
def test_each_published_switch_matters(switch: str) -> None:
    recorded, compressor = golden("video_xl_2/stages"), published(torch.float64)
    if switch == "published_layout":
        compressor.published_layout = False
    else:
        for layer in (compressor.dts.encoder[1], compressor.dts.encoder[4]):
            layer.transposed_key = False
    visual_GKD = compressor(features(recorded, torch.float64))
    assert error(visual_GKD, recorded["visual_features"]) > 100 * TOLERANCE[torch.float64]
