"""What a question attends to of what was watched, part by part: for looking at, nothing is decided by it."""

from collections.abc import Sequence

import torch

from vxl.compressor.plan import CompressorPlan
from vxl.generate.asking import forked, question_piece
from vxl.generate.context import Context
from vxl.kv.scored.attention import EVERY, attention
from vxl.kv.scored.columns import columns_of
from vxl.kv.scored.entries import Entries


@torch.no_grad()
def attended_shares(
    context: Context, question: Sequence[int], plan: CompressorPlan, parts: int, text: str | None = None
) -> tuple[float, ...]:
    """How a question's attention is spread over the video, in equal parts; the shares add up to 1.

    The mean over the question's tokens, heads and layers of what falls on visual tokens, on a fork of its
    own, before a policy drops anything for this question.

    Args:
        context: From `watch`; it is not changed.
        question: Tokens of the question.
        plan: How many frames a group has.
        parts: Into how many parts the video is cut; fewer where it has fewer groups.
        text: The question as it was asked, which some kinds of relevance look at.
    """
    groups = plan.groups(context.frames)
    if not groups:
        return ()
    cache = forked(context, [question])[1]
    piece = question_piece(context, [question], None if text is None else [text])
    context.model.policy.before_question(cache, piece)
    context.model.llm.extend(piece.embeds_BTD, cache, layout=piece.layout, observe=EVERY)
    columns = columns_of(cache)
    no_BNS = columns.real_BF.new_zeros(1, 1, 1)
    sum_G = torch.zeros(groups + 1, dtype=torch.float64)
    for layer in range(len(cache.layers)):
        entries = Entries(cache, layer, columns, cache.next_B, no_BNS)
        weight_BNS = attention(entries).sum(dim=2)
        group_BNS = torch.where(entries.of(columns.visual_BF), entries.group_BNS.clamp(max=groups), groups)
        group_BNS = torch.where(entries.valid_BNS, group_BNS, groups).expand_as(weight_BNS)
        sum_G.scatter_add_(0, group_BNS.flatten().cpu(), weight_BNS.double().flatten().cpu())
    share_G = sum_G[:groups] / sum_G[:groups].sum().clamp(min=torch.finfo(torch.float64).tiny)
    return tuple(float(part.sum()) for part in torch.tensor_split(share_G, min(parts, groups)))
