"""Values, types and stand-ins in a folder of weights that no model can have: each is refused."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vxl
from tests.checkpoint.published.folders import config_json, publish, weights
from tests.checkpoint.test_refused import changed, refusal
from vxl.checkpoint.convert import import_weights
from vxl.checkpoint.published.family import HEAD
from vxl.errors import CheckpointError, ConfigError


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        *(({"num_attention_heads": value}, "llm.heads is") for value in (0, -4, 4.5, True, [4], "four")),
        *(
            ({"rope_theta": value}, "rope_theta is")
            for value in ("big", float("nan"), float("inf"), 0, -1, [1])
        ),
        *(({"rms_norm_eps": value}, "rms_norm_eps is") for value in (float("nan"), -1e-6, True)),
        ({"max_position_embeddings": "x"}, "llm.max_positions is"),
        ({"hidden_size": "96"}, "hidden_size is '96' in config.json, 96 in the tensors"),
        ({"tie_word_embeddings": "false"}, "expected: true or false"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, r"asks for rope scaling \(yarn\)"),
        (
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e6}},
            r"asks for rope scaling \(dynamic\)",
        ),
        ({"rope_parameters": [1]}, "asks for rope scaling"),
        ({"hidden_act": "gelu"}, "asks for hidden_act=gelu"),
        ({"use_sliding_window": True}, "asks for sliding-window attention"),
    ],
)
def test_values_of_config_json_that_no_model_can_have(tmp_path: Path, changes: dict, words: str) -> None:
    source = publish(tmp_path / "in", config=config_json(**changes))
    assert re.search(words, refusal(source))


@pytest.mark.parametrize("size", ["x", [384, 384], -1])
def test_a_size_of_images_that_is_no_number(tmp_path: Path, size: object) -> None:
    config = config_json()
    config["vision_config"]["image_size"] = size
    assert "vision.size is" in refusal(publish(tmp_path / "in", config=config))


def test_what_config_json_leaves_open_is_the_familys(tmp_path: Path) -> None:
    names = ("rope_theta", "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings", "rope_scaling")
    import_weights(publish(tmp_path / "in", config=config_json(**dict.fromkeys(names))), tmp_path / "out")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn], ids=str)
def test_numbers_that_stand_for_others(tmp_path: Path, dtype: torch.dtype) -> None:
    def code(tensors: dict[str, Tensor]) -> None:
        tensors["model.layers.0.mlp.up_proj.weight"] = tensors["model.layers.0.mlp.up_proj.weight"].to(dtype)

    text = refusal(changed(tmp_path / "in", code))
    assert f"wrong type: model.layers.0.mlp.up_proj.weight is {str(dtype).removeprefix('torch.')}" in text


@pytest.mark.parametrize("like", ["meta", "sparse", "complex"])
def test_tensors_without_numbers_of_their_own(tmp_path: Path, like: str) -> None:
    source, tensors = publish(tmp_path / "in", ending="bin"), weights()
    head = tensors[HEAD]
    made = {"meta": head.to("meta"), "sparse": head.to_sparse(), "complex": head.to(torch.complex64)}[like]
    torch.save(tensors | {HEAD: made}, source / "pytorch_model.bin")
    assert HEAD in refusal(source)


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 9\n", "git lfs pull"),
        (b"<html>401 Unauthorized</html>", "a page of a server"),
        (b"", "the file is empty"),
    ],
)
def test_what_lies_in_the_place_of_weights(tmp_path: Path, ending: str, data: bytes, words: str) -> None:
    source = publish(tmp_path / "in", ending=ending)
    name = "model.safetensors" if ending == "safetensors" else "pytorch_model.bin"
    (source / name).write_bytes(data)
    assert words in refusal(source)
    (publish(tmp_path / "other" / "in") / "config.json").write_bytes(data)
    assert words in refusal(tmp_path / "other" / "in")


@pytest.mark.parametrize("below", ["checkpoint-500", "snapshots/0123abcd"])
def test_weights_that_lie_below_are_named(tmp_path: Path, below: str) -> None:
    publish(tmp_path / "in" / below)
    with pytest.raises(CheckpointError, match=f"did you mean .*{below}"):
        import_weights(tmp_path / "in", tmp_path / "out")
    with pytest.raises(ConfigError, match=rf"holds no run and no weights.(\n|.)*did you mean .*{below}"):
        vxl.load(tmp_path / "in", device="cpu")
