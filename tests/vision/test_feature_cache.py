"""Features that are kept on disk: the very numbers that the tower makes, whatever becomes of the entries."""

import errno
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.failing_disk import failing_disk
from tests.forks import in_three_forks
from tests.small_model import IMAGE, PARTS, example, frames, model, video
from vxl import store
from vxl.data.batch.collate import Batch, collate
from vxl.model import VideoLanguageModel
from vxl.option.build import build
from vxl.prune.visionzip import VisionZipConfig
from vxl.store import Writing, in_use, use
from vxl.train.step.micro_batch import fits_in_memory
from vxl.units import GIB
from vxl.vision.base import VisionEncoder
from vxl.vision.clip import ClipConfig
from vxl.vision.dinov2 import Dinov2Config
from vxl.vision.feature_cache import FeatureCache, features_kept
from vxl.vision.siglip import SiglipConfig

SIZES: dict[str, Any] = {"size": 56, "width": 64, "mlp": 128, "heads": 4, "layers": 2, "slice": 4}
CONFIGS = [SiglipConfig(**SIZES), ClipConfig(**SIZES), Dinov2Config(**SIZES, registers=4)]


@pytest.fixture
def kept(tmp_path: Path):
    """A cache in use; gives its folder."""
    with features_kept("features", tmp_path / "cache", 1.0):
        yield tmp_path / "cache" / "features"


def tower(config: Any = CONFIGS[0], dtype: torch.dtype = torch.float32) -> VisionEncoder:
    torch.manual_seed(0)
    return build(config).eval().requires_grad_(False).to(dtype)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.features"))


def without(encoder: VisionEncoder, frames_FCHW: Tensor) -> Tensor:
    with features_kept("none", "", 1.0):
        return encoder(frames_FCHW)


