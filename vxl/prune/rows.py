"""Pruning where whole sequences are at hand: every video of a batch by itself.

Letters: B rows · T positions · G groups of all videos and images, in row-major order · K visual tokens a
    group · D language-model width · E width of the tower's keys.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from vxl.distributed import ContextGroup, gather_parts
from vxl.prune.base import KeepConfig, Pruner, VideoTokens, part
from vxl.sequence.layout import Kind, Layout


class Item(Protocol):
    """A video or an image of a batch (vxl.data stands above this room)."""

    @property
    def kind(self) -> str:
        """`video` or `image`."""
        ...

    @property
    def groups(self) -> int:
        """Groups that it has."""
        ...


def prune_rows(
    pruner: Pruner, visual: VideoTokens, layout: Layout, items: Sequence[Item]
) -> tuple[Tensor, Tensor]:
    """Prunes each video of a batch; images stay whole.

    Args:
        pruner: What drops or merges.
        visual: The visual tokens of the batch, in the order of the layout's visual positions.
        layout: Of the batch.
        items: Its videos and images, in the same order.

    Returns:
        visual_GKD with merged tokens in their places, and kept_BT: the positions that stay.
    """
    visual_GKD = visual.visual_GKD
    kept_GK = torch.ones(visual_GKD.shape[:2], dtype=torch.bool, device=visual_GKD.device)
    parts, start = [], 0
    for item in items:
        stop = start + item.groups
        if item.kind == "video":
            result = pruner.prune(part(visual, start, stop))
            kept_GK[start:stop] = result.kept_GK
            parts.append(result.visual_GKD)
        else:
            parts.append(visual_GKD[start:stop])
        start = stop
    kept_BT = torch.ones_like(layout.visual_BT).masked_scatter(layout.visual_BT, kept_GK)
    return torch.cat(parts) if parts else visual_GKD, kept_BT & ~lost_time(pruner, layout, kept_BT)


def shared_tokens(
    encode: Callable[[Tensor], VideoTokens], frames_FCHW: Tensor, frames_per_group: int, group: ContextGroup
) -> VideoTokens:
    """What `encode` gives for a batch's frames: each process encodes its share of the groups, and all get the
    others', with gradients.

    Args:
        encode: Gives the visual tokens of frames that fill whole groups.
        frames_FCHW: The same frames in every process.
        frames_per_group: Of the compressor.
        group: The processes that share the rows.
    """
    groups = len(frames_FCHW) // frames_per_group
    share = -(-groups // group.ranks)
    size = share * frames_per_group
    own_FCHW = frames_FCHW[group.rank * size : (group.rank + 1) * size]
    # Black groups behind the last ones: every process encodes as many.
    black_FCHW = own_FCHW.new_zeros(size - len(own_FCHW), *own_FCHW.shape[1:])
    own = encode(torch.cat((own_FCHW, black_FCHW)))

    def whole(part: Tensor) -> Tensor:
        return gather_parts(part, group).flatten(0, 1)[:groups]

    visual_GKD, attention_GK, keys_GKE = own.visual_GKD, own.attention_GK, own.keys_GKE
    return VideoTokens(
        whole(visual_GKD),
        None if attention_GK is None else whole(attention_GK),
        None if keys_GKE is None else whole(keys_GKE),
    )


def lost_time(pruner: Pruner, layout: Layout, kept_BT: Tensor) -> Tensor:
    """bool [B, T]: time text of groups that keep no visual token, where it goes with them (`empty=drop`)."""
    if not drops_empty(pruner):
        return torch.zeros_like(kept_BT)
    groups = int(layout.group_BT.max()) + 2  # one more for text, which has group -1
    index_BT = layout.group_BT.long() + 1
    held_BG = torch.zeros(len(kept_BT), groups, dtype=torch.int64, device=kept_BT.device)
    held_BG.scatter_add_(1, index_BT, (kept_BT & layout.visual_BT).long())
    return (layout.kind_BT == Kind.TIME) & (held_BG.gather(1, index_BT) == 0)


def drops_empty(pruner: Pruner) -> bool:
    """Whether the time text of an emptied group goes."""
    return isinstance(pruner.config, KeepConfig) and pruner.config.empty == "drop"
