"""What a cache still holds of a video when a question is answered, part by part."""

import torch

from vxl.compressor.plan import CompressorPlan
from vxl.kv.scored.columns import columns_of
from vxl.llm.cache import Cache


def kept_shares(cache: Cache, plan: CompressorPlan, frames: int, parts: int) -> list[tuple[float, ...]]:
    """For each row the share of the visual tokens that are held, mean over layers and heads.

    What a pruner or a selector dropped before the language model counts as not held.

    Args:
        cache: After the question.
        plan: How many visual tokens a group of frames makes.
        frames: Frames that were watched.
        parts: Into how many equal parts the video is cut; fewer where it has fewer groups.
    """
    groups = plan.groups(frames)
    if not groups:
        return [()] * cache.rows
    columns = columns_of(cache)
    # Beyond the last group: what is no visual token, or no longer there.
    group_BF = torch.where(columns.visual_BF, columns.group_BF.clamp(max=groups), groups)
    held_BG = torch.zeros(cache.rows, groups + 1, device=group_BF.device)
    for layer in range(len(cache.layers)):
        index_BNS, valid_BNS = torch.broadcast_tensors(cache.index(layer), cache.valid(layer))
        heads = index_BNS.shape[1]
        fed_BNF = group_BF[:, None].expand(-1, heads, -1)
        own_BNS = torch.where(valid_BNS, fed_BNF.gather(2, index_BNS.clamp(max=cache.fed - 1)), groups)
        own_BT = own_BNS.flatten(1)
        held_BG.scatter_add_(1, own_BT, torch.full_like(own_BT, 1 / heads, dtype=held_BG.dtype))
    share_BG = held_BG[:, :groups] / (len(cache.layers) * plan.tokens_per_group)
    pieces = torch.tensor_split(share_BG, min(parts, groups), dim=1)
    return [tuple(row) for row in torch.stack([piece.mean(1) for piece in pieces], dim=1).tolist()]
