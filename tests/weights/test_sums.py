"""Checksums of tensors in files of weights."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from vxl.errors import CheckpointError
from vxl.weights.stored import open_file, write_safetensors
from vxl.weights.sums import load_checked, sums_of

TENSORS = {"a": torch.arange(12.0).view(3, 4), "b": torch.ones(5, dtype=torch.bfloat16), "c": torch.tensor(2)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "plain.safetensors")
    write_safetensors(tmp_path / "a.safetensors", open_file(tmp_path / "plain.safetensors"), sums=True)
    return tmp_path / "a.safetensors"


def test_they_are_those_of_the_tensors_and_change_nothing_else(file: Path) -> None:
    with safe_open(file, "pt") as opened:
        assert opened.metadata() == {"format": "pt"} | sums_of(TENSORS)
    for found in (load_file(file), load_checked(file)):
        assert all(torch.equal(found[name], value) for name, value in TENSORS.items())
    for name, value in TENSORS.items():
        assert torch.equal(open_file(file)[name].read(), value)


def test_a_flipped_byte_is_named(file: Path) -> None:
    data = bytearray(file.read_bytes())
    start = bytes(data).index(TENSORS["a"].numpy().tobytes())
    data[start + 5] ^= 4
    file.write_bytes(bytes(data))
    stored = open_file(file)
    assert torch.equal(stored["b"].read(), TENSORS["b"])
    whole = (slice(0, 3), slice(0, 4))
    for read in (stored["a"].read, lambda: stored["a"].part(whole), lambda: load_checked(file)):
        with pytest.raises(CheckpointError, match="a is not what was written"):
            read()


def test_files_without_them_are_read_as_they_are(file: Path) -> None:
    assert load_checked(file.with_name("plain.safetensors")).keys() == TENSORS.keys()
