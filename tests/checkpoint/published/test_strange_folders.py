"""Folders of weights as training leaves them: the message names the way out."""

from pathlib import Path

import pytest

from vxl.checkpoint.published.family import WRAPPED, detect
from vxl.checkpoint.published.folder import _shards
from vxl.errors import CheckpointError

NAMES = ("model.sae.encoder.0.weight", "model.layers.0.mlp.up_proj.weight", "model.embed_tokens.weight")


@pytest.mark.parametrize("prefix", WRAPPED)
def test_a_wrapper_s_prefix_is_named_and_how_to_take_it_off(prefix: str) -> None:
    with pytest.raises(CheckpointError) as error:
        detect([prefix + name for name in NAMES], "folder")
    assert f"begin with {prefix!r}" in str(error.value)
    assert f"removeprefix({prefix!r})" in str(error.value)
    assert ("merge_and_unload" in str(error.value)) == prefix.startswith("base_model")
    assert detect(NAMES, "folder").name


def test_names_of_another_model_are_no_prefix() -> None:
    with pytest.raises(CheckpointError, match="no model that vxl knows"):
        detect(["module.a", "other.b"], "folder")


@pytest.mark.parametrize("left", ["zero_to_fp32.py", "global_step10"])
def test_a_checkpoint_of_deepspeed_names_its_script(left: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / left).mkdir() if left.startswith("global") else (tmp_path / left).touch()
    with pytest.raises(CheckpointError, match=r"python zero_to_fp32.py \. joined"):
        _shards(tmp_path, None)
