"""Files of one part: dts.pth and a projector's .bin."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.checkpoint.published.folders import config_json, publish, weights
from tests.golden import golden
from vxl.checkpoint.convert import import_weights
from vxl.checkpoint.open_weights import open_weights
from vxl.checkpoint.resolved import model_parts
from vxl.errors import CheckpointError
from vxl.model import VideoLanguageModel, build_model
from vxl.train.warm import warm_start


def dts_pth(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    """As stage 1 leaves it: names without prefix, and the decoder that it was trained with."""
    sae = "model.sae."
    held = {key.removeprefix(sae): value for key, value in weights().items() if key.startswith(sae)}
    torch.save(held | {"decoder.0.weight": torch.ones(2)}, folder / "dts.pth")
    return folder / "dts.pth", held


def projector_bin(folder: Path, prefix: str = "") -> tuple[Path, dict[str, Tensor]]:
    held = {key: value for key, value in weights().items() if "mm_projector" in key}
    torch.save({prefix + key: value for key, value in held.items()}, folder / "mm_projector.bin")
    return folder / "mm_projector.bin", held


def random_model(folder: Path) -> VideoLanguageModel:
    return build_model(model_parts(open_weights(publish(folder)).values), seed=3)


@pytest.mark.parametrize("part", [None, "compressor"])
def test_a_dts_becomes_a_folder_that_starts_a_model(tmp_path: Path, part: str | None) -> None:
    file, held = dts_pth(tmp_path)
    said = import_weights(file, tmp_path / "dts", part)
    assert "the compressor, 45 tensors, 1 unused" not in said
    assert f"the compressor, {len(held)} tensors, 1 unused" in said
    written = load_file(tmp_path / "dts" / "compressor.safetensors")
    assert written.keys() == {f"compressor.dts.{name}" for name in held}
    model = random_model(tmp_path / "published")
    for start in (file, tmp_path / "dts"):
        fresh = random_model(tmp_path / f"for-{start.name}")
        report = warm_start(str(start), fresh, tmp_path)
        assert sorted(report.loaded) == sorted(written)
        assert all(torch.equal(fresh.state_dict()[name], value) for name, value in written.items())
        projector = fresh.compressor.projector.state_dict()
        untouched = model.compressor.projector.state_dict()
        assert all(torch.equal(value, untouched[name]) for name, value in projector.items())


@pytest.mark.parametrize("prefix", ["", "base_model.", "module."])
def test_a_projector_whatever_stands_before_its_name(tmp_path: Path, prefix: str) -> None:
    file, held = projector_bin(tmp_path, prefix)
    import_weights(file, tmp_path / "out", "projector")
    written = load_file(tmp_path / "out" / "projector.safetensors")
    assert len(written) == len(held) == 4
    assert torch.equal(written["compressor.projector.2.bias"], held["model.mm_projector.2.bias"])
    model = random_model(tmp_path / "published")
    assert sorted(warm_start(str(tmp_path / "out"), model, tmp_path).loaded) == sorted(written)


def test_a_whole_model_starts_another_from_either_kind_of_folder(tmp_path: Path) -> None:
    source = publish(tmp_path / "in")
    import_weights(source, tmp_path / "vxl")
    for start in (source, tmp_path / "vxl"):
        model = random_model(tmp_path / f"for-{start.name}")
        report = warm_start(str(start), model, tmp_path)
        assert not report.new
        assert not report.ignored
        assert torch.equal(model.compressor.projector[0].weight, weights()["model.mm_projector.0.weight"])


def test_a_tied_head_is_not_said_to_be_new(tmp_path: Path) -> None:
    tensors = {name: value for name, value in weights().items() if name != "lm_head.weight"}
    source = publish(tmp_path / "in", tensors, config=config_json(tie_word_embeddings=True))
    model = build_model(model_parts(open_weights(source).values), seed=3)
    report = warm_start(str(source), model, tmp_path)
    assert not report.new
    assert torch.equal(model.llm.causal_lm.lm_head.weight, tensors["model.embed_tokens.weight"])


def test_a_part_that_does_not_fit_is_not_loaded_in_part(tmp_path: Path) -> None:
    file, _ = dts_pth(tmp_path)
    held = torch.load(file)
    held["encoder.4.qkv.bias"] = torch.ones(191)
    torch.save(held, file)
    model = random_model(tmp_path / "published")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        warm_start(str(file), model, tmp_path)
    assert "compressor.dts.encoder.4.qkv.bias [191] -> [192]" in str(caught.value)
    assert f"{len(held) - 2} of its {len(held) - 1} tensors fit" in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_parts_that_are_none(tmp_path: Path) -> None:
    file, _ = dts_pth(tmp_path)
    with pytest.raises(
        CheckpointError, match=r"--part vision never comes alone\.\n  allowed: compressor, proj"
    ):
        import_weights(file, tmp_path / "out", "vision")
    with pytest.raises(CheckpointError, match=r"tensors of no projector; they begin with decoder, encoder"):
        import_weights(file, tmp_path / "out", "projector")
    torch.save({"a.b": torch.ones(1)}, tmp_path / "x.bin")
    with pytest.raises(CheckpointError, match="holds 1 tensors of no part"):
        import_weights(tmp_path / "x.bin", tmp_path / "out")
    with pytest.raises(CheckpointError, match="no such file"):
        import_weights(tmp_path / "y.bin", tmp_path / "out", "projector")
    held = torch.load(file)
    del held["encoder.1.qkv.bias"]
    torch.save(held, file)
    with pytest.raises(
        CheckpointError, match=r"lacks 1 of the \d+ tensors of a compressor:\n.*encoder.1.qkv.bias"
    ):
        import_weights(file, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_dts_of_a_file_gives_the_published_numbers(tmp_path: Path) -> None:
    from tests.golden import TOLERANCE, error

    model = random_model(tmp_path / "published").double()
    for file, _ in (dts_pth(tmp_path), projector_bin(tmp_path)):
        warm_start(str(file), model, tmp_path)
    recorded = golden("video_xl_2/stages")
    visual_GKD = model.compressor(recorded["hidden_int8"].double() / 32)
    assert error(visual_GKD, recorded["visual_features"]) <= TOLERANCE[torch.float64]
