import json
from pathlib import Path

import pytest
import torch
import yaml

import vxl
from tests.checkpoint.published.folders import TOWER, config_json, files, publish, same_bits, weights
from vxl.checkpoint.convert import export_weights, import_weights
from vxl.checkpoint.layouts import is_published
from vxl.checkpoint.open_weights import open_weights
from vxl.checkpoint.published.family import DRAWS
from vxl.cli.main import main
from vxl.data.batch.tokenizer import save_tokenizer, train_tokenizer
from vxl.errors import CheckpointError

LAYOUTS = [
    ("video_xl_2", 1),
    ("video_xl_2", 3),
    ("video_xl_pro", 2),
    ("video_xl_pro_march", 2),
    ("video_xl", 1),
    ("video_xl", 3),
]
ENDINGS = pytest.mark.parametrize("ending", ["safetensors", "bin"])


def in_all_types() -> dict[str, torch.Tensor]:
    """Weights of several precisions, with values that only a copy of the bits keeps."""
    tensors = weights()
    tensors["model.norm.weight"][:3] = torch.tensor([float("nan"), -0.0, float("inf")])
    for number, name in enumerate(tensors):
        tensors[name] = tensors[name].to([torch.float32, torch.bfloat16, torch.float16][number % 3])
    return tensors


