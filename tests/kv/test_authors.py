"""Scores and choices against the authors' own functions, recorded on random tensors."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tests.golden.policies.measure import FILES, found
from tests.llm.tiny import decoder
from vxl.kv import h2o
from vxl.kv.adaretake import layer_shares, whole_shares
from vxl.kv.h2o import H2O, H2OConfig
from vxl.kv.hermes import borders, mixed_scores
from vxl.kv.infinipot import InfiniPot, InfiniPotConfig
from vxl.kv.quick import Quick, QuickConfig
from vxl.kv.random import drawn
from vxl.kv.scored.columns import Columns, columns_of
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.ranking import best
from vxl.llm.block import Block
from vxl.llm.cache import Cache
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.spread import reversed_bits


@pytest.fixture(params=FILES)
def recorded(request: pytest.FixtureRequest) -> Iterator[dict[str, Tensor]]:
    with torch.no_grad():
        yield found(f"authors_{request.param}")


def cache_of(keys: Tensor, values: Tensor, first: int = 0) -> Cache:
    """Entries of one layer, [N, S, H], or of several, keys as they are: at position 0 rotation does
    nothing."""
    keys, values = (x[None] if x.ndim == 3 else x for x in (keys, values))
    layers, entries = len(keys), keys.shape[2]
    cache = Cache(layers, decoder(layers=1).rotary, torch.device("cpu"))
    index_BNS = torch.arange(first, first + entries)[None, None]
    zeros_BNS = torch.zeros_like(index_BNS)
    cache.layers = [
        (Block(k[None], v[None], zeros_BNS, index_BNS, None, k[None]),)
        for k, v in zip(keys, values, strict=True)
    ]
    cache.fed = first + entries
    return cache


def held_of(cache: Cache, columns: Columns, room: int, layer: int = 0) -> Entries:
    text_BF = columns.kind_BF != Kind.VISUAL
    return Entries(cache, layer, columns, torch.tensor([room]), text_BF[:, None])


@pytest.mark.parametrize("frames", [8, 6])
@pytest.mark.parametrize("variant", ["", "plain.", "value."])
def test_infinipot(recorded: dict[str, Tensor], frames: int, variant: str) -> None:
    """Lengths of values averaged by quarter of the layers; as they are; and alone, averaged."""
    group_F = torch.cat([torch.full((4,), -1), torch.arange(12).repeat_interleave(16)])[None]
    kind_F = torch.where(group_F < 0, int(Kind.TEXT), int(Kind.VISUAL))
    columns = Columns(kind_F, group_F, torch.ones_like(group_F, dtype=torch.bool))
    pool = "none" if variant == "plain." else "layers"
    policy = InfiniPot(InfiniPotConfig(tar=0.0 if variant == "value." else 0.5, pool=pool))
    cache = cache_of(recorded["infinipot.keys"], recorded["infinipot.values"])
    cache.layouts.append(Layout.text(1, cache.fed))
    policy.take_in(cache, columns)
    for layer in range(4):
        held = held_of(cache, columns, 4 + frames * 16, layer)
        kept = held.protected_BNS | policy.choose(held)
        assert torch.equal(kept[0], recorded[f"infinipot.{variant}{frames}.kept"][layer].bool())


@pytest.mark.parametrize("size", [32, 16])
def test_h2o_through_a_prefill_and_four_tokens(
    recorded: dict[str, Tensor], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums and sets of given attention, where half of the places are for the newest."""
    given = recorded["h2o.attention"].sum(dim=1)  # [N, 64], over the queries
    policy = H2O(H2OConfig(keep=None, tokens=size, protect="none"))
    entries = given.shape[1]
    keys = torch.randn(2, entries, 8)
    cache = cache_of(keys, keys)
    cache.observed = SimpleNamespace(queries=[torch.zeros(1, 2, 1, 8)])  # ty: ignore[invalid-assignment]
    attention = [given, *(recorded[f"h2o.{size}.attention{step}"] for step in range(1, 5))]
    for step, own in enumerate(attention):
        monkeypatch.setattr(h2o, "attention", lambda held, own=own: own[None, :, None])
        if step:  # a token more
            one = cache_of(keys[:, :1], keys[:, :1], first=cache.fed)
            cache.layers[0] = (*cache.layers[0], *one.layers[0])
            cache.fed += 1
        columns = columns_of(cache)
        policy.take_in(cache, columns)
        policy.evict(cache, columns, [torch.tensor([size])])
        assert torch.equal(cache.index()[0].sort().values, recorded[f"h2o.{size}.kept{step}"].sort().values)
        sums = cache.state[h2o.SUMS][0].number_BNS[0]
        torch.testing.assert_close(sums, recorded[f"h2o.{size}.score{step}"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("percent", [40, 20])
def test_quick(recorded: dict[str, Tensor], percent: int) -> None:
    keys = recorded["quick.keys"]
    kept = recorded[f"quick.{percent}.kept"].bool()
    cache = cache_of(keys, keys)
    group_F = torch.zeros(1, cache.fed, dtype=torch.int64)
    columns = Columns(
        torch.full_like(group_F, Kind.VISUAL), group_F, torch.ones_like(group_F, dtype=torch.bool)
    )
    score_BNS = Quick(QuickConfig()).score(held_of(cache, columns, int(kept.sum())))
    chosen = best(score_BNS, torch.ones_like(score_BNS, dtype=torch.bool), kept.sum()[None, None, None])
    assert torch.equal(chosen[0, 0], kept)


@pytest.mark.parametrize("count", [20, 10])
def test_hermes_chooses_by_attention_and_age(recorded: dict[str, Tensor], count: int) -> None:
    """Of given attention of the proxy questions; six tokens of text come first."""
    layers, text = 10, 6
    below, above = borders(layers, 0.3, 0.3)
    asked = [("local" if n < below else "global" if n >= above else "mixed") for n in range(layers)]
    weights = [recorded[f"hermes.{name}"][n] for n, name in enumerate(asked)]
    own = [weight[..., text : -weight.shape[1]].mean(dim=(0, 1)) for weight in weights]
    for layer, score in enumerate(mixed_scores(own, below, above)):
        kept = recorded[f"hermes.{count}.kept"][layer].bool()
        places = count - (layer >= above)  # one place is for the published summary
        among = torch.ones_like(score, dtype=torch.bool)
        assert torch.equal(best(score, among, torch.tensor([places])), kept[text:])


@pytest.mark.parametrize(("percent", "keep"), [(50, 0.5), (25, 0.25)])
def test_adaretake_shares_a_piece_among_layers(
    recorded: dict[str, Tensor], percent: int, keep: float
) -> None:
    scores = recorded["adaretake.scores"]
    layers, count = scores.shape
    for name, time in (("adaretake", 4.0), ("adaretake.notime", 0.0)):
        shares = layer_shares(scores, keep, time)
        for layer, share in enumerate(shares.tolist()):
            room = torch.tensor([max(1, int(max(0.01, share) * count))])
            kept = best(scores[layer], torch.ones(count, dtype=torch.bool), room)
            assert torch.equal(kept, recorded[f"{name}.{percent}.kept"][layer].bool())
    rooms = whole_shares(layer_shares(scores, keep, 4.0), int(layers * count * keep), count)
    assert int(rooms.sum()) == int(layers * count * keep)
    assert 0 <= int(rooms.min()) <= int(rooms.max()) <= count


def test_shares_hold_the_sum_where_layers_are_full() -> None:
    shares = torch.tensor([1.0, 0.9, 0.05, 0.05])
    assert whole_shares(shares, 26, 10).tolist() == [10, 10, 3, 3]
    assert whole_shares(shares, 40, 10).tolist() == [10] * 4
    assert whole_shares(shares, 0, 10).tolist() == [0] * 4


def test_ordinals_are_reversed_and_hashed_as_specified() -> None:
    extra = found("extra_0")
    number = torch.arange(64)
    assert torch.equal(reversed_bits(number), extra["uniform.rev32"])
    assert torch.equal(drawn(number, 0, 0), extra["random.seed0"])
    assert torch.equal(drawn(number, 11, 5), extra["random.seed11.salt5"])
