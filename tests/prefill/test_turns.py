"""Chunks that go through the layers in one pass, as if a policy had acted behind each: in full precision."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.kv.test_policies import POLICIES, policy
from tests.llm.tiny import decoder
from tests.small_model import head, video
from vxl.generate.watching import layout_of
from vxl.kv.policy import SEED
from vxl.llm.cache import Cache
from vxl.option.build import build
from vxl.prefill import chunked as module
from vxl.prefill.chunked import Chunked, ChunkedConfig
from vxl.sequence.piece import Piece

IN_TURNS = ("keydiff", "knorm", "pyramid", "quick", "random", "recent", "snapkv", "tova", "uniform")
GROUPS, PER_PASS = 15, 3


def made(name: str, **changes: Any) -> Any:
    moment = {"at": "chunks"} if name in ("snapkv", "pyramid", "criticalkv", "tova") else {}
    return build(policy(name, **({"keep": 0.6} | moment | changes)))


def fed(acting: Any, time_rows: Any) -> tuple[Tensor, Cache]:
    llm = decoder(layers=3).double()
    encoded = head(video(GROUPS), tokens=6)
    embeds = torch.randn(1, len(encoded), 48, generator=torch.Generator().manual_seed(3)).double()
    config = ChunkedConfig(
        groups_per_chunk=2, previous_chunks=1, time_rows=time_rows, chunks_per_pass=PER_PASS
    )
    prefill, cache, layout = Chunked(config), llm.new_cache(), layout_of(encoded)
    cache.state[SEED] = 5
    acting.equip(llm)
    hidden = []
    for start, stop in ((0, 3), (3, 60), (60, len(encoded))):
        part = layout.slice(start, stop)
        hidden.append(prefill.feed(llm, acting, cache, Piece(embeds[:, start:stop], part, host=part)))
    acting.after_watch(cache)
    return torch.cat(hidden, dim=1), cache


def test_which_policies_go_in_turns() -> None:
    named = [name for name in POLICIES if name not in ("full", "vst", "x2l", "bilevel", "streaming")]
    able = [name for name in named if made(name).acts_in_turns]
    assert sorted(able) == sorted(IN_TURNS)
    assert not made("uniform", unit="group").acts_in_turns  # how many stay depends on the groups
    assert not made("snapkv", adaptive=True).acts_in_turns
    assert not made("knorm", compact=True).acts_in_turns


@torch.no_grad()
@pytest.mark.parametrize("time_rows", ["all", "window"])
@pytest.mark.parametrize("name", IN_TURNS)
def test_chunks_in_turns_leave_what_chunks_alone_leave(
    name: str, time_rows: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, one_by_one = fed(made(name), time_rows)
    calls: list[int] = []
    run = module.extend_in_turns
    monkeypatch.setattr(module, "usable", lambda tensor: True)
    monkeypatch.setattr(module, "extend_in_turns", lambda *args: (calls.append(len(args[3])), run(*args))[1])
    got, cache = fed(made(name), time_rows)
    assert max(calls) == PER_PASS
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    assert cache.fed == one_by_one.fed
    assert torch.equal(cache.next_B, one_by_one.next_B)
    for layer in range(3):
        assert len(cache.layers[layer]) == len(one_by_one.layers[layer])
        assert torch.equal(cache.index(layer), one_by_one.index(layer))
        assert torch.equal(cache.positions(layer), one_by_one.positions(layer))
        for ours, theirs in zip(cache.layers[layer], one_by_one.layers[layer], strict=True):
            torch.testing.assert_close(ours.keys_BNSH, theirs.keys_BNSH, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(ours.values_BNSH, theirs.values_BNSH, rtol=1e-9, atol=1e-9)
