"""Summary tokens at two ratios: none fine is the coarse level, all fine the fine one, and order between."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.small_model import IMAGE, frames, head, model, video
from vxl.errors import ConfigError
from vxl.generate import Context, ask, read_context, save_context, watch
from vxl.kv.vst import VSTConfig
from vxl.kv.x2l import X2L, X2LConfig
from vxl.llm.cache import Cache
from vxl.prefill.full import FullConfig
from vxl.sequence.layout import Kind

SHOWN = (video(7), IMAGE, video(3))
FINE, COARSE, GROUPS = 2, 8, 2
WINDOWS = 4 + 1 + 2
QUESTION = [5, 6, 7]


def x2l(**settings: Any) -> X2LConfig:
    return X2LConfig(ratios=[FINE, COARSE], groups=GROUPS, **settings)


def watched(kv: Any, **settings: Any) -> Context:
    m = model(kv=kv, prefill=FullConfig(groups=3), **settings).double()
    shown = [frames(1 if item.kind == "image" else item.frames, n) for n, item in enumerate(SHOWN)]
    return watch(m, head(*SHOWN), shown)


def read(context: Context, question: list[int] = QUESTION) -> tuple[Cache, Tensor]:
    """The fork that a question reads before it goes in, and the logits behind it."""
    held: list[Cache] = []
    policy = context.model.policy
    before = policy.before_question

    def before_question(cache: Cache, asked: Any) -> None:
        before(cache, asked)
        held.append(cache.fork())

    policy.before_question = before_question  # ty: ignore[invalid-assignment]
    try:
        ask(context, question, max_new_tokens=1)
    finally:
        del policy.before_question
    llm = context.model.llm
    with torch.no_grad():
        return held[0], llm.logits(llm.extend(llm.embed(torch.tensor([question])), held[0].fork()))


@pytest.mark.parametrize(("chunks", "ratio"), [(0, COARSE), (WINDOWS, FINE)])
def test_one_level_of_all_windows_is_vst_bit_for_bit(chunks: int, ratio: int) -> None:
    ours, logits = read(watched(x2l(chunks=chunks)))
    theirs, expected = read(watched(VSTConfig(ratio=ratio, groups=GROUPS)))
    assert ours.next_B.tolist() == theirs.next_B.tolist()
    for layer in range(len(ours.layers)):
        (own,), (other,) = ours.layers[layer], theirs.layers[layer]
        assert torch.equal(own.keys_BNSH, other.keys_BNSH)
        assert torch.equal(own.values_BNSH, other.values_BNSH)
        assert torch.equal(own.positions_BNS, other.positions_BNS)
    assert torch.equal(logits, expected)


def test_chosen_windows_are_fine_and_stand_where_they_belong() -> None:
    context = watched(x2l(chunks=1))
    context.model.relevance.score = lambda question, chunks, cache: scores_of(chunks.count, best=2)  # ty: ignore[invalid-assignment]
    cache, _ = read(context)
    kinds = torch.cat([layout.kind_BT for layout in cache.layouts], dim=1)[0]
    groups = torch.cat([layout.group_BT for layout in cache.layouts], dim=1)[0]
    index_S, position_S = cache.index()[0, 0], cache.positions()[0, 0]
    assert sorted(position_S.tolist()) == list(range(len(position_S)))
    assert cache.next_B.tolist() == [len(position_S)]
    in_order = index_S[position_S.argsort()]
    own = groups[in_order][groups[in_order] >= 0]
    assert torch.equal(own, own.sort().values)  # time goes on, whichever level is read
    beacons = (kinds[index_S] == Kind.BEACON) & (groups[index_S] >= 0)
    fine = index_S >= context.cache.state["kv.x2l.coarse"]
    assert set(groups[index_S][fine & beacons].tolist()) == {4, 5}  # the third window's two groups
    of_window = groups[index_S][beacons] // GROUPS == 2
    visual = context.model.compressor.tokens_per_group * GROUPS
    assert int(of_window.sum()) == visual // FINE


def scores_of(count: int, best: int) -> Tensor:
    return torch.eye(count)[best : best + 1]


@pytest.mark.parametrize("budget", [{"keep": 0.6}, {"tokens": 41}, {"mib": 0.06}])
def test_windows_fill_a_budget(budget: dict[str, Any]) -> None:
    context = watched(x2l(**({"chunks": None} | budget)))
    policy = context.model.policy
    assert isinstance(policy, X2L)
    cache, _ = read(context)
    least, _ = read(watched(x2l(chunks=0)))
    room = budget.get("tokens", int(context.tokens * budget.get("keep", 1) + 0.5))
    if "mib" not in budget:
        assert least.entries() < cache.entries() <= room
        # No other window fits: each has at most so many more entries at the fine ratio.
        most = context.model.compressor.tokens_per_group * GROUPS // FINE
        assert cache.entries() > room - most
    else:
        assert cache.used_bytes() <= budget["mib"] * 2**20


def test_asking_twice_and_from_a_file_is_asking_afresh(tmp_path: Any) -> None:
    context = watched(x2l(chunks=2))
    first = read(context)[1]
    read(context, [9, 9])
    assert torch.equal(read(context)[1], first)
    save_context(context, tmp_path / "a.context")
    assert torch.equal(read(read_context(tmp_path / "a.context", context.model))[1], first)


def test_both_levels_are_held_and_counted() -> None:
    levels = [watched(VSTConfig(ratio=r, groups=GROUPS)).cache for r in (COARSE, FINE)]
    both = watched(x2l()).cache
    assert both.entries() == sum(level.entries() for level in levels)
    assert both.used_bytes() == sum(level.used_bytes() for level in levels)


def test_what_is_no_two_levels_is_refused() -> None:
    for wrong in ({"ratios": [2]}, {"ratios": [8, 2]}, {"window": 8}, {"density": True}, {"chunks": -1}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            X2LConfig(**wrong)
    with pytest.raises(ConfigError, match="one budget"):
        X2LConfig(keep=0.5)
