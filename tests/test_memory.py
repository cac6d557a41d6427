"""Free memory, and what does not fit into it."""

import pytest
import torch

from vxl import memory
from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.model import build_model
from vxl.units import GIB

CPU = torch.device("cpu")


def test_free_memory_is_at_most_what_the_control_group_may_have(tmp_path, monkeypatch) -> None:
    before = memory.free_memory(CPU)
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert memory.free_memory(CPU) == 2000
    (tmp_path / "memory.max").write_text("max\n")
    assert before is None or memory.free_memory(CPU) != 2000


def test_what_fits_passes_and_what_does_not_names_both_numbers(monkeypatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 3 * GIB)
    memory.refuse_without_memory(3 * GIB, CPU, "it", "")
    with pytest.raises(ConfigError) as error:
        memory.refuse_without_memory(4 * GIB, CPU, "the model", "  type  less")
    assert str(error.value) == (
        "the model needs 4.00 GiB, and 3.00 GiB of this machine's memory are free.\n  type  less"
    )
    monkeypatch.setattr(memory, "free_memory", lambda device: None)
    memory.refuse_without_memory(4 * GIB, CPU, "it", "")


def test_a_model_is_refused_before_anything_of_it_is_built(monkeypatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 8 * GIB)
    config = compose("train", ["model=videoxl2", "weights=random"])
    with pytest.raises(ConfigError, match=r"\(7,615,616,512 parameters in float32\) needs 28.4 GiB, and 8"):
        build_model(config)
    with pytest.raises(ConfigError, match=r"in bfloat16\) needs 14.2 GiB"):
        build_model(config, dtype=torch.bfloat16)
