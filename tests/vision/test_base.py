"""What holds for every tower: sizes, slices, dtypes, and frames that do not fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vxl.errors import ConfigError, DataError
from vxl.option.build import build
from vxl.option.schema import schema_of
from vxl.vision.base import VisionEncoder
from vxl.vision.clip import ClipConfig
from vxl.vision.dinov2 import Dinov2Config
from vxl.vision.siglip import SiglipConfig

CONF = Path(__file__).parents[2] / "conf/vision"
SIZES = {"size": 56, "width": 64, "mlp": 128, "heads": 4, "layers": 2}
CONFIGS = [SiglipConfig(**SIZES), ClipConfig(**SIZES), Dinov2Config(**SIZES, registers=4)]


class Shapes(TorchDispatchMode):
    """Collects the shapes of all tensors that operations make."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: set[torch.Size] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.shapes |= {x.shape for x in tree_leaves(out) if isinstance(x, torch.Tensor)}
        return out


def frames(number: int) -> torch.Tensor:
    return torch.randint(0, 256, (number, 3, 56, 56), dtype=torch.uint8)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
class TestEveryTower:
    def test_says_its_shape_before_it_is_built(self, config: SiglipConfig) -> None:
        tower: VisionEncoder = build(config)
        assert (config.grid, config.pixels) == (tower.grid, tower.pixels) == (4, config.pixels)
        assert tower(frames(3)).shape == (3, tower.patches, tower.width) == (3, 16, 64)

    @pytest.mark.parametrize("grad", [False, True])
    def test_slices_change_nothing(self, config: SiglipConfig, grad: bool) -> None:
        tower, sliced = build(config).double(), build(replace(config, slice=3)).double()
        sliced.load_state_dict(tower.state_dict())
        batch = frames(7)
        with torch.set_grad_enabled(grad):
            torch.testing.assert_close(sliced(batch), tower(batch), rtol=1e-12, atol=1e-12)

    @torch.no_grad()
    def test_nothing_but_the_answer_grows_with_the_video(self, config: SiglipConfig) -> None:
        tower = build(replace(config, slice=4))

        def shapes(number: int) -> set[torch.Size]:
            with Shapes() as made:
                answer = tower(frames(number))
            frame = {torch.Size((number, 3, 56, 56)), answer.shape}
            return made.shapes - frame

        assert shapes(8) == shapes(64)

    def test_gradients_reach_every_parameter(self, config: SiglipConfig) -> None:
        tower = build(config)
        tower(frames(2)).square().sum().backward()
        assert all(parameter.grad is not None for parameter in tower.parameters())

    @pytest.mark.parametrize(("share", "again"), [(0.0, 0), (0.5, 1), (1.0, 2)])
    def test_a_share_of_the_blocks_is_recomputed(
        self, config: SiglipConfig, share: float, again: int
    ) -> None:
        tower, batch = build(config).double(), frames(2)
        other = build(replace(config, checkpointing=True, recomputed=share)).double()
        other.load_state_dict(tower.state_dict())
        calls: list[str] = []
        for name, module in other.named_modules():
            if name.endswith("self_attn"):
                module.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
        for one in (tower, other):
            one(batch).square().sum().backward()
        assert sorted(calls[2:]) == calls[:again]
        for a, b in zip(tower.parameters(), other.parameters(), strict=True):
            assert a.grad is not None
            assert b.grad is not None
            assert torch.equal(a.grad, b.grad)

    def test_bfloat16_stays_near(self, config: SiglipConfig) -> None:
        tower, batch = build(config), frames(2)
        exact = tower(batch)
        rough = tower.bfloat16()(batch)
        assert rough.dtype is torch.bfloat16
        assert (rough.float() - exact).norm() < 0.02 * exact.norm()

    def test_no_frames_give_no_patches(self, config: SiglipConfig) -> None:
        assert build(config)(frames(0)).shape == (0, 16, 64)


def test_frames_of_another_size_are_refused_with_both_sizes() -> None:
    with pytest.raises(DataError) as caught:
        build(CONFIGS[0])(torch.zeros(2, 3, 64, 48, dtype=torch.uint8))
    assert str(caught.value) == (
        "the vision tower got frames of (3, 64, 48) torch.uint8.\n"
        "  expected: (3, 56, 56) torch.uint8\n"
        "  resize them first: vxl.video.transform.resize_FCHW(frames_FCHW, vision.pixels)"
    )


def test_normalised_frames_are_refused() -> None:
    with pytest.raises(DataError, match=r"torch.float32"):
        build(CONFIGS[0])(torch.zeros(2, 3, 56, 56))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heads": 5}, "heads=5 does not divide width=64"),
        ({"patch": 57}, "patch=57 does not fit size=56"),
        ({"slice": 0}, "slice=0 encodes no frame"),
        ({"recomputed": -0.1}, "recomputed=-0.1 is no share of the blocks"),
        ({"layers": 0}, "layers=0 runs no block"),
        ({"mlp": 0}, "mlp=0 is too small"),
        ({"width": 0}, "width=0 is too small"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SiglipConfig(**(SIZES | changed))


def published(name: str) -> VisionEncoder:
    """The tower of a conf file, without memory for its weights."""
    values = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    with torch.device("meta"):
        return build(schema_of(values["_target_"])(**values))


@pytest.mark.parametrize(
    ("name", "grid", "parameters"),
    [
        # With the post_layernorm (2 x 1152) that its checkpoint carries and nobody uses: 397,747,744.
        ("siglip_so400m", 27, 397_747_744 - 2 * 1152),
        # openai/clip-vit-large-patch14-336 without its post_layernorm (2 x 1024).
        ("clip_l_336", 24, 303_507_456 - 2 * 1024),
        # facebook/dinov2-* without the mask token, and with 1 + 16 x 16 positions instead of 1 + 37 x 37.
        ("dinov2_s", 16, 22_056_576 - 384 * (1 + 37 * 37 - 16 * 16)),
        ("dinov2_b", 16, 86_580_480 - 768 * (1 + 37 * 37 - 16 * 16)),
    ],
)
def test_true_sizes(name: str, grid: int, parameters: int) -> None:
    tower = published(name)
    assert tower.grid == grid
    assert sum(parameter.numel() for parameter in tower.parameters()) == parameters
