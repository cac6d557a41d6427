"""Pruning in a whole model: watched, asked and trained."""

from typing import Any

import pytest
import torch
import yaml

from tests.small_model import IMAGE, example, frames, head, model, video
from vxl.compressor.dts import DTSConfig
from vxl.data.batch.collate import collate
from vxl.data.batch.encoded import Encoded
from vxl.errors import ConfigError
from vxl.generate import Context, ask_all, watch
from vxl.option.build import build
from vxl.option.files import CONF
from vxl.option.schema import schema_of
from vxl.prune.base import VideoTokens
from vxl.selector.query import QueryConfig
from vxl.sequence.layout import Kind

NAMES = sorted(file.stem for file in (CONF / "prune").glob("*.yaml") if file.stem != "none")
STREAMING = ("recent", "dtd", "tome", "dycoke", "visionzip", "pool")
QUESTIONS = [[5, 6], [8]]


def settings(name: str, **changes: Any) -> Any:
    if name == "pool":  # a side in place of a fraction, and no group loses all
        changes = {"side": 1 if changes.get("keep") == 1 else 2}
    values = yaml.safe_load((CONF / "prune" / f"{name}.yaml").read_text()) | changes
    if name == "flashvid":
        values["expansion"] = 1.0
    return schema_of(values["_target_"])(**values)


def built(name: str, **changes: Any) -> Any:
    """4 visual tokens a group, so that halves are halves."""
    return model(prune=settings(name, **changes), compressor=DTSConfig(ratio=16))


def watched(m: Any, groups: int = 5) -> Context:
    tokens = m.compressor.tokens_per_group
    return watch(m, head(video(groups), IMAGE, tokens=tokens), [frames(4 * groups), frames(1, 7)])


def answers(context: Context) -> list[tuple[int, ...]]:
    return [answer.tokens for answer in ask_all(context, QUESTIONS, max_new_tokens=4)]


@pytest.mark.parametrize("name", NAMES)
def test_keeping_all_changes_nothing(name: str) -> None:
    m, plain = built(name, keep=1.0), model(compressor=DTSConfig(ratio=16))
    ours, theirs = watched(m), watched(plain)
    for mine, other in zip(ours.cache.layers, theirs.cache.layers, strict=True):
        assert torch.equal(mine[0].keys_BNSH, other[0].keys_BNSH)
    assert ours.visual_tokens == theirs.visual_tokens
    assert answers(ours) == answers(theirs)


@pytest.mark.parametrize("name", NAMES)
def test_time_text_stays_in_front_of_its_own_tokens(name: str) -> None:
    m = built(name, keep=0.5, empty="keep")
    context = watched(m, groups=8)
    kind_T, group_T, seconds_T = (
        torch.cat([getattr(layout, field)[0] for layout in context.cache.layouts])
        for field in ("kind_BT", "group_BT", "seconds_BT")
    )
    timed_T = kind_T == Kind.TIME
    assert group_T[timed_T].tolist() == [g for g in range(8) for _ in range(2)]
    shown_T = kind_T != Kind.TEXT
    assert torch.equal(group_T[shown_T], group_T[shown_T].sort(stable=True).values)
    assert torch.equal(
        seconds_T[shown_T][:-4], group_T[shown_T][:-4].float()
    )  # the image's group has second 0
    assert 0 < context.visual_tokens < 36
    count = m.pruner.count(8, 4)
    assert count is None or context.visual_tokens == count + 4
    assert context.tokens == len(kind_T)


@pytest.mark.parametrize("name", NAMES)
def test_rows_of_a_batch_are_pruned_each_by_itself(name: str) -> None:
    m = built(name, keep=0.5)
    one, two = example(video(6)), example(video(3), IMAGE, video(2), seed=1)
    both = m(collate([[one], [two]], pad=0))
    alone = [m(collate([[each]], pad=0)) for each in (one, two)]
    torch.testing.assert_close(both.loss_sum, alone[0].loss_sum + alone[1].loss_sum)
    packed = m(collate([[one, two]], pad=0))
    torch.testing.assert_close(packed.loss_sum, both.loss_sum)
    assert both.supervised == packed.supervised == 6


