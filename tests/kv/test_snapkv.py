"""SnapKV against attention weights and top-k written out."""

from typing import Any

import pytest
import torch

from tests.generate.watched import watched
from tests.llm.tiny import decoder, fed, reference, tokens
from tests.small_model import model
from vxl.errors import ConfigError
from vxl.generate import ask
from vxl.kv.snapkv import SnapKV, SnapKVConfig
from vxl.llm.decoder import Decoder
from vxl.prefill.full import Full, FullConfig
from vxl.relevance.all import All, AllConfig
from vxl.relevance.base import QuestionPiece
from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece

CONTEXT, ASKED = 40, 6


@pytest.fixture(autouse=True)
def no_gradient():
    with torch.no_grad():
        yield


def asked(llm: Decoder, ids: torch.Tensor) -> QuestionPiece:
    question = ids[:, CONTEXT:]
    rows = tuple(tuple(row) for row in question.tolist())
    layout = Layout.text(*question.shape)
    return QuestionPiece(llm.embed(question), layout, llm=llm, relevance=All(AllConfig()), tokens=rows)


def votes(llm: Decoder, ids: torch.Tensor, window: int) -> list[torch.Tensor]:
    """[key-value heads, CONTEXT] of every layer: what the last `window` tokens give to each token."""
    found = reference(llm)(input_ids=ids, output_attentions=True).attentions
    return [w[0, :, -window:, :CONTEXT].sum(1).unflatten(0, (2, -1)).sum(1) for w in found]


@pytest.mark.parametrize("pooling", ["max", "mean"])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("window", [4, 32])
def test_each_head_keeps_what_the_question_looks_at(window: int, kernel: int, pooling: Any) -> None:
    llm, ids = decoder(attention="sdpa").double(), tokens(1, CONTEXT + ASKED)
    policy = SnapKV(
        SnapKVConfig(protect="none", keep=None, tokens=10, window=window, kernel=kernel, pooling=pooling)
    )
    cache = llm.new_cache()
    fed(llm, cache, ids[:, :CONTEXT])
    question = asked(llm, ids)
    policy.before_question(cache, question)
    llm.extend(question.embeds_BTD, cache, layout=question.layout, observe=policy.observe_question)
    policy.after_question(cache, question)
    pool = torch.nn.functional.max_pool1d if pooling == "max" else torch.nn.functional.avg_pool1d
    different = set()
    for layer, given in enumerate(votes(llm, ids, min(window, ASKED))):
        pooled = pool(given[None], kernel, stride=1, padding=kernel // 2)[0]
        for head, row in enumerate(pooled):
            expected = sorted(row.topk(10).indices.tolist()) + list(range(CONTEXT, CONTEXT + ASKED))
            got = cache.index(layer)[0, head].tolist()
            # Equal pooled votes may tie: those kept have as many.
            assert row[got[:10]].sum().item() == pytest.approx(row[expected[:10]].sum().item())
            assert got[10:] == expected[10:]
            different.add(tuple(got))
    assert len(different) > 3  # heads choose on their own


def test_heads_share_a_layers_budget() -> None:
    llm, ids = decoder().double(), tokens(1, CONTEXT + ASKED)
    policy = SnapKV(
        SnapKVConfig(protect="none", keep=None, tokens=10, window=4, kernel=1, adaptive=True, least=0.3)
    )
    cache = llm.new_cache()
    fed(llm, cache, ids[:, :CONTEXT])
    question = asked(llm, ids)
    llm.extend(question.embeds_BTD, cache, layout=question.layout, observe=4)
    policy.after_question(cache, question)
    uneven = False
    for layer, given in enumerate(votes(llm, ids, 4)):
        sure = {(h, int(i)) for h, row in enumerate(given) for i in row.topk(3).indices}
        rest = [
            (-float(v), h, i) for h, row in enumerate(given) for i, v in enumerate(row) if (h, i) not in sure
        ]
        expected = sure | {(h, i) for _, h, i in sorted(rest)[: 20 - len(sure)]}
        index, valid = cache.index(layer)[0], cache.valid(layer)[0]
        got = {(h, int(i)) for h in range(2) for i in index[h][valid[h]] if i < CONTEXT}
        assert got == expected
        uneven |= sum(h == 0 for h, _ in got) != 10
    assert uneven
    more = fed(llm, cache, tokens(1, 1, seed=3))  # heads of different lengths can be read
    assert bool(more.isfinite().all())


def test_by_chunks_memory_follows_the_budget() -> None:
    llm = decoder()
    policy = SnapKV(SnapKVConfig(protect="none", keep=None, tokens=24, window=4, at="chunks"))
    cache, sizes = llm.new_cache(), []
    for number in range(6):
        piece = Piece(llm.embed(tokens(1, 30, seed=number)), Layout.text(1, 30))
        Full(FullConfig()).feed(llm, policy, cache, piece)
        sizes.append(cache.bytes())
        newest = cache.index()[0].sort(dim=-1).values[:, -4:]
        assert (newest == torch.arange(cache.fed - 4, cache.fed)).all()  # the observers stay
        assert [int(cache.valid(layer).sum(-1).max()) for layer in range(3)] == [24] * 3
    assert len(set(sizes)) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel": 4}, "window=32 kernel=4 observes nothing."),
        ({"window": 0}, "window=0 kernel=7 observes nothing."),
        ({"least": 2.0}, "least=2.0 is no part."),
        ({"keep": 0.0}, "keep=0.0 is no fraction."),
    ],
)
def test_mistakes_say_what_is_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SnapKVConfig(**settings)


@pytest.mark.parametrize("at", ["chunks", "question"])
def test_to_keep_all_is_to_keep_full_bit_for_bit_in_float32(at: Any) -> None:
    """In the same passes: what acts at chunks is fed chunk by chunk."""
    full = model()
    kept = model(kv=SnapKVConfig(keep=1.0, at=at))
    kept.load_state_dict(full.state_dict())
    assert next(kept.parameters()).dtype == torch.float32
    alike = type("Alike", (type(full.policy),), {"acts_in_prefill": kept.policy.acts_in_prefill})
    full.policy = alike(full.policy.config)
    ours, theirs = watched(kept, by=20), watched(full, by=20)
    for layer in range(full.llm.layers):
        for own, other in zip(ours.cache.layers[layer], theirs.cache.layers[layer], strict=True):
            assert torch.equal(own.keys_BNSH, other.keys_BNSH)
            assert torch.equal(own.values_BNSH, other.values_BNSH)
    assert ask(ours, [5, 6], max_new_tokens=8).tokens == ask(theirs, [5, 6], max_new_tokens=8).tokens