@pytest.mark.parametrize(("name", "shards"), LAYOUTS)
@ENDINGS
def test_there_and_back_every_tensor_is_bit_identical(
    tmp_path: Path, name: str, shards: int, ending: str
) -> None:
    tensors = in_all_types() if name == "video_xl_2" else weights(name)
    source = publish(tmp_path / "in", tensors, shards=shards, ending=ending, config=config_json(name))
    import_weights(source, tmp_path / "vxl")
    export_weights(str(tmp_path / "vxl"), tmp_path / "back")
    back = files(tmp_path / "back")
    stem = "model.safetensors" if shards == 1 else "model-{:05d}-of-{:05d}.safetensors"
    assert list(back) == [stem.format(i, shards) for i in range(1, shards + 1)]
    names = sorted(tensors)
    cuts = [len(names) * i // shards for i in range(shards + 1)]
    for i, held in enumerate(back.values()):
        assert sorted(held) == names[cuts[i] : cuts[i + 1]]
        for key, value in held.items():
            assert same_bits(value, tensors[key]), key
    for file in ("config.json", "generation_config.json"):
        assert (tmp_path / "back" / file).read_bytes() == (source / file).read_bytes()
    if shards > 1:
        there = json.loads((source / f"{'model' if ending == 'safetensors' else 'pytorch_model'}"
                            f".{ending}.index.json").read_text())  # fmt: skip
        here = json.loads((tmp_path / "back" / "model.safetensors.index.json").read_text())
        assert here["metadata"] == there["metadata"]
        assert here["weight_map"].keys() == there["weight_map"].keys()


@pytest.mark.parametrize("shards", [1, 2])
def test_the_row_that_the_published_loader_adds_is_no_token_and_comes_back(
    tmp_path: Path, shards: int
) -> None:
    tensors = weights("video_xl")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[name] = torch.cat([tensors[name], torch.full((1, 96), 7.0)])
    source = publish(tmp_path / "in", tensors, shards=shards, config=config_json("video_xl", vocab_size=513))
    import_weights(source, tmp_path / "vxl")
    for place in (source, tmp_path / "vxl"):
        llm = vxl.load(place, device="cpu").model.llm
        assert llm.vocab == 512
        assert torch.equal(llm.causal_lm.lm_head.weight, weights("video_xl")["lm_head.weight"])
    export_weights(str(tmp_path / "vxl"), tmp_path / "back")
    back = {name: value for held in files(tmp_path / "back").values() for name, value in held.items()}
    assert back.keys() == tensors.keys()
    assert all(same_bits(back[name], value) for name, value in tensors.items())


def test_video_xls_settings_come_from_the_tensors_and_config(tmp_path: Path) -> None:
    config = config_json("video_xl", mm_vision_select_layer=-2, beacon_ratio=[2, 4])
    values = open_weights(publish(tmp_path / "in", weights("video_xl"), config=config)).values
    assert values["vision"]["layers"] == 2
    assert values["vision"]["size"] == 56
    assert {"ratio": 4, "window": 48, "projections": ["q", "k", "v"], "published_partial": True}.items() <= (
        values["kv"].items()
    )
    assert values["prompt"]["time_text"] is None
    march = open_weights(
        publish(tmp_path / "march", weights("video_xl_pro_march"), config=config_json("video_xl_pro_march"))
    ).values
    assert {"score": "token", "keep": 1.0, "tokens": 9600}.items() <= march["selector"].items()
    assert march["kv"]["ratio"] == 8


def test_a_model_with_beacons_that_was_never_published_has_the_published_layout(tmp_path: Path) -> None:
    source = publish(tmp_path / "in", weights("video_xl"), config=config_json("video_xl"))
    import_weights(source, tmp_path / "vxl")
    (tmp_path / "vxl" / "published.json").unlink()
    for file in (tmp_path / "vxl" / "published").iterdir():
        file.unlink()
    export_weights(str(tmp_path / "vxl"), tmp_path / "back")
    back = files(tmp_path / "back")["model.safetensors"]
    assert back.keys() == weights("video_xl").keys()
    again = open_weights(tmp_path / "back")
    assert again.record is not None
    assert again.record.family == "videoxl"
    assert (again.values["kv"]["window"], again.values["kv"]["ratio"]) == (48, 8)


def test_exported_files_open_in_transformers_form(tmp_path: Path) -> None:
    from safetensors import safe_open

    import_weights(publish(tmp_path / "in"), tmp_path / "vxl")
    export_weights(str(tmp_path / "vxl"), tmp_path / "back")
    with safe_open(tmp_path / "back" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_vxl_folder_has_a_file_a_part(tmp_path: Path) -> None:
    source = publish(tmp_path / "in", weights("video_xl_pro"), config=config_json("video_xl_pro"))
    save_tokenizer(train_tokenizer(["a b c"] * 4, 300), tmp_path / "tokenizer")
    for file in (tmp_path / "tokenizer").iterdir():
        file.rename(source / file.name)
    import_weights(source, tmp_path / "vxl")
    held = files(tmp_path / "vxl")
    assert sorted(held) == [
        f"{part}.safetensors" for part in ("compressor", "llm", "selector", "unused", "vision")
    ]
    for part in ("vision", "compressor", "selector", "llm"):
        assert all(name.startswith(f"{part}.") for name in held[f"{part}.safetensors"])
    assert sorted(held["unused.safetensors"]) == [
        f"{TOWER}post_layernorm.bias",
        f"{TOWER}post_layernorm.weight",
    ]
    assert len(vxl.load(tmp_path / "vxl", device="cpu").tokenizer) == 300
    export_weights(str(tmp_path / "vxl"), tmp_path / "back")
    assert (tmp_path / "back" / "tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()


def test_published_quirks_are_on(tmp_path: Path) -> None:
    for name in ("video_xl_2", "video_xl_pro"):
        import_weights(
            publish(tmp_path / f"{name}-in", weights(name), config=config_json(name)), tmp_path / name
        )
        values = yaml.safe_load((tmp_path / name / "resolved.yaml").read_text())
        compressor = values["compressor"]
        assert compressor["published_layout"]
        assert compressor["published_relative_key"]
        assert (compressor["grid"], compressor["temporal"], compressor["ratio"]) == (24, 4, 16)
        prompt, selector = values["prompt"], values["selector"]
        is_pro = name == "video_xl_pro"
        assert prompt["published_two_newlines"] is not is_pro
        assert prompt["published_supervised_special"] is not is_pro
        assert prompt["published_time_rewrite"] is not is_pro
        assert selector["_target_"].endswith("Query" if is_pro else "KeepAll")
        assert prompt["published_image_time"] is is_pro
        assert prompt["images"]["published_no_base"]
        assert prompt["images"]["side"] == 6
        if is_pro:
            assert selector["published_query"]
            assert selector["published_random_keep"]
            assert selector["keep"] is None
            assert prompt["time_text"].format(seconds=4) == "Time 0004.0s:"


def test_sizes_come_from_the_tensors_and_constants_from_config(tmp_path: Path) -> None:
    config = config_json(rope_theta=5e5, rms_norm_eps=1e-5, max_position_embeddings=4096)
    values = open_weights(publish(tmp_path / "in", config=config)).values
    sizes = {"vocab": 512, "width": 96, "mlp": 192, "layers": 3, "heads": 4, "kv_heads": 2, "tied": False}
    constants = {"rope_theta": 5e5, "norm_eps": 1e-5, "max_positions": 4096, "weights": "random"}
    assert (sizes | constants).items() <= values["llm"].items()
    tower = {"width": 64, "mlp": 128, "layers": 2, "heads": 4, "patch": 14, "size": 384, "weights": "random"}
    assert tower.items() <= values["vision"].items()


def test_config_of_newer_transformers_names_the_base_of_the_positions_elsewhere(tmp_path: Path) -> None:
    config = config_json(rope_parameters={"rope_type": "default", "rope_theta": 7e5})
    del config["rope_theta"]
    assert open_weights(publish(tmp_path / "in", config=config)).values["llm"]["rope_theta"] == 7e5


@pytest.mark.parametrize("head", ["absent", "the same"])
def test_a_tied_head(tmp_path: Path, head: str) -> None:
    tensors = weights()
    if head == "absent":
        del tensors["lm_head.weight"]
    else:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    source = publish(tmp_path / "in", tensors, config=config_json(tie_word_embeddings=True), shards=2)
    import_weights(source, tmp_path / "vxl")
    assert "llm.causal_lm.lm_head.weight" not in files(tmp_path / "vxl")["llm.safetensors"]
    for place in (source, tmp_path / "vxl"):
        lm = vxl.load(place, device="cpu").model.llm.causal_lm
        assert lm.lm_head.weight is lm.model.embed_tokens.weight
        assert torch.equal(lm.lm_head.weight, tensors["model.embed_tokens.weight"])
    export_weights(str(tmp_path / "vxl"), tmp_path / "back")
    back = {name: value for held in files(tmp_path / "back").values() for name, value in held.items()}
    assert back.keys() == tensors.keys()
    assert all(same_bits(value, tensors[name]) for name, value in back.items())


def test_a_head_that_is_said_to_be_tied_and_is_not(tmp_path: Path) -> None:
    source = publish(tmp_path / "in", config=config_json(tie_word_embeddings=True))
    with pytest.raises(CheckpointError, match=r"ties lm_head.weight .*differ\.\n  use both:  llm.tied=false"):
        open_weights(source)
    loaded = vxl.load(source, overrides=["llm.tied=false"], device="cpu")
    assert torch.equal(loaded.model.llm.causal_lm.lm_head.weight, weights()["lm_head.weight"])


def test_tensors_without_a_use_are_kept_for_the_way_back(tmp_path: Path) -> None:
    tensors = weights() | {
        "model.text_mlp.0.weight": torch.ones(96, 96),
        "model.text_mlp.0.bias": torch.ones(96),
        f"{TOWER}embeddings.position_ids": torch.arange(729)[None],
    }
    import_weights(publish(tmp_path / "in", tensors), tmp_path / "vxl")
    assert len(files(tmp_path / "vxl")["unused.safetensors"]) == 5
    export_weights(str(tmp_path / "vxl"), tmp_path / "back")
    back = files(tmp_path / "back")["model.safetensors"]
    assert all(same_bits(back[name], value) for name, value in tensors.items())
    assert back.keys() == tensors.keys()


def test_layers_of_the_tower_beyond_those_that_are_run_are_kept_aside(tmp_path: Path) -> None:
    weights_of = open_weights(publish(tmp_path / "in"), ["vision.layers=1"])
    assert len(weights_of.unused) == 2 + 16
    assert not any("layers.1." in name for name in weights_of.tensors if name.startswith("vision."))


def test_the_authors_path_of_the_tower_is_not_looked_at(tmp_path: Path) -> None:
    source = publish(tmp_path / "in", config=config_json(mm_vision_tower="/nowhere/at/all"))
    assert vxl.load(source, device="cpu").config.vision.weights == "random"


def test_a_folder_without_config_json_says_what_it_needs(tmp_path: Path) -> None:
    source = publish(tmp_path / "in")
    (source / "config.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"does not say how many heads the tower has(.|\n)*vision\.heads="
    ):
        open_weights(source)
    with pytest.raises(CheckpointError, match=r"heads the language model has.*\n.*\n.*llm\.heads=NUMBER"):
        open_weights(source, ["vision.heads=4"])
    values = open_weights(source, ["vision.heads=4", "llm.heads=4"]).values
    assert (values["vision"]["heads"], values["llm"]["heads"], values["llm"]["kv_heads"]) == (4, 4, 2)


def test_pickles_in_the_format_of_old_releases(tmp_path: Path) -> None:
    source = publish(tmp_path / "in", ending="bin")
    torch.save(weights(), source / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    import_weights(source, tmp_path / "vxl")
    export_weights(str(tmp_path / "vxl"), tmp_path / "back")
    back = files(tmp_path / "back")["model.safetensors"]
    assert all(same_bits(back[name], value) for name, value in weights().items())


def test_a_single_file_of_another_name(tmp_path: Path) -> None:
    source = publish(tmp_path / "in")
    (source / "model.safetensors").rename(source / "weights.safetensors")
    import_weights(source, tmp_path / "vxl")
    export_weights(str(tmp_path / "vxl"), tmp_path / "back")
    assert list(files(tmp_path / "back")) == ["weights.safetensors"]


def test_nothing_is_left_of_an_import_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **settings: object) -> None:
        raise OSError(28, "No space left on device")

    source = publish(tmp_path / "in")
    monkeypatch.setattr("vxl.weights.inside.shutil.copyfile", full)
    with pytest.raises(CheckpointError, match="can't be written: the disk is full"):
        import_weights(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    source = publish(tmp_path / "in")
    with pytest.raises(CheckpointError, match="in exists; nothing was written"):
        import_weights(source, source)
    assert is_published(source)


@pytest.mark.parametrize(
    "wrapper", ["module.", "base_model.model.", "_orig_mod.", "model.language_model.", "module._orig_mod."]
)
def test_what_a_wrapper_puts_in_front_of_all_names_is_left_out(tmp_path: Path, wrapper: str) -> None:
    wrapped = {f"{wrapper}{name}": value for name, value in weights().items()}
    found = open_weights(publish(tmp_path / "in", wrapped, shards=2))
    plain = open_weights(publish(tmp_path / "plain"))
    assert found.tensors.keys() == plain.tensors.keys()
    assert all(same_bits(found.tensors[name].read(), plain.tensors[name].read()) for name in found.tensors)
    import_weights(tmp_path / "in", tmp_path / "vxl")
    export_weights(str(tmp_path / "vxl"), tmp_path / "back")
    assert {name for held in files(tmp_path / "back").values() for name in held} == weights().keys()


def test_a_checkpoint_of_deepspeed_says_how_to_join_it(tmp_path: Path) -> None:
    (tmp_path / "in/global_step100").mkdir(parents=True)
    (tmp_path / "in/config.json").write_text("{}")
    (tmp_path / "in/zero_to_fp32.py").write_text("")
    with pytest.raises(CheckpointError, match=r"DeepSpeed[\s\S]*python zero_to_fp32\.py"):
        import_weights(tmp_path / "in", tmp_path / "vxl")


def test_weights_without_their_frozen_tower_say_where_it_comes_from(tmp_path: Path) -> None:
    without = {name: value for name, value in weights().items() if not name.startswith(TOWER)}
    with pytest.raises(CheckpointError, match=r"lacks the vision tower[\s\S]*siglip-so400m-patch14-384"):
        import_weights(publish(tmp_path / "in", without), tmp_path / "vxl")


def test_a_folder_keeps_its_whole_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "Video-XL-2.5")
    monkeypatch.chdir(tmp_path)
    main(["import", "Video-XL-2.5/"])
    assert (tmp_path / "Video-XL-2.5-vxl/llm.safetensors").exists()


@pytest.mark.parametrize("draw", DRAWS)
def test_how_a_ratio_is_drawn_goes_there_and_back(tmp_path: Path, draw: str) -> None:
    source = publish(tmp_path / "in", weights("video_xl"), config=config_json("video_xl"))
    import_weights(source, tmp_path / "vxl")
    (tmp_path / "vxl/published.json").unlink()
    for file in (tmp_path / "vxl/published").iterdir():
        file.unlink()
    resolved = tmp_path / "vxl/resolved.yaml"
    values = yaml.safe_load(resolved.read_text())
    values["kv"]["draw"] = draw
    resolved.write_text(yaml.safe_dump(values))
    export_weights(str(tmp_path / "vxl"), tmp_path / "back")
    said = json.loads((tmp_path / "back/config.json").read_text())["beacon_ratio_mix"]
    assert (
        said
        == {
            "window": "step-random",
            "sample": "instance-random",
            "sequence": "sequence",
            "adapt": "adapt-1024",
        }[draw]
    )
    assert open_weights(tmp_path / "back").values["kv"]["draw"] == draw
