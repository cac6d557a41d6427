import pytest
import torch

from tests.generate.watched import watched
from tests.small_model import model
from vxl.compressor.plan import CompressorPlan
from vxl.generate.attended import attended_shares
from vxl.generate.context import Context
from vxl.kv.knorm import KnormConfig
from vxl.kv.snapkv import SnapKVConfig
from vxl.model import VideoLanguageModel

PLAN = CompressorPlan(4, 4, 4, 2, 16)
QUESTION = [5, 6, 8]


def by_hand(m: VideoLanguageModel, context: Context) -> torch.Tensor:
    """Attention of the question on each of the five groups, from the model's own keys and queries."""
    cache = context.cache.fork()
    embeds_BTD = m.llm.embed(torch.tensor([QUESTION]))
    step = m.llm.step(cache=cache, tokens=3, observe=3)
    m.llm(embeds_BTD, step)
    layouts = context.cache.layouts
    visual_T = torch.cat([layout.visual_BT[0] for layout in layouts])
    group_T = torch.cat([layout.group_BT[0] for layout in layouts])
    sums = torch.zeros(5)
    assert step.queries is not None
    for layer, query_BMQH in enumerate(step.queries):
        assert query_BMQH is not None
        keys = torch.cat([block.rotated(cache.rotary) for block in cache.layers[layer]], dim=2)
        assert step.new is not None
        new = step.new[layer]
        assert new is not None
        assert new.rotated_BNTH is not None
        keys = torch.cat([keys, new.rotated_BNTH], dim=2)
        many = query_BMQH.shape[1] // keys.shape[1]
        score = query_BMQH @ keys.repeat_interleave(many, dim=1).mT * keys.shape[-1] ** -0.5
        past = keys.shape[2] - 3
        unseen = torch.ones(3, 3, dtype=torch.bool).triu(1)
        score[..., past:] = score[..., past:].masked_fill(unseen, -torch.inf)
        weight_T = score.softmax(dim=-1).sum(dim=(0, 1, 2))[:past]
        for group in range(5):
            sums[group] += weight_T[visual_T & (group_T == group)].sum()
    return sums / sums.sum()


@torch.no_grad()
def test_shares_are_those_of_the_models_own_attention() -> None:
    m = model()
    context = watched(m)
    shares = attended_shares(context, QUESTION, PLAN, 5)
    assert shares == pytest.approx(by_hand(m, context).tolist(), abs=1e-5)
    assert max(shares) > 1.2 * min(shares)
    halves = attended_shares(context, QUESTION, PLAN, 2)
    assert halves == pytest.approx((sum(shares[:3]), sum(shares[3:])), abs=1e-6)


def test_the_context_stays_as_it_is() -> None:
    context = watched(model())
    before = list(context.cache.layers), context.cache.fed, dict(context.cache.state)
    attended_shares(context, QUESTION, PLAN, 5)
    assert (list(context.cache.layers), context.cache.fed, dict(context.cache.state)) == before


@pytest.mark.parametrize("kv", [KnormConfig(keep=0.3, of="visual"), SnapKVConfig(keep=0.3)])
def test_policies_that_drop_entries(kv: KnormConfig | SnapKVConfig) -> None:
    shares = attended_shares(watched(model(kv=kv)), QUESTION, PLAN, 5)
    assert len(shares) == 5
    assert sum(shares) == pytest.approx(1.0)


def test_more_parts_than_groups_and_nothing_to_see() -> None:
    context = watched(model())
    assert len(attended_shares(context, QUESTION, PLAN, 24)) == 5