def runs(encoder: VisionEncoder, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fills with how many frames the tower encodes at once, from now on."""
    sizes: list[int] = []
    encode = encoder.encode

    def counted(pixels_FCHW: Tensor) -> Tensor:
        sizes.append(len(pixels_FCHW))
        return encode(pixels_FCHW)

    monkeypatch.setattr(encoder, "encode", counted)
    return sizes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_kept_features_are_those_of_the_tower(
    config: Any, dtype: torch.dtype, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, batch = tower(config, dtype), frames(11)
    expected = torch.cat([without(encoder, visual) for visual in batch.split([6, 1, 4])])
    sizes = runs(encoder, monkeypatch)
    for turn in ("cold", "warm"):
        found = encoder(batch, [6, 1, 4])
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), turn
        assert torch.equal(found, expected), turn
        assert sizes == [1, 4, 2, 1, 4], turn  # the drawn frame, and slices that end where a visual does
    assert len(entries(kept)) == 4
    assert sum(entry.stat().st_size for entry in entries(kept)) == 11 * (16 * 64 * dtype.itemsize + 4)


def test_a_visual_is_found_whatever_else_is_shown(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, one, other, third = tower(), frames(6, 1), frames(3, 2), frames(5, 3)
    encoder(torch.cat([one, other]), [6, 3])
    sizes = runs(encoder, monkeypatch)
    batch = torch.cat([other, third, one])
    found = encoder(batch, [3, 5, 6])
    assert sizes == [4, 1]  # those of the third
    assert torch.equal(found, torch.cat([without(encoder, clip) for clip in (other, third, one)]))
    assert encoder(one[:0]).shape == (0, 16, 64)
    assert torch.equal(encoder(one), without(encoder, one))  # as a question watches it: a visual by itself
    sizes.clear()
    assert torch.equal(encoder(one.clone()), encoder(one))
    assert sizes == []


def test_one_pixel_makes_other_frames(kept: Path) -> None:
    encoder, batch = tower(), frames(4)
    changed = batch.clone()
    changed[3, 2, 55, 55] ^= 1
    for shown in (batch, changed, batch[:3], batch[[1, 0, 2, 3]]):
        assert torch.equal(encoder(shown), without(encoder, shown))
    assert len(entries(kept)) == 4


def test_features_may_be_written_to_and_the_entry_stays(kept: Path) -> None:
    encoder, batch = tower(), frames(3)
    expected = encoder(batch).clone()
    encoder(batch).zero_()
    assert torch.equal(encoder(batch), expected)


def test_another_tower_has_other_entries(kept: Path) -> None:
    encoder, batch = tower(), frames(2)

    def is_another(count: int) -> None:
        assert torch.equal(encoder(batch), without(encoder, batch))
        assert len(entries(kept)) == count

    is_another(1)
    with torch.no_grad():
        encoder.encoder["layers"][0].mlp.fc1.weight[0, 0] += 1e-3
    is_another(2)
    encoder.load_state_dict(tower().state_dict())
    is_another(2)  # the first one again
    with torch.autocast("cpu", torch.bfloat16):
        is_another(3)
    encoder = tower(replace(CONFIGS[0], heads=2))  # which has the same weights
    is_another(4)
    encoder = tower(replace(CONFIGS[0], slice=9, checkpointing=True))
    is_another(4)
    encoder.to(torch.bfloat16)
    is_another(5)
    encoder = tower(replace(CONFIGS[0], fp8="emulated"))
    encoder.to_fp8()
    is_another(6)
    with torch.no_grad():
        encoder.encoder["layers"][0].mlp.fc1.hold(torch.randn(128, 64))
    is_another(7)


def test_a_tower_that_learns_is_not_kept(kept: Path) -> None:
    encoder, batch = tower().requires_grad_(True), frames(2)
    encoder(batch).sum().backward()
    assert not kept.exists()
    with torch.no_grad():
        encoder(batch)
    assert len(entries(kept)) == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "longer", "changed", "sums"])
def test_a_damaged_entry_is_made_anew(damage: str, kept: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder, batch = tower(), frames(4)
    expected = encoder(batch)
    (entry,) = entries(kept)
    data = entry.read_bytes()
    place = {"sums": len(data) - 2}.get(damage, 5000)
    changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
    entry.write_bytes({"cut": data[:-1], "empty": b"", "longer": data + b"\0"}.get(damage, changed))
    assert torch.equal(encoder(batch), expected)
    assert "is damaged: it is made anew" in caplog.text
    assert entry.read_bytes() == data


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_costs_the_entry_and_nothing_else(
    number: int, kept: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder, batch = tower(), frames(9)
    expected = without(encoder, batch)
    kept.mkdir(parents=True)
    store._warn_once.cache_clear()
    with failing_disk(kept, 1.0, number):
        assert torch.equal(encoder(batch), expected)
        assert torch.equal(encoder(batch), expected)
    assert entries(kept) == []
    assert caplog.text.count("features can't be kept in") == 1
    assert "the tower makes them each time" in caplog.text


def test_an_error_on_the_way_leaves_nothing_behind(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(writing: Writing, record: memoryview) -> None:
        raise MemoryError

    monkeypatch.setattr(Writing, "add", fails)
    with pytest.raises(MemoryError) as raised:
        tower()(frames(3))
    left = [path.name for path in kept.rglob("*") if path.is_file()]
    assert sorted(left) == [".bytes", ".lock"], raised


def test_the_limit_holds_and_what_was_used_last_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 4 * (16 * 64 * 4 + 4)
    monkeypatch.setattr(store, "RECENT", -1.0)
    with features_kept("features", tmp_path, 3.5 * size / GIB):
        encoder, clips = tower(), [frames(4, seed) for seed in range(5)]
        for clip in (*clips[:3], clips[0], *clips[3:]):
            time.sleep(0.02)  # file systems tell times apart by ticks of up to 10 ms
            assert torch.equal(encoder(clip), without(encoder, clip))
            assert sum(entry.stat().st_size for entry in entries(tmp_path)) <= 3.5 * size
        sizes = runs(encoder, monkeypatch)
        encoder(clips[4])
        encoder(clips[0])
        assert sizes == []
        encoder(clips[1])
        assert sizes == [4]


def test_several_processes_write_and_read_at_once(kept: Path) -> None:
    encoder, clips = tower(), [frames(4 + seed, seed) for seed in range(4)]
    expected = [without(encoder, clip) for clip in clips]
    cache = FeatureCache(kept, 14 * (16 * 64 * 4 + 4) / GIB)  # so that they remove each other's

    def many(turn: int) -> None:
        use(FeatureCache, cache)
        torch.set_num_threads(1)
        for n in torch.randint(4, (20,), generator=torch.Generator().manual_seed(turn)).tolist():
            assert torch.equal(encoder(clips[n]), expected[n])

    in_three_forks(many)
    assert 0 < sum(entry.stat().st_size for entry in entries(kept)) <= cache.limit
    assert list(kept.rglob("*.part")) == []


def batch_of(*seeds: int) -> Batch:
    """Rows of videos of several lengths, an image, and text alone."""
    shown = [example(video(3), seed=seeds[0]), example(IMAGE, video(1), seed=seeds[1]), example()]
    return collate([shown[:2], shown[2:], [example(video(2), IMAGE, seed=seeds[2])]], pad=0)


def step(m: VideoLanguageModel, batch: Batch) -> list[Tensor]:
    """Loss and gradients of a step in which the tower is frozen."""
    m.zero_grad()
    m.vision.requires_grad_(False)
    out = m(batch)
    out.loss_sum.backward()
    return [out.loss_sum.detach(), *(p.grad.clone() for p in m.parameters() if p.grad is not None)]


@pytest.mark.parametrize("slice_", [4, 64])  # so that slices end where visuals do, and so that they don't
@pytest.mark.parametrize("changes", [{}, {"prune": VisionZipConfig(keep=0.5)}], ids=["all", "pruned"])
def test_a_step_is_the_same_to_the_last_bit(
    changes: dict[str, Any], slice_: int, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = model(vision=replace(PARTS.vision, slice=slice_), **changes)
    batches = [batch_of(0, 1, 2), batch_of(3, 1, 0), collate([[example()]], pad=0)]
    with features_kept("none", "", 1.0):
        expected = [step(m, batch) for batch in batches]
    for turn in ("cold", "warm"):
        sizes = runs(m.vision, monkeypatch)
        for batch, right in zip(batches, expected, strict=True):
            found = step(m, batch)
            assert len(found) == len(right) > 10
            assert all(map(torch.equal, found, right)), turn
    # VisionZip asks for the tower's attention, so it runs; otherwise nothing is encoded twice.
    assert (sizes == []) == (not changes)


def test_trying_micro_batches_keeps_nothing(kept: Path) -> None:
    m = model()
    m.vision.requires_grad_(False)
    assert fits_in_memory(m, batch_of(0, 1, 2), "32-true", torch.device("cpu"), limit=10**12)
    assert not kept.exists()


def test_nothing_is_kept_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert in_use(FeatureCache) is None
    for what in ("none", "frames"):
        with features_kept(what, tmp_path / "cache", 1.0):
            tower()(frames(2))
    assert not (tmp_path / "cache").exists()
