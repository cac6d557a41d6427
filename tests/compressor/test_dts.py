"""Dynamic Token Synthesis beyond the published sizes: definitions, starting values, true sizes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml

from vxl.compressor.dts import DTSConfig, memory_view
from vxl.compressor.synthesis import Halving, SpatialAttention, Synthesis, TemporalAttention
from vxl.errors import ConfigError
from vxl.option.build import build
from vxl.option.schema import schema_of

CONF = Path(__file__).parents[2] / "conf/compressor"


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    torch.manual_seed(1)
    module = module.double().requires_grad_(False)
    for parameter in module.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    return module


@pytest.mark.parametrize("frames", [1, 2, 4, 8])
def test_temporal_attention_is_its_definition(frames: int) -> None:
    width = 64
    layer = shaken(TemporalAttention(width, transposed_key=False))
    x_GFPV = noise(2, frames, 9, width)
    out = layer(x_GFPV)
    for group, place in ((0, 0), (1, 7)):
        x_FV = x_GFPV[group, :, place]
        normed = F.group_norm(x_FV.T[None], 32, layer.norm.weight, layer.norm.bias, 1e-6)[0].T
        q, k, v = (normed @ layer.qkv.weight[..., 0].T + layer.qkv.bias).chunk(3, -1)
        keys, values = layer.relative_position_k.embeddings_table, layer.relative_position_v.embeddings_table
        scores = torch.empty(frames, frames, dtype=torch.float64)
        for i in range(frames):
            for j in range(frames):
                scores[i, j] = q[i] @ k[j] * width**-0.5 + q[i] @ keys[64 + j - i] * width**-0.25
        weights = scores.softmax(-1)
        attended = torch.stack(
            [sum(weights[i, j] * (v[j] + values[64 + j - i]) for j in range(frames)) for i in range(frames)]
        )
        expected = x_FV + attended @ layer.proj_out.weight[..., 0].T + layer.proj_out.bias
        torch.testing.assert_close(out[group, :, place], expected, rtol=1e-10, atol=1e-10)


def test_spatial_attention_is_its_definition() -> None:
    layer = shaken(SpatialAttention(32))
    x_GFPV = noise(2, 4, 9, 32)
    x_NV = x_GFPV[1].flatten(0, 1)
    normed = F.group_norm(x_NV.T[None], 32, layer.norm.weight, layer.norm.bias, 1e-6)[0].T[9:18]
    q, k, v = (normed @ p.weight.flatten(1).T + p.bias for p in (layer.q, layer.k, layer.v))
    attended = (q @ k.T * 32**-0.5).softmax(-1) @ v
    expected = x_GFPV[1, 1] + attended @ layer.proj_out.weight.flatten(1).T + layer.proj_out.bias
    torch.testing.assert_close(layer(x_GFPV)[1, 1], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("frames", [2, 4, 8])
def test_halving_is_a_convolution_with_repeated_edges(frames: int) -> None:
    layer = shaken(Halving(32, side=3))
    x_GFPV = noise(2, frames, 9, 32)
    image = x_GFPV.unflatten(2, (3, 3)).permute(0, 4, 1, 2, 3)
    padded = F.pad(image, (1, 1, 1, 1, 1, 0), mode="replicate")
    expected = F.conv3d(padded, layer.conv.weight, layer.conv.bias, stride=(2, 1, 1))
    out_GFPV = layer(x_GFPV)
    assert out_GFPV.shape == (2, frames // 2, 9, 32)
    torch.testing.assert_close(out_GFPV.unflatten(2, (3, 3)).permute(0, 4, 1, 2, 3), expected)


@pytest.mark.parametrize("frames", [2, 4, 8])
def test_the_memory_view_reads_the_buffer_as_channels_by_time(frames: int) -> None:
    patches_GFPV = noise(3, frames, 4, 32)
    buffer_GFVP = patches_GFPV.transpose(2, 3).contiguous()
    expected_GVFP = buffer_GFVP.view(3, 32, frames, 4)
    assert torch.equal(memory_view(patches_GFPV), expected_GVFP.permute(0, 2, 3, 1))


def test_identical_frames_are_mixed_by_the_published_layout_alone() -> None:
    patches_GFPV = noise(1, 1, 4, 32).expand(1, 4, 4, 32)
    assert not torch.equal(memory_view(patches_GFPV), patches_GFPV)
    single = memory_view(noise(2, 1, 4, 32))
    assert torch.equal(single, noise(2, 1, 4, 32))  # one frame has nothing to be mixed with


@pytest.mark.parametrize(("frames", "layers"), [(1, 1), (2, 3), (4, 6), (8, 9)])
def test_rounds_follow_the_frames(frames: int, layers: int) -> None:
    synthesis = Synthesis(32, frames=frames, side=3)
    assert len(synthesis.encoder) == layers
    assert synthesis(torch.randn(2, frames, 9, 32)).shape == (2, 9, 32)


def test_temporal_attention_starts_as_the_identity() -> None:
    x_GFPV = torch.randn(2, 4, 9, 32)
    assert torch.equal(TemporalAttention(32, transposed_key=False)(x_GFPV), x_GFPV)


def test_frames_are_told_apart() -> None:
    synthesis = Synthesis(32, frames=4, side=2).requires_grad_(False)
    x_GFPV = torch.randn(1, 4, 4, 32)
    assert not torch.allclose(synthesis(x_GFPV), synthesis(x_GFPV.flip(1)), atol=1e-3)


def test_bfloat16_stays_near() -> None:
    torch.manual_seed(0)
    compressor = build(DTSConfig(), vision_width=64, grid=4, llm_width=32).requires_grad_(False)
    patches_FPV = torch.randn(8, 16, 64)
    exact = compressor(patches_FPV)
    rough = compressor.bfloat16()(patches_FPV.bfloat16())
    assert rough.dtype is torch.bfloat16
    assert (rough.float() - exact).norm() < 0.03 * exact.norm()


def test_a_width_that_32_does_not_divide_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        build(DTSConfig(), vision_width=100, grid=4, llm_width=32)
    assert str(caught.value) == (
        "vision.width=100 does not suit compressor=dts: its norms have 32 groups.\n"
        "  allowed: multiples of 32\n  e.g.  vision.width=128"
    )


def test_true_size() -> None:
    values = yaml.safe_load((CONF / "dts_published.yaml").read_text())
    with torch.device("meta"):
        compressor = build(
            schema_of(values["_target_"])(**values), vision_width=1152, grid=27, llm_width=3584
        )
    assert sum(p.numel() for p in compressor.dts.parameters()) == 93_526_272
    assert sum(p.numel() for p in compressor.projector.parameters()) == 16_980_992
    assert (compressor.ratio, compressor.frames_per_group, compressor.tokens_per_group) == (16, 4, 144)
