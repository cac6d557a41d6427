"""The authors' pruners on random tensors: recorded sets and tokens; see tests/golden/policies."""

import pytest
import torch
from torch import Tensor

from tests.golden import golden
from vxl.prune.base import Pruned, Pruner, VideoTokens
from vxl.prune.dtd import DTD, DTDConfig
from vxl.prune.dycoke import DyCoke, DyCokeConfig
from vxl.prune.evs import EVS, EVSConfig
from vxl.prune.fastvid import FastVID, FastVIDConfig
from vxl.prune.flashvid import FlashVID, FlashVIDConfig
from vxl.prune.segments import segments_of
from vxl.prune.tome import ToMe, ToMeConfig
from vxl.prune.vidcom2 import VidCom2, VidCom2Config, likeness
from vxl.prune.visionzip import VisionZip, VisionZipConfig
from vxl.sequence.spread import reversed_bits

FILES = [f"policies/before_{number}" for number in range(3)]
KEEP = {"50": 0.5, "25": 0.25}
each = pytest.mark.parametrize("file", FILES)
both = pytest.mark.parametrize("share", KEEP)


def tokens(recorded: dict[str, Tensor]) -> VideoTokens:
    return VideoTokens(recorded["features"], recorded["attention"])


def pruners(share: str) -> dict[str, Pruner]:
    keep = KEEP[share]
    return {
        "evs": EVS(EVSConfig(keep=keep)),
        "vidcom2": VidCom2(VidCom2Config(keep=keep, exact=False)),
        "dtd_relative": DTD(DTDConfig(keep=keep)),
        "dtd_absolute": DTD(DTDConfig(above=0.9 if share == "50" else 0.75)),
        "dycoke": DyCoke(DyCokeConfig(keep=keep)),
    }


@each
@both
@pytest.mark.parametrize("name", pruners("50"))
def test_the_recorded_places_stay(file: str, share: str, name: str) -> None:
    recorded = golden(file)
    found = pruners(share)[name].prune(tokens(recorded))
    assert torch.equal(found.kept_GK, recorded[f"{name}.{share}.kept"].bool())
    assert torch.equal(found.visual_GKD, recorded["features"])


@each
def test_scores_of_vidcom2_and_evs(file: str) -> None:
    recorded = golden(file)
    likeness_GK, scale_G = likeness(recorded["features"], 0.5)
    torch.testing.assert_close(likeness_GK, recorded["vidcom2.scores"])
    torch.testing.assert_close(scale_G, recorded["vidcom2.50.scales"])


@each
@both
def test_an_exact_count_of_vidcom2_and_evs_by_pieces(file: str, share: str) -> None:
    recorded, ours = golden(file), golden(file.replace("before", "extra"))
    exact = VidCom2(VidCom2Config(keep=KEEP[share])).prune(tokens(recorded))
    assert torch.equal(exact.kept_GK, ours[f"vidcom2_exact.{share}.kept"].bool())
    pruning = EVS(EVSConfig(keep=KEEP[share], scope="chunk")).begin(8)
    pieces = [pruning.feed(VideoTokens(piece)) for piece in recorded["features"].split(2)]
    kept_GK = torch.cat([piece.kept_GK for piece in pieces if piece is not None])
    assert torch.equal(kept_GK, ours[f"evs_chunk.{share}.kept"].bool())


@each
def test_ordinals_with_their_bits_reversed(file: str) -> None:
    ours = golden(file.replace("before", "extra"))
    assert torch.equal(reversed_bits(torch.arange(64)), ours["uniform.rev32"].long())


@each
def test_tome_merges_the_recorded_pairs(file: str) -> None:
    recorded = golden(file)
    found = ToMe(ToMeConfig(keep=0.5)).prune(tokens(recorded))
    assert torch.equal(found.kept_GK.nonzero()[:, 1].view(8, 8), recorded["tome.50.place"].sort(-1).values)
    torch.testing.assert_close(found.visual_GKD[found.kept_GK], recorded["tome.50.tokens"].flatten(0, 1))


