"""Reconstruction (ReCoT): masking by scores, the mirrored network, the loss and its baseline."""

from dataclasses import replace

import pytest
import torch

from vxl.compressor.dts import DTS, DTSConfig, frames_of_memory_view, memory_view
from vxl.compressor.expansion import Doubling, Expansion
from vxl.compressor.guide import Guide, draw_kept
from vxl.compressor.reconstruct import Reconstruct, ReconstructConfig, errors
from vxl.compressor.synthesis import Halving
from vxl.errors import ConfigError

OPEN = ReconstructConfig()


def noise(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def made(objective: ReconstructConfig = OPEN, grid: int = 4, **settings) -> Reconstruct:
    torch.manual_seed(0)
    return Reconstruct(DTSConfig(**settings), objective, vision_width=32, grid=grid).double()


def test_scores_are_their_definition() -> None:
    torch.manual_seed(0)
    guide, patches_GFPV = Guide(32).double(), noise(2, 4, 9, 32)
    scores_GFP = guide(patches_GFPV)
    for group, frame, patch in ((0, 0, 3), (1, 2, 8)):
        earlier = patches_GFPV[group, frame - 1, patch] if frame else torch.zeros(32, dtype=torch.float64)
        mean = patches_GFPV[group, frame].mean(0)
        own = patches_GFPV[group, frame, patch]
        expected = own @ guide.temporal(earlier) + own @ guide.spatial(mean)
        torch.testing.assert_close(scores_GFP[group, frame, patch], expected)


@pytest.mark.parametrize("noise_", [0.0, 1.0])
@pytest.mark.parametrize("masked", [0, 1, 18, 35])
def test_exactly_as_many_patches_are_masked(masked: int, noise_: float) -> None:
    equal = torch.zeros(1, 4, 9, dtype=torch.float64)  # as of an image, whose frames repeat each other
    for scores_GFP in (noise(5, 4, 9), equal):
        kept_GFP = draw_kept(scores_GFP, masked, noise_)
        assert kept_GFP.shape == scores_GFP.shape
        assert set(kept_GFP.unique().tolist()) <= {0.0, 1.0}
        assert ((kept_GFP == 0).sum((1, 2)) == masked).all()


def test_without_noise_the_lowest_are_masked_and_with_it_low_ones_mostly() -> None:
    scores_GFP = noise(1, 4, 9)
    lowest = scores_GFP.flatten().argsort()[:18]
    assert not draw_kept(scores_GFP, 18, 0.0).flatten()[lowest].any()
    torch.manual_seed(0)
    draws_N = torch.stack([draw_kept(scores_GFP, 18, 1.0).flatten() for _ in range(2000)]).mean(0)
    ordered_N = draws_N[scores_GFP.flatten().argsort()]
    assert 0.02 < ordered_N[0] < 0.35 < 0.75 < ordered_N[-1] < 0.995
    assert torch.corrcoef(torch.stack([draws_N, scores_GFP.flatten()]))[0, 1] > 0.9


def test_one_patch_stays_with_the_odds_of_its_score() -> None:
    scores_GFP = noise(1, 2, 3)
    standard = (scores_GFP - scores_GFP.mean()) / scores_GFP.std(correction=0)
    torch.manual_seed(1)
    drawn = torch.stack([draw_kept(scores_GFP, 5, 1.0) for _ in range(4000)]).mean(0)
    torch.testing.assert_close(drawn.flatten(), standard.flatten().softmax(0), rtol=0, atol=0.03)


def test_a_draw_depends_on_the_seed_and_on_nothing_else() -> None:
    scores_GFP = noise(3, 4, 9)
    draws = []
    for seed in (7, 7, 8):
        torch.manual_seed(seed)
        draws.append(draw_kept(scores_GFP, 18, 1.0))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_gradient_lifts_scores_whose_patches_are_missed() -> None:
    scores_GFP = noise(1, 2, 4).requires_grad_()
    worth_GFP = noise(1, 2, 4, seed=5)
    (draw_kept(scores_GFP, 4, 0.0) * worth_GFP).sum().backward()
    assert scores_GFP.grad is not None
    assert torch.isfinite(scores_GFP.grad).all()
    assert scores_GFP.grad.abs().min() > 0
    flat = torch.zeros(1, 2, 4, dtype=torch.float64, requires_grad=True)
    draw_kept(flat, 4, 1.0).sum().backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("frames", [1, 2, 4, 8])
def test_the_expansion_gives_a_groups_frames_back(frames: int) -> None:
    expansion = Expansion(32, frames=frames, side=3)
    assert expansion(torch.randn(2, 9, 32)).shape == (2, frames, 9, 32)


def test_doubling_is_halving_backwards() -> None:
    halving, doubling = Halving(32, side=5).double(), Doubling(32, side=5).double()
    with torch.no_grad():
        doubling.conv.weight.copy_(halving.conv.weight)
        halving.conv.bias.zero_()
        doubling.conv.bias.zero_()
    # Away from edges, which are repeated, the one is the other's transpose: <halve x, y> = <x, double y>.
    x_GFPV, y_GFPV = torch.zeros(1, 4, 25, 32).double(), torch.zeros(1, 2, 25, 32).double()
    x_GFPV[:, :, 12] = noise(1, 4, 32)
    x_GFPV[:, 0] = 0  # repeated before the group
    y_GFPV[:, :, 12] = noise(1, 2, 32, seed=3)
    torch.testing.assert_close((halving(x_GFPV) * y_GFPV).sum(), (x_GFPV * doubling(y_GFPV)).sum())


@pytest.mark.parametrize("frames", [1, 2, 4, 8])
def test_the_memory_view_has_a_way_back(frames: int) -> None:
    patches_GFPV = noise(3, frames, 4, 32)
    assert torch.equal(frames_of_memory_view(memory_view(patches_GFPV)), patches_GFPV)


def test_errors_beside_those_of_the_mean_patch() -> None:
    patches_GFPV = 30 * noise(3, 4, 9, 32) + 7
    mean_GFPV = patches_GFPV.mean((1, 2), keepdim=True).expand_as(patches_GFPV)
    spread_G = patches_GFPV.flatten(1, 2).var(1, correction=0).mean(-1)
    torch.testing.assert_close(errors(mean_GFPV, patches_GFPV), spread_G[:, None].expand(3, 2))
    assert not errors(patches_GFPV, patches_GFPV)[:, 0].any()
    half_G2 = errors(patches_GFPV.lerp(mean_GFPV, 0.5), patches_GFPV)
    torch.testing.assert_close(half_G2[:, 0], spread_G / 4)


def test_only_counted_patches_count() -> None:
    patches_GFPV, counted_GFP = noise(2, 2, 4, 32), torch.zeros(2, 2, 4).double()
    counted_GFP[:, 1, 2] = counted_GFP[:, 0, 1] = 1
    wrong_GFPV = patches_GFPV.clone()
    wrong_GFPV[0, 0, 0] += 1
    wrong_GFPV[1, 0, 1] += 1
    torch.testing.assert_close(errors(wrong_GFPV, patches_GFPV)[:, 0], torch.full((2,), 1 / 8).double())
    found_G2 = errors(wrong_GFPV, patches_GFPV, counted_GFP)
    torch.testing.assert_close(found_G2[:, 0], torch.tensor([0.0, 0.5]).double())
    own_GNV = torch.stack([patches_GFPV[:, 1, 2], patches_GFPV[:, 0, 1]], 1)
    spread_G = (own_GNV - patches_GFPV.mean((1, 2))[:, None]).square().mean((1, 2))
    torch.testing.assert_close(found_G2[:, 1], spread_G)


@pytest.mark.parametrize("loss", ["all", "masked"])
@pytest.mark.parametrize("published", [False, True])
def test_an_error_a_group_whatever_the_slices_and_neighbours(loss: str, published: bool) -> None:
    objective = ReconstructConfig(least=0.5, noise=0.0, loss=loss)
    compressor = made(objective, published_layout=published, published_relative_key=published)
    patches_FPV = noise(12, 16, 32)
    errors_G2 = compressor(patches_FPV)
    assert errors_G2.shape == (3, 2)
    assert (errors_G2 > 0).all()
    compressor.config = replace(compressor.config, slice=1)
    torch.testing.assert_close(compressor(patches_FPV), errors_G2)
    torch.testing.assert_close(compressor(patches_FPV[4:8]), errors_G2[1:2])


@pytest.mark.parametrize("ratio", [1, 2, 16, 32])
def test_every_ratio_has_a_mirror(ratio: int) -> None:
    compressor = made(ratio=ratio)
    groups = 16 // compressor.frames_per_group
    assert compressor(noise(16, 16, 32)).shape == (groups, 2)


def test_masked_in_training_and_whole_in_evaluation() -> None:
    compressor, patches_FPV = made(), noise(8, 16, 32)
    torch.manual_seed(0)
    first = compressor(patches_FPV)
    second = compressor(patches_FPV)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(compressor(patches_FPV), first)
    compressor.eval()
    assert torch.equal(compressor(patches_FPV), compressor(patches_FPV))
    plain = made(ReconstructConfig(mask=0.0))
    plain.load_state_dict(compressor.state_dict())
    assert torch.equal(plain(patches_FPV), compressor(patches_FPV))


def seen_by(compressor: Reconstruct, passes: int) -> list[torch.Tensor]:
    """What the network gets of the same patches."""
    seen: list[torch.Tensor] = []
    compressor.dts.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for _ in range(passes):
        compressor(noise(4, 16, 32))
    return seen


def test_what_is_masked_is_not_seen() -> None:
    compressor = made(ReconstructConfig(least=0.5, loss="masked"))
    for seen_GFPV in seen_by(compressor, 3):
        hidden_GFP = (seen_GFPV == compressor.mask_token).all(-1)
        assert int(hidden_GFP.sum()) == 32
        assert torch.equal(seen_GFPV[~hidden_GFP], noise(4, 16, 32)[None][~hidden_GFP])


def test_a_pass_draws_its_share_in_between() -> None:
    compressor = made(ReconstructConfig(mask=0.6, least=0.2))
    torch.manual_seed(0)
    shares = [float((x == compressor.mask_token).all(-1).double().mean()) for x in seen_by(compressor, 60)]
    assert 0.18 < min(shares) < 0.26
    assert 0.54 < max(shares) <= 0.6
    assert 0.35 < sum(shares) / 60 < 0.45


@pytest.mark.parametrize("gradient", ["straight_through", "none"])
def test_gradients_reach_what_learns(gradient: str) -> None:
    compressor = made(ReconstructConfig(least=0.5, gradient=gradient))
    for parameter in compressor.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    compressor(noise(8, 16, 32))[:, 0].sum().backward()
    silent = {name.split(".")[0] for name, p in compressor.named_parameters() if p.grad is None}
    assert silent == (set() if gradient == "straight_through" else {"guide"})
    if gradient == "straight_through":
        assert all(p.grad is not None and p.grad.any() for p in compressor.guide.parameters())


def test_the_network_has_the_names_that_it_has_in_a_model() -> None:
    ours = made().state_dict()
    model = DTS(DTSConfig(), vision_width=32, grid=4, llm_width=24).state_dict()
    network = {name for name in model if name.startswith("dts.")}
    assert network == {name for name in ours if name.startswith("dts.")}
    assert not any(name.startswith("projector.") for name in ours)


def test_the_network_learns_to_reconstruct() -> None:
    """Frames that drift within a few directions: one frame and the way to the next say all of a group."""
    torch.manual_seed(0)
    compressor = Reconstruct(DTSConfig(), OPEN, vision_width=32, grid=4)
    optimizer = torch.optim.Adam(compressor.parameters(), lr=5e-3)
    directions = 2 * torch.randn(6, 32)
    start, way = torch.randn(8, 1, 16, 6), 0.3 * torch.randn(8, 1, 1, 6)
    patches_FPV = ((start + way * torch.arange(4.0)[:, None, None]) @ directions).flatten(0, 1)
    with torch.no_grad():
        first, _ = compressor.eval()(patches_FPV).mean(0)
    compressor.train()
    for _ in range(40):
        optimizer.zero_grad()
        compressor(patches_FPV)[:, 0].mean().backward()
        optimizer.step()
    with torch.no_grad():
        error, baseline = compressor.eval()(patches_FPV).mean(0)
    assert error < 0.8 * baseline < 0.8 * first


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mask": 1.0}, "mask=1.0 is no share of the patches.\n  expected: 0 <= mask < 1"),
        ({"noise": -1.0}, "noise=-1.0 is no scale.\n  expected: 0 (no noise) or more"),
        ({"least": 0.6}, "least=0.6 is above mask=0.5, or below 0.\n  expected: 0 to mask"),
        (
            {"loss": "masked"},
            "loss=masked with least=0: a pass that masks nothing learns nothing.\n"
            "  e.g.  least=0.5  (and mask not below)   or  loss=all",
        ),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ReconstructConfig(**settings)
    assert str(caught.value) == said
