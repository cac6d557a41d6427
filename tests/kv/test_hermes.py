"""The summary of `kv=hermes`: one entry of means for what a long layer drops."""

from dataclasses import replace

import pytest
import torch

from tests.kv.test_policies import policy
from tests.llm.tiny import decoder
from vxl.errors import ConfigError
from vxl.option.build import build
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.piece import Piece

TEXT, VISUAL, ROOM = 6, 60, 30


def layout(rows: int) -> Layout:
    plain = Layout.text(rows, TEXT + VISUAL, torch.device("cpu"))
    group = torch.tensor([[-1] * TEXT + [g for g in range(5) for _ in range(VISUAL // 5)]]).expand(rows, -1)
    kind = torch.where(group < 0, int(Kind.TEXT), int(Kind.VISUAL))
    return replace(plain, kind_BT=kind.to(torch.uint8), group_BT=group.int(), item_BT=(group >= 0).int() - 1)


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 3])
def test_what_a_long_layer_drops_is_one_entry_of_means(rows: int) -> None:
    asked = {"local_question": [5], "global_question": [6], "between": []}
    llm, shown = decoder(layers=2).double(), layout(rows)
    embeds = torch.randn(rows, TEXT + VISUAL, 48, generator=torch.Generator().manual_seed(3)).double()
    caches = {}
    for summary in (True, False):
        settings = {"keep": None, "tokens": ROOM, "short": 0.0, "long": 0.5, "summary": summary}
        acting = build(policy("hermes", **settings, **asked))
        acting.equip(llm)
        cache = llm.new_cache(rows=rows)
        llm.extend(embeds, cache, layout=shown)
        whole = cache.fork()
        acting.after_chunk(cache, Piece(embeds, shown))
        caches[summary] = cache
    with_it, without = caches[True], caches[False]
    assert torch.equal(with_it.index(0), without.index(0))  # a layer between
    assert torch.equal(with_it.layers[0][0].keys_BNSH, without.layers[0][0].keys_BNSH)
    long = with_it.layers[1][0]
    before = whole.layers[1][0]
    for row in range(rows):
        kept, other = (cache.index(1)[row, 0].tolist() for cache in (with_it, without))
        assert len(kept) == len(other) == ROOM
        # Of 30 places 29 hold what the 30 best held; the last is in the place of the newest that goes.
        (newest,) = set(kept) - set(other)
        gone = sorted(set(range(TEXT + VISUAL)) - set(kept) | {newest})
        assert newest == max(gone)
        at = kept.index(newest)
        torch.testing.assert_close(long.keys_BNSH[row, :, at], before.keys_BNSH[row][:, gone].mean(dim=1))
        torch.testing.assert_close(long.values_BNSH[row, :, at], before.values_BNSH[row][:, gone].mean(dim=1))
        visual = [entry for entry in kept if entry not in gone and entry >= TEXT]
        assert int(with_it.positions(1)[row, 0, at]) == max(visual) + 1


def test_a_summary_is_not_written_among_codes() -> None:
    with pytest.raises(ConfigError, match="summary=true"):
        policy("hermes", bits=8)
    assert policy("hermes", bits=8, summary=False).bits == 8