@pytest.mark.parametrize("name", NAMES)
def test_training_sees_what_watching_feeds(name: str) -> None:
    m = built(name, keep=0.5)
    context = watch(m, head(video(6)), [frames(24)])
    own = example(video(6))
    trained = m(collate([[own]], pad=0))
    assert trained.numbers["ratio"] == pytest.approx(16 * 24 / context.visual_tokens)
    asked = ask_all(context, [[5, 6]], max_new_tokens=1)[0].tokens
    first = int(m.llm.logits(trained.hidden_SD[:1]).argmax())
    assert asked == (first,)


@pytest.mark.parametrize("name", STREAMING)
def test_a_video_may_come_in_any_pieces(name: str) -> None:
    pruner = build(settings(name, keep=0.5))
    generator = torch.Generator().manual_seed(0)
    x_GKD, attention_GK = torch.randn(9, 16, 8, generator=generator), torch.rand(9, 16, generator=generator)
    video_tokens = VideoTokens(x_GKD, attention_GK, x_GKD)
    whole = pruner.prune(video_tokens)
    for size in (1, 2, 4):
        pruning = pruner.begin(9)
        pieces = [
            pruning.feed(VideoTokens(*parts))
            for parts in zip(*(x.split(size) for x in (x_GKD, attention_GK, x_GKD)), strict=True)
        ]
        assert torch.equal(torch.cat([piece.kept_GK for piece in pieces]), whole.kept_GK)
        assert torch.equal(torch.cat([piece.visual_GKD for piece in pieces]), whole.visual_GKD)


def test_recent_is_a_clip_of_the_last_groups() -> None:
    m, plain = built("recent", keep=1.0, groups=2), model(compressor=DTSConfig(ratio=16))
    ours = watch(m, head(video(4)), [frames(16)])
    clip = Encoded()
    clip.text([1, 2, 3])
    for number in (2, 3):
        clip.visual([7, 20 + number], Kind.TIME, number, float(number))
        clip.visual([9] * 4, Kind.VISUAL, number, float(number))
    clip.items.append(video(2))
    clip.text([4])
    theirs = watch(plain, clip, [frames(16)[8:]])
    for mine, other in zip(ours.cache.layers, theirs.cache.layers, strict=True):
        assert torch.equal(mine[0].keys_BNSH, other[0].keys_BNSH)
    assert ours.visual_tokens == 8
    assert answers(ours) == answers(theirs)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_dropped_has_no_gradient_and_what_is_kept_has(name: str) -> None:
    pruner = build(settings(name, keep=0.5))
    generator = torch.Generator().manual_seed(0)
    x_GKD = torch.randn(8, 16, 8, generator=generator).requires_grad_()
    found = pruner.prune(VideoTokens(x_GKD, torch.rand(8, 16, generator=generator), x_GKD.detach()))
    found.visual_GKD[found.kept_GK].sum().backward()
    assert x_GKD.grad is not None
    moved_GK = x_GKD.grad.abs().sum(dim=-1) > 0
    assert bool(moved_GK[found.kept_GK].all())
    if name in ("recent", "uniform", "evs", "vidcom2", "dtd", "dycoke"):  # these only drop
        assert torch.equal(moved_GK, found.kept_GK)


def test_a_selector_beside_a_pruner_is_refused() -> None:
    with pytest.raises(ConfigError, match="prune=evs selector=none"):
        model(prune=settings("evs"), selector=QueryConfig())


def test_a_fraction_is_one() -> None:
    with pytest.raises(ConfigError, match=r"prune.keep=0 is no fraction"):
        settings("evs", keep=0)


def test_pooling_is_the_mean_of_squares_that_fit() -> None:
    x_GKD = torch.arange(16.0).view(1, 16, 1)
    found = build(settings("pool")).prune(VideoTokens(x_GKD))
    assert found.kept_GK[0].nonzero()[:, 0].tolist() == [0, 2, 8, 10]
    assert found.visual_GKD[found.kept_GK].flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert build(settings("pool")).count(3, 16) == 12
    for tokens, allowed in ((9, "1, 3"), (12, "only grids that are squares")):
        with pytest.raises(ConfigError, match=f"does not cut a group of {tokens} .*\n  allowed: {allowed}"):
            build(settings("pool")).prune(VideoTokens(torch.zeros(1, tokens, 2)))
