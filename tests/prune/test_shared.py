"""Frames that processes share out: who encodes which groups, without any process."""

from typing import cast

import pytest
import torch
from torch import Tensor

from vxl.distributed import ContextGroup
from vxl.prune import rows
from vxl.prune.base import VideoTokens

FRAMES = 2


def encode(frames_FCHW: Tensor) -> VideoTokens:
    """One token a group: the sum of its pixels, with another number beside it."""
    sums_G = frames_FCHW.double().flatten(1).sum(1).unflatten(0, (-1, FRAMES)).sum(1)
    return VideoTokens(sums_G[:, None, None], sums_G[:, None] + 1)


@pytest.mark.parametrize("groups", [1, 3, 4, 9])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_all_groups_are_encoded_once_and_every_process_has_as_many(
    groups: int, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames_FCHW = torch.randint(1, 256, (groups * FRAMES, 3, 2, 2), dtype=torch.uint8)
    whole = encode(frames_FCHW)
    every = [ContextGroup(rank, ranks, None) for rank in range(ranks)]
    seen: list[Tensor] = []

    def noted(own_FCHW: Tensor) -> VideoTokens:
        seen.append(own_FCHW)
        return encode(own_FCHW)

    monkeypatch.setattr(rows, "gather_parts", lambda own, group: own[None])
    for group in every:
        rows.shared_tokens(noted, frames_FCHW, FRAMES, group)
    shares = seen.copy()
    assert {len(own_FCHW) for own_FCHW in shares} == {-(-groups // ranks) * FRAMES}
    joined_FCHW = torch.cat(shares)
    assert torch.equal(joined_FCHW[: len(frames_FCHW)], frames_FCHW)
    assert not joined_FCHW[len(frames_FCHW) :].any()  # black

    def gathered(own: Tensor, group: ContextGroup) -> Tensor:
        both = [encode(own_FCHW) for own_FCHW in shares]
        parts = [cast(Tensor, one.attention_GK if own.ndim == 2 else one.visual_GKD) for one in both]
        return torch.stack(parts)

    monkeypatch.setattr(rows, "gather_parts", gathered)
    for group in every:
        found = rows.shared_tokens(encode, frames_FCHW, FRAMES, group)
        assert torch.equal(found.visual_GKD, whole.visual_GKD)
        assert torch.equal(cast(Tensor, found.attention_GK), cast(Tensor, whole.attention_GK))
        assert found.keys_GKE is None
