"""The towers against `transformers`: same numbers from the same checkpoint, whatever file layout it has."""

import os
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from vxl.errors import CheckpointError
from vxl.video.transform import normalise
from vxl.vision.clip import ClipConfig, ClipTower
from vxl.vision.dinov2 import Dinov2, Dinov2Config
from vxl.vision.siglip import Siglip, SiglipConfig

SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "patch_size": 14}
OURS = {"width": 64, "heads": 4, "size": 56, "layers": 3}


def frames(size: int = 56) -> Tensor:
    return torch.randint(0, 256, (5, 3, size, size), dtype=torch.uint8, generator=torch.manual_seed(0))


def shaken(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """The model with every parameter off its initial value, so that biases, scales and norms count."""
    generator = torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def siglip() -> transformers.SiglipVisionModel:
    config = transformers.SiglipVisionConfig(intermediate_size=128, image_size=56, **SIZES)
    return shaken(transformers.SiglipVisionModel(config))


def clip() -> transformers.CLIPVisionModel:
    config = transformers.CLIPVisionConfig(intermediate_size=128, image_size=56, **SIZES)
    return shaken(transformers.CLIPVisionModel(config))


def hidden_states(model: transformers.PreTrainedModel, pixels_FCHW: Tensor) -> list[Tensor]:
    """The raw output of every block, recorded by hooks: `output_hidden_states` may norm the last one."""
    states: list[Tensor] = []
    blocks = [
        module for name, module in model.named_modules() if name.rpartition(".")[0].endswith("encoder.layers")
    ]
    hooks = [
        block.register_forward_hook(
            lambda _m, _i, out: states.append(out[0] if isinstance(out, tuple) else out)
        )
        for block in blocks
    ]
    with torch.no_grad():
        model(pixels_FCHW)
    for hook in hooks:
        hook.remove()
    return states


@pytest.mark.parametrize("layers", [2, 3])
def test_siglip_gives_the_raw_output_of_its_last_block(tmp_path: Path, layers: int) -> None:
    theirs = siglip()
    theirs.save_pretrained(tmp_path)
    tower = Siglip(SiglipConfig(**(OURS | {"layers": layers}), mlp=128, weights=str(tmp_path)))
    tower.load_pretrained()
    expected = hidden_states(theirs, normalise(frames(), tower.pixels))[layers - 1]
    torch.testing.assert_close(tower(frames()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("layers", "keep_class"), [(3, False), (2, False), (2, True)])
def test_clip_gives_the_selected_layer(tmp_path: Path, layers: int, keep_class: bool) -> None:
    theirs = clip()
    theirs.save_pretrained(tmp_path)
    sizes = OURS | {"layers": layers}
    tower = ClipTower(ClipConfig(**sizes, mlp=128, keep_class=keep_class, weights=str(tmp_path)))
    tower.load_pretrained()
    expected = hidden_states(theirs, normalise(frames(), tower.pixels))[layers - 1]
    patches_FPV = tower(frames())
    assert patches_FPV.shape[1] == tower.patches == 16 + keep_class
    torch.testing.assert_close(patches_FPV, expected[:, not keep_class :], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [56, 84])
@pytest.mark.parametrize("registers", [0, 4])
def test_dinov2_gives_its_normed_patches_at_any_size(tmp_path: Path, size: int, registers: int) -> None:
    if registers:
        config = transformers.Dinov2WithRegistersConfig(
            image_size=56, mlp_ratio=2, num_register_tokens=registers, **SIZES
        )
        theirs = shaken(transformers.Dinov2WithRegistersModel(config))
    else:
        theirs = shaken(
            transformers.Dinov2Model(transformers.Dinov2Config(image_size=56, mlp_ratio=2, **SIZES))
        )
    theirs.save_pretrained(tmp_path)
    sizes = OURS | {"size": size}
    tower = Dinov2(Dinov2Config(**sizes, mlp=128, registers=registers, weights=str(tmp_path)))
    tower.load_pretrained()
    with torch.no_grad():
        expected = theirs(normalise(frames(size), tower.pixels)).last_hidden_state[:, 1 + registers :]
    torch.testing.assert_close(tower(frames(size)), expected, rtol=1e-4, atol=1e-5)


def test_older_names_of_dinov2_load(tmp_path: Path) -> None:
    tower = Dinov2(Dinov2Config(**OURS, mlp=128, weights=str(tmp_path)))
    published = {tower.published_name(name)[0]: value for name, value in tower.state_dict().items()}
    assert "encoder.layer.0.attention.attention.query.weight" in published
    torch.save(published, tmp_path / "pytorch_model.bin")
    other = Dinov2(Dinov2Config(**OURS, mlp=128, weights=str(tmp_path)))
    other.load_pretrained()
    assert torch.equal(other(frames()), tower(frames()))


def test_weights_beside_a_text_tower_and_in_shards_load(tmp_path: Path) -> None:
    text = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 32}
    vision = SIZES | {"intermediate_size": 128, "image_size": 56}
    whole = shaken(
        transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
    )
    whole.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    tower = Siglip(SiglipConfig(**OURS, mlp=128, weights=str(tmp_path)))
    tower.load_pretrained()
    expected = hidden_states(whole.vision_model, normalise(frames(), tower.pixels))[-1]
    torch.testing.assert_close(tower(frames()), expected, rtol=1e-4, atol=1e-5)


def test_a_lost_shard_is_named(tmp_path: Path) -> None:
    siglip().save_pretrained(tmp_path, max_shard_size="200KB")
    lost = sorted(tmp_path.glob("*.safetensors"))[0]
    lost.unlink()
    tower = Siglip(SiglipConfig(**OURS, mlp=128, weights=str(tmp_path)))
    with pytest.raises(CheckpointError, match=f"lacks {lost.name}"):
        tower.load_pretrained()


def test_missing_blocks_are_listed(tmp_path: Path) -> None:
    siglip().save_pretrained(tmp_path)
    tower = Siglip(SiglipConfig(**(OURS | {"layers": 4}), mlp=128, weights=str(tmp_path)))
    with pytest.raises(CheckpointError, match=r"lacks 16 of 67 tensors: encoder.layers.3.layer_norm1.weight"):
        tower.load_pretrained()


def test_other_shapes_are_listed_with_both(tmp_path: Path) -> None:
    siglip().save_pretrained(tmp_path)
    before = Siglip(SiglipConfig(**OURS, mlp=96, weights=str(tmp_path)))
    with pytest.raises(CheckpointError, match=r"mlp.fc1.weight: \(128, 64\), expected \(96, 64\)"):
        before.load_pretrained()


def test_an_absent_checkpoint_says_what_to_type() -> None:
    tower = Siglip(SiglipConfig(**OURS, mlp=128, weights="no/such-tower"))
    with pytest.raises(CheckpointError, match=r"vision\.weights=no/such-tower is no checkpoint") as caught:
        tower.load_pretrained()
    assert "vision.weights=PATH" in str(caught.value)
    assert "vision.weights=random" in str(caught.value)


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harmed",)


def test_a_pickle_that_would_execute_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Harm()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"could execute code: it calls posix\.mkdir"):
        Siglip(SiglipConfig(**OURS, mlp=128, weights=str(tmp_path))).load_pretrained()
    assert not (tmp_path / "harmed").exists()
