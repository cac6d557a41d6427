"""Each question of a batch gets what it gets alone, whatever policy, prefill and selector do with it."""

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.kv.test_policies import CHUNKED, GROWS, VARIANTS, entries, has_budget, policy
from tests.small_model import IMAGE, frames, head, model, video
from vxl.generate import Context, watch
from vxl.generate.asking import feed_questions
from vxl.generate.selecting import prefill
from vxl.kv.policy import PolicyConfig
from vxl.kv.segments import ROOM
from vxl.llm.decoder import DecoderConfig
from vxl.model import VideoLanguageModel
from vxl.prefill.full import FullConfig
from vxl.selector.base import Selected, Selector
from vxl.selector.query import QueryConfig
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.piece import Piece

QUESTIONS = [[5, 6], [8], list(range(30, 50))]


class KeepGroups(Selector):
    """Keeps other groups for each question, other numbers of them, and nothing of some pieces."""

    def select(
        self, shown_SD: Tensor, kind_S: Tensor, group_S: Tensor, query_QD: Tensor, draw: int = 0
    ) -> Selected:
        length = len(query_QD)
        kept_S = torch.isin(group_S % 16, torch.tensor(GROUPS[length])) | (kind_S != Kind.VISUAL)
        scores_N = torch.ones(int((kind_S == Kind.VISUAL).sum()), dtype=shown_SD.dtype)
        return Selected(shown_SD, kept_S if TIME[length] else kept_S & (kind_S == Kind.VISUAL), scores_N)


GROUPS = {2: [0, 1, 2, 8], 1: [4, 5, 6, 7, 8, 9], 20: [3, 7]}
"""By the length of the question."""
TIME = {2: True, 1: False, 20: False}
"""Whether time text stays: without it nothing is left of some pieces."""


def watched(kv: PolicyConfig, prefill_config: Any, selector: str) -> Context:
    scores = {"scored by token": "token", "scored by time": "time"}.get(selector, "token")
    # Some questions leave room for a video's visual tokens at ratio 2, others only at 8 (`draw=adapt`).
    llm = DecoderConfig(vocab=97, width=48, mlp=64, layers=2, max_positions=ROOM + 34)
    m = model(kv=kv, prefill=prefill_config, selector=QueryConfig(keep=0.4, score=scores), llm=llm).double()
    if selector == "whole groups":
        m.selector = KeepGroups()
    items = (video(7), IMAGE, video(3))
    shown = [frames(1 if item.kind == "image" else item.frames, n) for n, item in enumerate(items)]
    return watch(m, head(*items), shown)


@torch.no_grad()
def logits(m: VideoLanguageModel, context: Context, questions: list[list[int]]) -> Tensor:
    assert context.waiting is not None
    cache = prefill(m, context.waiting, questions)
    return m.llm.logits(feed_questions(context, cache, questions, None))


QUICK = ("full", "streaming", "snapkv by chunks", "bilevel", "vst", "vst that adapts")
CASES = VARIANTS | {"vst that adapts": ("vst", {"ratios": [2, 8], "draw": "adapt", "groups": 2})}
PREFILLS = {"full": FullConfig(groups=3), "chunked": CHUNKED}


@pytest.mark.parametrize("prefill_name", PREFILLS)
@pytest.mark.parametrize("selector", ["scored by token", "scored by time", "whole groups"])
@pytest.mark.parametrize(
    "variant", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_a_question_gets_what_it_gets_alone(variant: str, selector: str, prefill_name: str) -> None:
    name, changes = CASES[variant]
    kept = 48 if name in GROWS else 34
    budget = entries(name, kept, of=58) if has_budget(name) else {}
    context = watched(policy(name, **budget, **changes), PREFILLS[prefill_name], selector)
    together = logits(context.model, context, QUESTIONS)
    for row, question in enumerate(QUESTIONS):
        alone = logits(context.model, context, [question])[0]
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-6 * float(alone.abs().max()))


@torch.no_grad()
def test_the_prefill_gives_each_row_its_hidden_states_in_order() -> None:
    """Two rows of 3 groups of 6 and of 2 tokens, whose chunks of 2 groups end at different columns."""
    m = model(kv=policy("streaming", tokens=100), prefill=CHUNKED).double()
    embeds_BTD = torch.randn(2, 18, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    group_BT = torch.stack([torch.arange(18) // 6, torch.arange(18) // 2]).int()
    real_BT = torch.tensor([[True] * 18, [True] * 6 + [False] * 12])
    text = Layout.text(2, 18)
    layout = replace(
        text,
        kind_BT=torch.where(real_BT, int(Kind.VISUAL), int(Kind.TEXT)).to(torch.uint8),
        group_BT=torch.where(real_BT, group_BT, -1),
        item_BT=torch.where(real_BT, 0, -1).int(),
        document_BT=torch.where(real_BT, 0, -1).int(),
    )

    def hidden(rows: slice, tokens: int) -> Tensor:
        part = Layout(*(getattr(layout, field.name)[rows, :tokens] for field in fields(Layout)))
        piece = Piece(embeds_BTD[rows, :tokens], part, part.real_BT)
        cache = m.llm.new_cache(rows=len(piece.embeds_BTD))
        return m.prefill.feed(m.llm, m.policy, cache, piece)

    together = hidden(slice(0, 2), 18)
    for row, tokens in ((0, 18), (1, 6)):
        alone = hidden(slice(row, row + 1), tokens)[0]
        torch.testing.assert_close(together[row, :tokens], alone, rtol=1e-9, atol=1e-9)
