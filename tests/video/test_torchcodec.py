"""Frames through torchcodec, on the CPU where it is installed, and what is refused of a card."""

import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.video.numbered import KINDS, numbers_of
from vxl.errors import ConfigError, DataError
from vxl.video import decode as decoding
from vxl.video.decode import KeptReader, decode, open_video
from vxl.video.decoder import torchcodec as ours
from vxl.video.decoder.alike import refuse_other_picture
from vxl.video.decoder.torchcodec import TorchcodecReader, card_here
from vxl.video.frame_cache import Entry, FrameCache
from vxl.video.transform import PixelSpec

Numbered = Callable[[str], Path]
CARD = torch.device("cuda", 0)
PIXELS = PixelSpec(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# Of some files torchcodec seeks to other frames than it is asked for, or none can be asked for by its time.
INEXACT = {"b_frames.ts", "late_start.ts", "mpeg2.ts", "b_frames.avi", "mpeg4.avi", "edit_list.mp4"} | {
    "intra_refresh.mp4",
    "vp8_hidden.webm",
}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_exact_or_refused(kind: str, numbered: Numbered) -> None:
    pytest.importorskip("torchcodec.decoders", exc_type=Exception)
    path = numbered(kind)
    frames_FCHW = decode(path, range(110))
    given = 0
    for wanted in ([109], [1, 2, 50, 109], [7, 90], list(range(110))):
        try:
            decoded_FCHW = decode(path, wanted, decoder="torchcodec")
        except DataError:
            continue
        assert numbers_of(decoded_FCHW) == numbers_of(frames_FCHW[wanted])
        assert (decoded_FCHW.float() - frames_FCHW[wanted].float()).abs().mean() < 3.0
        given += 1
    assert given == 4 or kind in INEXACT


@pytest.mark.parametrize("kind", ["variable_rate.mp4", "late_start.mp4", "b_frames.mkv"])
def test_the_last_frame_need_not_last(kind: str, numbered: Numbered) -> None:
    pytest.importorskip("torchcodec.decoders", exc_type=Exception)
    for wanted in ([119], [3, 118, 119]):
        assert numbers_of(decode(numbered(kind), wanted, decoder="torchcodec")) == wanted


def test_frames_without_stamps_are_refused(numbered: Numbered, fake: type["FakeDecoder"]) -> None:
    with pytest.raises(
        DataError, match=r"have no time stamps(.|\n)*use  video.decoder=pyav video.device=cpu"
    ):
        on_card(numbered("b_frames.avi"), [7])


def test_this_torchcodec_can_not_decode_on_a_card(numbered: Numbered) -> None:
    pytest.importorskip("torchcodec.decoders", exc_type=Exception)
    if torch.cuda.is_available():
        pytest.skip("there is a card")
    with (
        TorchcodecReader(numbered("b_frames.mp4"), device=CARD) as reader,
        pytest.raises(ConfigError, match=r"video.device=cuda: torchcodec .* can't decode on cuda:0: "),
    ):
        next(iter(reader.frames([3])))


class Status:
    """What a decoder says of falling back to the CPU."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __bool__(self) -> bool:
        return bool(self.reason)

    def __str__(self) -> str:
        return f"[CUDA] Fallback status: Falling back due to: {self.reason}"


class FakeDecoder:
    """torchcodec's decoder as far as it is used, over 25 frames a second that PyAV decodes."""

    fallback, error, shift = "", "", 0
    asked: tuple[str, int] = ("", 0)

    def __init__(self, source: str, *, device: str, **settings: object) -> None:
        if self.error and device != "cpu":
            raise RuntimeError(self.error)
        type(self).asked = device, threading.get_ident()
        self.frames_FCHW = decode(source.removeprefix("file:"), range(120)).roll(self.shift, 0)
        self.metadata = SimpleNamespace(end_stream_seconds=4.8)
        self.cpu_fallback = Status(self.fallback)

    def __len__(self) -> int:
        return 120

    def get_frames_played_at(self, seconds: list[float]) -> SimpleNamespace:
        return self.get_frames_at([int(second * 25) for second in seconds])

    def get_frames_at(self, indices: list[int]) -> SimpleNamespace:
        return SimpleNamespace(data=self.frames_FCHW[indices], pts_seconds=torch.tensor(indices) / 25)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[FakeDecoder]:
    """A torchcodec with a card, whose frames are in the host's memory all the same."""

    class Decoder(FakeDecoder):
        pass

    package, decoders = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
    package.__version__, decoders.VideoDecoder = "0.0", Decoder  # ty: ignore[unresolved-attribute]
    monkeypatch.setitem(sys.modules, "torchcodec", package)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    monkeypatch.setattr(decoding, "card_here", lambda: CARD)
    ours._say_fallback.cache_clear()
    return Decoder


def on_card(path: Path, wanted: list[int]) -> Tensor:
    return decode(path, wanted, decoder="torchcodec", device="cuda", pixels=PIXELS)


def test_frames_of_a_card(numbered: Numbered, fake: type[FakeDecoder]) -> None:
    path = numbered("b_frames.mp4")
    wanted = [0, 17, 40, 119]
    assert torch.equal(on_card(path, wanted), decode(path, wanted, pixels=PIXELS))
    assert fake.asked == ("cuda:0", threading.get_ident())


def test_the_thread_that_decodes_makes_the_decoder(numbered: Numbered, fake: type[FakeDecoder]) -> None:
    with open_video(numbered("b_frames.mp4"), decoder="torchcodec", device="cuda") as reader:
        thread = threading.Thread(target=lambda: list(reader.frames([3])))
        thread.start()
        thread.join()
    assert fake.asked[1] not in (0, threading.get_ident())


def test_another_picture_than_ffmpegs_is_refused(numbered: Numbered, fake: type[FakeDecoder]) -> None:
    fake.shift = 30
    with pytest.raises(
        DataError, match=r"torchcodec 0.0 on cuda gives another picture than FFmpeg for frame 3"
    ):
        on_card(numbered("b_frames.mp4"), [3, 4])


def test_pictures_differ_by_rounding_or_not_at_all() -> None:
    expected_1CHW = torch.full((1, 3, 8, 8), 100, dtype=torch.uint8)
    said = {"name": "a.mp4", "decoder": "x", "number": 0}
    refuse_other_picture(expected_1CHW + 2, expected_1CHW, **said)
    for got_1CHW in (expected_1CHW + 20, expected_1CHW[:, :, :4], expected_1CHW - 20):
        with pytest.raises(DataError, match=r"a\.mp4: x gives another picture"):
            refuse_other_picture(got_1CHW, expected_1CHW, **said)


def test_what_nvdec_lacks_the_cpu_decodes_and_it_is_said_once(
    numbered: Numbered, fake: type[FakeDecoder], caplog: pytest.LogCaptureFixture
) -> None:
    fake.fallback = "Video not supported"
    path = numbered("b_frames.mp4")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert numbers_of(decode(path, [5], decoder="torchcodec", device="cuda")) == [5]
    assert len(caplog.messages) == 1
    assert "NVDEC does not decode this h264 video" in caplog.messages[0]


def test_a_driver_without_nvdec_is_refused(numbered: Numbered, fake: type[FakeDecoder]) -> None:
    fake.fallback = "NVcuvid unavailable"
    with pytest.raises(ConfigError, match=r"libnvcuvid, is not found(.|\n)*NVIDIA_DRIVER_CAPABILITIES"):
        on_card(numbered("b_frames.mp4"), [5])


def test_a_torchcodec_without_cuda_is_no_fault_of_the_file(
    numbered: Numbered, fake: type[FakeDecoder]
) -> None:
    fake.error = "Unsupported device: cuda:0"
    with pytest.raises(ConfigError, match=r"torchcodec 0.0 can't decode on cuda:0: Unsupported device"):
        on_card(numbered("b_frames.mp4"), [5])


def test_a_full_card_is_no_fault_of_the_file(
    numbered: Numbered, fake: type[FakeDecoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: FakeDecoder, seconds: list[float]) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(fake, "get_frames_played_at", full)
    with pytest.raises(torch.OutOfMemoryError):
        on_card(numbered("b_frames.mp4"), [5])


def test_a_card_is_refused_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"finds no CUDA card here to decode on.\n  type  video.device=cpu"):
        card_here()


@pytest.mark.parametrize("decoder", ["pyav", "opencv"])
def test_other_decoders_have_no_card(decoder: str, numbered: Numbered) -> None:
    with pytest.raises(ConfigError, match=rf"device=cuda with decoder={decoder}: only torchcodec decodes"):
        decode(numbered("b_frames.mp4"), [0], decoder=decoder, device="cuda")
    with pytest.raises(ConfigError, match=r"device=gpu does not exist.\n  choose one of: cpu, cuda"):
        decode(numbered("b_frames.mp4"), [0], decoder=decoder, device="gpu")


def test_a_card_has_entries_of_its_own(
    numbered: Numbered, fake: type[FakeDecoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the cache of frames: of each card, and apart from the CPU's."""
    path = numbered("b_frames.mp4")
    cache = FrameCache(tmp_path, 1.0)

    def entry(place: torch.device, card: str, precision: str = "highest") -> Path:
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: card)
        monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: precision)
        kept = KeptReader(cache, path, "torchcodec", "a", TorchcodecReader(path, device=place), place)
        with kept:
            found = kept.entry(np.array([0, 60]), PIXELS)
            assert found is not None
            assert found.device == place
            return found.records.path

    cpu, first = entry(ours.CPU, "H100"), entry(CARD, "H100")
    assert entry(ours.CPU, "A100") == cpu
    assert entry(CARD, "H100") == first
    assert len({cpu, first, entry(CARD, "A100"), entry(CARD, "H100", "high")}) == 4


def test_kept_frames_come_to_the_device(tmp_path: Path) -> None:
    frames_FCHW = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    entry = Entry(FrameCache(tmp_path, 1.0), "a", PIXELS, np.arange(3))
    list(entry.written(iter(frames_FCHW.split(1)), lambda: True))
    found_FCHW = entry.find(np.arange(3))
    assert found_FCHW is not None
    assert torch.equal(found_FCHW, frames_FCHW)
    for wanted in (np.arange(3), np.array([0, 2])):
        there_FCHW = Entry(entry.cache, "a", PIXELS, np.arange(3), "meta").find(wanted)
        assert there_FCHW is not None
        assert there_FCHW.device.type == "meta"
        assert there_FCHW.shape == (len(wanted), 3, 32, 32)


def test_a_torchcodec_that_is_absent_is_told_from_one_that_does_not_fit() -> None:
    absent = ModuleNotFoundError("No module named 'torchcodec'", name="torchcodec")
    assert "torchcodec is not installed.\n  type  pip install" in ours._absent(absent)
    assert "built for the CUDA" not in ours._absent(absent)
    assert "built for the CUDA of torch" in ours._absent(RuntimeError("undefined symbol"))
