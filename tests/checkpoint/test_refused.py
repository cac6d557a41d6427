"""What a folder of weights may not be: each is refused with both numbers and what to do."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vxl
from tests.checkpoint.published.folders import TOWER, config_json, publish, weights
from vxl.checkpoint.convert import export_weights, import_weights
from vxl.checkpoint.published.family import HEAD
from vxl.errors import CheckpointError, ConfigError

Change = Callable[[dict[str, Tensor]], None]


def refusal(source: Path) -> str:
    """What `vxl import` and `vxl.load` say, which is the same; nothing is written."""
    out = source.with_name("out")
    with pytest.raises(CheckpointError) as imported:
        import_weights(source, out)
    assert not out.exists()
    with pytest.raises(CheckpointError) as loaded:
        vxl.load(source, device="cpu")
    assert str(loaded.value) == str(imported.value)
    return str(imported.value)


def changed(folder: Path, change: Change, name: str = "video_xl_2", shards: int = 1) -> Path:
    tensors = weights(name)
    change(tensors)
    return publish(folder, tensors, config=config_json(name), shards=shards)


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_a_missing_shard(tmp_path: Path, ending: str) -> None:
    source = publish(tmp_path / "in", shards=4, ending=ending)
    stem = "model" if ending == "safetensors" else "pytorch_model"
    (source / f"{stem}-00002-of-00004.{ending}").unlink()
    text = refusal(source)
    assert f"lacks 1 of the 4 shards that the index names: {stem}-00002-of-00004.{ending}" in text
    (source / f"{stem}.{ending}.index.json").unlink()
    assert f"lacks 1 of the 4 shards that their names count: {stem}-00002" in refusal(source)


def test_shards_without_an_index_are_whole_by_their_names(tmp_path: Path) -> None:
    source = publish(tmp_path / "in", shards=3)
    (source / "model.safetensors.index.json").unlink()
    import_weights(source, tmp_path / "out")


def test_an_index_that_lies(tmp_path: Path) -> None:
    source = publish(tmp_path / "in", shards=2)
    index = json.loads((source / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.more.weight"] = "model-00001-of-00002.safetensors"
    moved = "model.norm.weight"
    index["weight_map"][moved] = "model-00001-of-00002.safetensors"
    del index["weight_map"]["lm_head.weight"]
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    text = refusal(source)
    assert "the index lists 121 tensors, the shards hold 121, and " in text
    assert "model.more.weight: not in model-00001-of-00002.safetensors, as the index says" in text
    assert "lm_head.weight: in model-00001-of-00002.safetensors, not in the index" in text


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/weights.safetensors"])
def test_an_index_that_points_outside(tmp_path: Path, name: str) -> None:
    source = publish(tmp_path / "in", shards=2)
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    assert "which is outside the folder" in refusal(source)


def test_a_cut_file(tmp_path: Path) -> None:
    source = publish(tmp_path / "in")
    file = source / "model.safetensors"
    length = file.stat().st_size
    os.truncate(file, length - 1000)
    assert f"expected: {length:,} bytes, got {length - 1000:,}" in refusal(source)
    os.truncate(file, 4)
    assert "it has 4 bytes" in refusal(source)


def test_a_cut_pickle(tmp_path: Path) -> None:
    source = publish(tmp_path / "in", ending="bin")
    os.truncate(source / "pytorch_model.bin", 5000)
    assert "pytorch_model.bin can't be read" in refusal(source)


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harmed",)


def test_a_pickle_that_would_execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = publish(tmp_path / "in", ending="bin")
    torch.save(weights() | {"x": Harm()}, source / "pytorch_model.bin")
    text = refusal(source)
    assert "was not opened, since it could execute code" in text
    assert "it calls posix.mkdir" in text
    torch.save({"encoder.0.q.weight": Harm()}, tmp_path / "dts.pth")
    with pytest.raises(CheckpointError, match="could execute code"):
        import_weights(tmp_path / "dts.pth", tmp_path / "out")
    assert not (tmp_path / "harmed").exists()


def test_a_pickle_of_other_things(tmp_path: Path) -> None:
    source = publish(tmp_path / "in", ending="bin")
    torch.save(weights() | {"step": 3}, source / "pytorch_model.bin")
    assert "holds 1 things that are no tensors: step" in refusal(source)
    torch.save([torch.ones(2)], source / "pytorch_model.bin")
    assert "it holds a list, not a dict of tensors" in refusal(source)


def test_missing_and_unknown_tensors(tmp_path: Path) -> None:
    def lose(tensors: dict[str, Tensor]) -> None:
        del tensors["model.sae.encoder.4.qkv.weight"], tensors["model.layers.1.input_layernorm.weight"]

    text = refusal(changed(tmp_path / "a" / "in", lose))
    assert "117 of 119 tensors are there, 0 are unknown, 0 have another shape" in text
    assert "missing: model.sae.encoder.4.qkv.weight [192, 64, 1]" in text
    assert "missing: model.layers.1.input_layernorm.weight [96]" in text
    more = {"model.vision_resampler.x": torch.ones(1), "model.image_newline": torch.ones(96)}
    text = refusal(changed(tmp_path / "b" / "in", lambda tensors: tensors.update(more)))
    assert "Video-XL-2, but 2 of its 123 tensors are none of that model's" in text
    assert "model.image_newline" in text
    more = {"model.sae.encoder.6.weight": torch.ones(1)}
    text = refusal(changed(tmp_path / "c" / "in", lambda tensors: tensors.update(more)))
    assert "119 of 119 tensors are there, 1 are unknown" in text
    assert "unknown: model.sae.encoder.6.weight" in text


def test_a_missing_head_that_is_not_tied(tmp_path: Path) -> None:
    text = refusal(changed(tmp_path / "in", lambda tensors: tensors.pop(HEAD)))
    assert "missing: lm_head.weight [512, 96]" in text


def test_a_tensor_that_says_the_sizes(tmp_path: Path) -> None:
    name = f"{TOWER}embeddings.patch_embedding.weight"
    text = refusal(changed(tmp_path / "in", lambda tensors: tensors.pop(name)))
    assert f"lacks {name}, which says how large the model is.\n  it holds 120 tensors" in text


def test_wrong_shapes(tmp_path: Path) -> None:
    def stretch(tensors: dict[str, Tensor]) -> None:
        tensors["model.mm_projector.2.weight"] = torch.ones(96, 95)
        tensors["model.sae.encoder.0.q.weight"] = torch.ones(64, 64)

    text = refusal(changed(tmp_path / "a" / "in", stretch))
    assert "wrong shape: model.mm_projector.2.weight is [96, 95], expected [96, 96]" in text
    assert "wrong shape: model.sae.encoder.0.q.weight is [64, 64], expected [64, 64, 1, 1, 1]" in text
    table = {"model.embed_tokens.weight": torch.ones(511, 96)}
    text = refusal(changed(tmp_path / "b" / "in", lambda tensors: tensors.update(table)))
    assert "vocab_size is 512 in config.json, 511 in the tensors: llm.vocab=511" in text
    flat = {f"{TOWER}embeddings.patch_embedding.weight": torch.ones(64, 588)}
    text = refusal(changed(tmp_path / "c" / "in", lambda tensors: tensors.update(flat)))
    assert "expected: 4 axes, got 2" in text


def test_a_last_layer_that_is_missing_whole(tmp_path: Path) -> None:
    def shorten(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith("model.layers.2.")]:
            del tensors[name]

    source = changed(tmp_path / "in", shorten)
    assert "num_hidden_layers is 3 in config.json, 2 in the tensors: llm.layers=2" in refusal(source)
    assert vxl.load(source, device="cpu", overrides=["llm.layers=2"]).model.llm.layers == 2


def test_heads_that_do_not_divide(tmp_path: Path) -> None:
    source = publish(tmp_path / "in", config=config_json(num_attention_heads=5))
    assert "5 heads do not divide 96 rows of q_proj and 48 of k_proj" in refusal(source)


def test_unknown_heads_of_the_tower(tmp_path: Path) -> None:
    config = config_json()
    del config["vision_config"]["num_attention_heads"]
    source = publish(tmp_path / "in", config=config)
    text = refusal(source)
    assert (
        "64 is no width that is known for it.\n  known: 1152: 16, 1024: 16\n  say it:  vision.heads=" in text
    )
    assert vxl.load(source, device="cpu", overrides=["vision.heads=8"]).config.vision.heads == 8


def test_beacons_of_other_projections_are_unknown(tmp_path: Path) -> None:
    tensors = weights("video_xl") | {"model.layers.0.mlp.beacon_gate_proj.weight": torch.ones(192, 96)}
    text = refusal(publish(tmp_path / "in", tensors, config=config_json("video_xl")))
    assert "1 are unknown" in text
    assert "unknown: model.layers.0.mlp.beacon_gate_proj.weight" in text


def test_unknown_families(tmp_path: Path) -> None:
    only = {name: value for name, value in weights().items() if name.startswith("model.layers.")}
    text = refusal(publish(tmp_path / "a" / "in", only))
    assert f"holds {len(only)} tensors of no model that vxl knows.\n  they begin with: model.layers" in text
    assert "llm.weights=PATH" in text
    text = refusal(publish(tmp_path / "b" / "in", {"blocks.0.w": torch.ones(1)}))
    assert "they begin with: blocks.0" in text
    assert "Video-XL-2: BAAI/Video-XL-2" in text


def test_a_lora_adapter(tmp_path: Path) -> None:
    adapter = {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 2)}
    source = publish(tmp_path / "a" / "in", adapter)
    (source / "adapter_config.json").write_text('{"base_model_name_or_path": "BAAI/Video-XL-2"}')
    (source / "model.safetensors").rename(source / "adapter_model.safetensors")
    (source / "config.json").unlink()
    text = refusal(source)
    assert "is a LoRA adapter" in text
    assert "its base: BAAI/Video-XL-2" in text
    assert "merge_and_unload" in text
    assert "is a LoRA adapter: 1 tensors" in refusal(publish(tmp_path / "b" / "in", adapter | weights()))


def test_folders_without_weights(tmp_path: Path) -> None:
    source = publish(tmp_path / "in")
    (source / "model.safetensors").unlink()
    assert "holds no weights" in refusal(source)
    (source / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="no such folder"):
        import_weights(tmp_path / "nowhere", tmp_path / "out")


def test_config_json_that_is_none(tmp_path: Path) -> None:
    source = publish(tmp_path / "in")
    (source / "config.json").write_text("{")
    assert "config.json is not JSON" in refusal(source)
    (source / "config.json").write_text("[]")
    assert "config.json holds a list" in refusal(source)


def test_a_vxl_folder_that_lost_or_changed_a_part(tmp_path: Path) -> None:
    import_weights(publish(tmp_path / "in"), tmp_path / "a")
    (tmp_path / "a" / "compressor.safetensors").unlink()
    for use in (lambda: vxl.load(tmp_path / "a", device="cpu"), lambda: export_weights(
        str(tmp_path / "a"), tmp_path / "out"
    )):  # fmt: skip
        with pytest.raises(
            CheckpointError, match=r"74 of 119 tensors are there(.|\n)*missing: model\.mm_proj"
        ):
            use()
    with pytest.raises(CheckpointError, match="is a vxl folder already"):
        import_weights(tmp_path / "a", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_override_that_names_nothing(tmp_path: Path) -> None:
    source = publish(tmp_path / "in")
    with pytest.raises(ConfigError, match=r"there is no key vision\.head\.\n  did you mean vision\.heads"):
        vxl.load(source, overrides=["vision.head=4"])
