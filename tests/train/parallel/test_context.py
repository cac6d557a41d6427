"""Processes that share rows: which groups there are, and that they read the same rows."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from torch import distributed as dist

from tests.data.talking import settings
from vxl.data.clips import ClipsConfig
from vxl.errors import DataError
from vxl.train.launch.processes import WAIT
from vxl.train.parallel.context import context_group, refuse_unlike
from vxl.train.parallel.strategy import DDPConfig
from vxl.train.step.data_module import DataModule


def test_without_sharing_there_is_no_group() -> None:
    assert context_group(1) is None


def test_a_group_waits_as_long_as_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def subgroups(size: int, **settings: Any) -> tuple[str, list[str]]:
        asked.update(settings, size=size)
        return "peers", []

    monkeypatch.setattr(dist, "new_subgroups", subgroups)
    monkeypatch.setattr(dist, "get_rank", {"peers": 1}.__getitem__)
    group = context_group(2)
    assert group is not None
    assert (group.rank, group.ranks, group.peers) == (1, 2, "peers")
    assert asked == {"size": 2, "timeout": WAIT}


def test_processes_that_share_rows_must_have_read_the_same() -> None:
    same, other = [(1, 40, 8, 3)], [(1, 40, 0, 0)]
    refuse_unlike([same, same, other, other], 2)
    with pytest.raises(DataError) as error:
        refuse_unlike([same, same, other, same], 2)
    assert str(error.value).startswith(
        "process 3 has other rows than process 2, with which it shares them (strategy.context=2): "
        "[(1, 40, 8, 3)] and [(1, 40, 0, 0)]."
    )


def test_neighbours_read_the_same_rows_and_the_batch_counts_them_once(tmp_path: Path) -> None:
    config = replace(settings(tmp_path, ClipsConfig(batch=2)), strategy=DDPConfig(context=2))
    places = []
    for process in range(4):
        module = DataModule(config)
        module.trainer = cast(Any, SimpleNamespace(global_rank=process, world_size=4))
        places.append((module.rank, module.ranks, module.global_batch))
    assert places == [(0, 2, 4), (0, 2, 4), (1, 2, 4), (1, 2, 4)]