@each
@both
def test_visionzip_keeps_dominant_and_contextual_tokens(file: str, share: str) -> None:
    recorded = golden(file)
    x_GKD = recorded["features"]
    video = VideoTokens(x_GKD, recorded["visionzip.attention"], x_GKD[..., :8])
    found = VisionZip(VisionZipConfig(keep=KEEP[share])).prune(video)
    dominant, target = (
        torch.zeros(8, 16, dtype=torch.bool).scatter(1, recorded[f"visionzip.{share}.{name}"], True)
        for name in ("dominant", "targets")
    )
    assert torch.equal(found.kept_GK, dominant | target)
    contextual = recorded[f"visionzip.{share}.contextual"].flatten(0, 1)
    torch.testing.assert_close(found.visual_GKD[target], contextual)


@each
@both
@pytest.mark.parametrize("published", [False, True])
def test_fastvid_merges_as_recorded(file: str, share: str, published: bool) -> None:
    recorded, keep = golden(file), KEEP[share]
    name = "fastvid.published" if published else "fastvid"
    own = {} if published else {"segments": 3, "merged": 0.5, "period": 2}
    pruner = FastVID(FastVIDConfig(keep=keep, **own))  # ty: ignore[invalid-argument-type]
    cuts = segments_of(recorded["frame_features"], pruner.config.above, pruner.config.segments)
    assert [stop - start for start, stop in cuts] == recorded[f"{name}.segments"].tolist()
    found = pruner.prune_segments(tokens(recorded), cuts)
    assert torch.equal(found.kept_GK, recorded[f"{name}.{share}.kept"].bool())
    torch.testing.assert_close(found.visual_GKD[found.kept_GK], recorded[f"{name}.{share}.tokens"])


@pytest.mark.parametrize("alone", [True, False])
def test_anchors_with_no_more_targets_than_others_keep_to_themselves(alone: bool) -> None:
    """As published: of a segment of 3 groups 2 are anchors, so that one merged token a group makes one for
    each anchor, and two make three."""
    x_GKD = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    video = VideoTokens(x_GKD, torch.tensor([[4.0, 3.0, 2.0, 1.0]] * 3))
    pruner = FastVID(FastVIDConfig(keep=0.99, merged=1 / 3 if alone else 2 / 3, period=2))
    first = pruner.prune_segments(video, [(0, 3)])
    x_GKD[1] += 1.0
    assert torch.equal(pruner.prune_segments(video, [(0, 3)]).visual_GKD[0], first.visual_GKD[0]) == alone


def test_flashvid_takes_groups_of_one_token() -> None:
    video = VideoTokens(torch.randn(5, 1, 8), torch.rand(5, 1))
    assert FlashVID(FlashVIDConfig(keep=0.5)).prune(video).kept_GK.all()


@each
@both
def test_flashvid_gives_the_recorded_tokens(file: str, share: str) -> None:
    """In any order: where a group has one cluster, which place it takes is the noise of the recording."""
    recorded = golden(file)
    found = FlashVID(FlashVIDConfig(keep=KEEP[share], segments=3, expansion=1.0)).prune(tokens(recorded))
    ours_MD, theirs_MD = found.visual_GKD[found.kept_GK], recorded[f"flashvid.{share}.tokens"]
    assert ours_MD.shape == theirs_MD.shape
    distance_MM = torch.cdist(ours_MD.double(), theirs_MD.double())
    assert distance_MM.min(dim=0).values.max() < 1e-5
    assert distance_MM.min(dim=1).values.max() < 1e-5


def count(found: Pruned) -> int:
    return int(found.kept_GK.sum())


@pytest.mark.parametrize("keep", [0.1, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("groups", [1, 2, 5, 8])
def test_known_counts_are_held(keep: float, groups: int) -> None:
    x_GKD = torch.randn(groups, 16, 8, generator=torch.Generator().manual_seed(groups))
    video = VideoTokens(x_GKD, torch.rand(groups, 16), x_GKD)
    for made in (EVS(EVSConfig(keep=keep)), VidCom2(VidCom2Config(keep=keep)), DTD(DTDConfig(keep=keep))):
        assert count(made.prune(video)) == made.count(groups, 16)
    for made in (
        ToMe(ToMeConfig(keep=keep)),
        DyCoke(DyCokeConfig(keep=keep)),
        VisionZip(VisionZipConfig(keep=keep)),
    ):
        assert count(made.prune(video)) == made.count(groups, 16)
