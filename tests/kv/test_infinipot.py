"""InfiniPot-V where groups are unlike, and its averaged lengths."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.kv.test_policies import of_256, policy, shown, watched
from tests.llm.tiny import decoder, tokens
from tests.small_model import model
from vxl.compressor.dts import DTSConfig
from vxl.errors import ConfigError
from vxl.kv.infinipot import InfiniPot
from vxl.option.build import build
from vxl.prefill.full import FullConfig
from vxl.prune.uniform import UniformConfig
from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece


def test_newest_groups_of_unlike_sizes_stay_within_the_budget() -> None:
    """Behind a last group of one token a quarter of 25 tokens is six groups, which have more than half."""
    columns = SimpleNamespace(last_group_B=torch.tensor([6]), sizes_BG=torch.tensor([[4] * 6 + [1]]))
    columns.on_host = columns
    group_BNS = torch.arange(25)[None, None] // 4
    entries: Any = SimpleNamespace(
        keys_BNSH=torch.ones(1, 1, 25, 2),
        open_BNS=torch.ones(1, 1, 25, dtype=torch.bool),
        free_BN1=torch.tensor([[[12]]]),
        columns=columns,
        group_BNS=group_BNS,
        values_BNSH=torch.ones(1, 1, 25, 2),
        turned_BNSH=torch.randn(1, 1, 25, 2),
        place_BNS=torch.arange(25)[None, None] % 4,
    )
    kept_BNS = InfiniPot(policy("infinipot")).choose(entries)
    assert int(kept_BNS.sum()) == 12
    assert kept_BNS[0, 0, 19:].all()  # the newest 6 are sure


@torch.no_grad()
def test_text_without_protection_is_no_newest_group() -> None:
    """Of two groups of two tokens the last two groups are all there is; text in front is in neither."""
    llm = decoder(layers=1)
    made = build(policy("infinipot", keep=0.5, protect="none", tar=1.0, recent=1.0))
    made.equip(llm)
    cache, embeds = llm.new_cache(), llm.embed(tokens(1, 16))
    first, later = Layout.text(1, 10), shown(1, 6, first_group=0)
    layout = Layout(*(torch.cat((getattr(first, n), getattr(later, n)), dim=1) for n in vars(first)))
    build(FullConfig()).feed(llm, made, cache, Piece(embeds, layout))
    assert set(range(10, 16)) <= set(cache.index()[0, 0].tolist())


def test_lengths_are_averaged_over_whole_squares_and_follow_their_entries() -> None:
    square = model(kv=policy("infinipot", pool="layers"), compressor=DTSConfig(ratio=4))
    assert of_256(square).cache.valid(1).sum(dim=-1).tolist() == [[128, 128]]
    oblong = model(kv=policy("infinipot", pool="layers"), prune=UniformConfig(keep=0.5))
    with pytest.raises(ConfigError, match=r"kv\.pool=layers averages over squares, but groups have"):
        watched(oblong)
