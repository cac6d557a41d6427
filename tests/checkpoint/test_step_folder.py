import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed import checkpoint as dcp

from vxl.checkpoint import step_tensors
from vxl.checkpoint.fill import fill_from_step
from vxl.checkpoint.step_folder import StepFolder, choose_step, step_folders
from vxl.errors import CheckpointError

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def _write(run: Path, step: int, model: nn.Module) -> StepFolder:
    folder = run / "checkpoints" / f"step-{step:06d}"
    folder.mkdir(parents=True)
    dcp.save(
        {"model": model.state_dict(), "optim": {"step": torch.tensor(1)}}, checkpoint_id=folder, no_dist=True
    )
    return StepFolder(folder)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for step in (9, 10, 100):
        _write(tmp_path, step, nn.Linear(2, step))
    (tmp_path / "checkpoints" / "step-000200.part").mkdir()
    (tmp_path / "checkpoints" / "step-000300").mkdir()
    return tmp_path


def test_saved_leaves_out_what_is_incomplete(run: Path) -> None:
    assert [folder.step for folder in step_folders(run)] == [9, 10, 100]


def test_tensors_that_are_read_one_by_one_share_one_index(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, original = [], step_tensors.read_step_index
    monkeypatch.setattr(step_tensors, "read_step_index", lambda folder: read.append(1) or original(folder))
    tensors = step_tensors.open_tensors(run / "checkpoints" / "step-000009")
    assert {name: tuple(stored.read().shape) for name, stored in tensors.items()} == {
        "model.weight": (9, 2),
        "model.bias": (9,),
        "optim.step": (),
    }
    assert len(read) == 1


def test_choose_follows_the_pointers(run: Path) -> None:
    (run / "checkpoints" / "last").write_text("step-000010\n")
    (run / "checkpoints" / "best").write_text("step-000009\n")
    assert choose_step(run).step == 10
    assert choose_step(run, "best").step == 9
    assert choose_step(run, 100).step == 100
    assert choose_step(run, "100").step == 100


def test_choose_last_without_a_pointer_or_with_a_stale_one(run: Path) -> None:
    assert choose_step(run).step == 100
    (run / "checkpoints" / "last").write_text("step-000300")
    assert choose_step(run).step == 100


def test_choose_names_what_there_is(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint 7\.\n  choose one of: last, 9, 10, 100"):
        choose_step(run, 7)
    with pytest.raises(CheckpointError, match=r"no checkpoint best"):
        choose_step(run, "best")
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        choose_step(tmp_path / "other")


def test_filling_restores_every_tensor(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(3)
    folder = _write(tmp_path, 1, model)
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    fill_from_step(folder, other)
    for name, tensor in other.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


def test_filling_lists_what_does_not_fit(tmp_path: Path) -> None:
    folder = _write(tmp_path, 1, nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4)))
    with pytest.raises(CheckpointError) as caught:
        fill_from_step(folder, nn.Sequential(nn.Linear(3, 5), nn.Linear(4, 4), nn.Linear(1, 1)))
    text = str(caught.value)
    assert "2.weight: not in the checkpoint" in text
    assert "0.weight: [4, 3] in the checkpoint, [5, 3] in the model" in text
    with pytest.raises(CheckpointError, match=r"1\.weight: not in the model"):
        fill_from_step(folder, nn.Sequential(nn.Linear(3, 4)))


def test_filling_of_a_cut_file(tmp_path: Path) -> None:
    folder = _write(tmp_path, 1, nn.Linear(30, 40))
    for file in folder.path.glob("*.distcp"):
        file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(CheckpointError, match="is damaged"):
        fill_from_step(folder, nn.Linear(30, 40))
    (folder.path / ".metadata").unlink()
    with pytest.raises(CheckpointError, match="no complete checkpoint"):
        fill_from_step(folder, nn.Linear(30, 40))


def test_filling_converts_to_the_models_precision(tmp_path: Path) -> None:
    model = nn.Linear(3, 4)
    folder = _write(tmp_path, 1, model)
    half = nn.Linear(3, 4, dtype=torch.bfloat16)
    fill_from_step(folder, half)
    assert half.weight.dtype == torch.bfloat16
    assert torch.equal(half.weight, model.weight.bfloat16())


def test_it_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file and folder is synchronised under the name of an unfinished one, then renamed, then that."""
    synced: list[str] = []
    real = os.fsync

    def fsync(file: int) -> None:
        synced.append(str(Path(os.readlink(f"/proc/self/fd/{file}")).relative_to(tmp_path)))
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    folder = StepFolder.at(tmp_path / "checkpoints", 7)
    folder.write({"model": nn.Linear(2, 3).state_dict()}, {"step": 7})
    assert folder.is_complete
    assert [path.name for path in folder.path.parent.iterdir()] == ["step-000007"]
    (unfinished,) = {name for name in synced if name.endswith(".part")}
    assert unfinished.startswith("checkpoints/.step-000007.")
    assert {f"{unfinished}/{path.name}" for path in folder.path.iterdir()} <= set(synced)
    assert synced[-1] == "checkpoints"


def test_steps_are_numbers_and_no_text(tmp_path: Path) -> None:
    for step in (1_000_000, 999_999):
        _write(tmp_path, step, nn.Linear(1, 1))
    assert [folder.step for folder in step_folders(tmp_path)] == [999_999, 1_000_000]


def test_a_checkpoint_has_its_name_before_any_rank_goes_on(tmp_path: Path, monkeypatch) -> None:
    step = StepFolder(tmp_path / "checkpoints" / "step-000007")
    named = []

    def once(function: Callable[[], Any], peers: object) -> Any:
        result = function()
        named.append(step.path.exists())  # here the first rank tells the others
        return result

    def write_tensors(folder: Path, tensors: Any, peers: object) -> None:
        dcp.save(tensors, checkpoint_id=folder, no_dist=True)

    monkeypatch.setattr("vxl.distributed.once", once)
    monkeypatch.setattr("vxl.checkpoint.step_tensors.write_tensors", write_tensors)
    step.write({"model": {"weight": torch.zeros(2)}}, {"step": 7}, peers=object())
    assert named == [False, True]
