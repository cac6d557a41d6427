"""What is trained never depends on a fault of a disk or server: the same rows, or a LostError."""

import errno
import json
import multiprocessing
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from pathlib import Path
from random import Random

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.data.media import image, talk, video
from tests.failing_disk import failing_disk
from vxl.data.order.mixture import Mixture
from vxl.data.order.rows import Order
from vxl.data.order.stream import Stream
from vxl.data.order.worker import ErrorsAsItems, Loader
from vxl.data.sample import BadSample, Sample, SampleWithMedia
from vxl.data.source.json_list import JsonSource
from vxl.data.source.source import IndexedShards, SampleSource
from vxl.data.write.shards import TarMember, write_shards
from vxl.errors import LostError
from vxl.patience import pauses_of
from vxl.video.load import load_image, load_video
from vxl.video.sample import Uniform, UniformConfig

COUNT = 12
Made = tuple[str, str]


def prepare(loaded: SampleWithMedia, seed: int) -> Made:
    """A sample's key and a digest of everything that it shows."""
    digest = blake2b(str(seed).encode(), digest_size=6)
    sampler = Uniform(UniformConfig(max_frames=5))
    for visual, media in zip(loaded.sample.visuals, loaded.media, strict=True):
        if visual.kind == "image":
            digest.update(load_image(media, None).numpy().tobytes())
        else:
            digest.update(load_video(media, sampler, None).frames_FCHW.numpy().tobytes())
    return loaded.sample.key, digest.hexdigest()


def masked(bad: BadSample) -> Made:
    return bad.key, bad.reason


def cost(sample: Sample) -> int:
    return len(sample.turns[1].text.split())


def rows(
    source: SampleSource, workers: int = 0, patience: float = 600.0
) -> list[tuple[int, list[list[Made]]]]:
    """All rows of one pass: their order is by length, which the records tell."""
    order = Order(Mixture({"s": source}, seed=3), cost, seed=3, bucket=COUNT, group=2, max_tokens=9)
    stream = Stream(order, prepare, masked, batch=2, stop_row=6)
    loader = Loader(ErrorsAsItems(stream), batch_size=None, num_workers=workers, patience=patience)
    return [(micro.first_row, micro.rows) for micro in loader]


class Flaky(MemoryFileSystem):
    """A file system in memory a share of whose answers are errors."""

    protocol = "flaky"
    share, failures, random = 0.0, 0, Random(0)
    error: Exception = OSError()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("flaky://", "memory://"))

    def _answer(self) -> None:
        if Flaky.random.random() < Flaky.share:
            Flaky.failures += 1
            raise Flaky.error

    def info(self, path, **kwargs):
        self._answer()
        return super().info(path, **kwargs)

    def cat_file(self, path, start=None, end=None, **kwargs):
        self._answer()
        return super().cat_file(path, start, end, **kwargs)

    def _open(self, path, *args, **kwargs):
        self._answer()
        return super()._open(path, *args, **kwargs)

    def glob(self, path, **kwargs):
        self._answer()
        return super().glob(path, **kwargs)


def members() -> list[TarMember]:
    """Videos, images and texts of different lengths."""
    shown = [{"mp4": video(6 + n)} if n % 3 else {"jpg": image(10 + n)} for n in range(COUNT)]
    return [
        TarMember(f"k{n:02d}", {**shown[n], "json": talk("word " * (1 + n * 5 % 7))}) for n in range(COUNT)
    ]


def of_shards(place: Path, cache: Path) -> SampleSource:
    return IndexedShards(str(place / "*.tar"), cache=cache)


def of_json(place: Path, cache: Path) -> SampleSource:
    return JsonSource(place / "list.json", place / "media", cache=cache)


KINDS: dict[str, Callable[[Path, Path], SampleSource]] = {"shards": of_shards, "json": of_json}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    write_shards(members()[::2], folder, "a-{:03d}.tar")
    write_shards(members()[1::2], folder, "b-{:03d}.tar")
    items = []
    (folder / "media").mkdir()
    for member in members():
        kind, ending = ("video", "mp4") if "mp4" in member.files else ("image", "jpg")
        (folder / "media" / f"{member.key}.{ending}").write_bytes(member.files[ending])
        items.append({"id": member.key, kind: f"{member.key}.{ending}", **member.files["json"]})
    (folder / "list.json").write_text(json.dumps(items))
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("workers", "share"), [(0, 0.6), (0, 0.2), (2, 0.3)])
def test_a_disk_that_fails_now_and_then(
    place: Path, tmp_path: Path, kind: str, workers: int, share: float
) -> None:
    """While it is indexed, while the order is made and while samples are read."""
    straight = rows(KINDS[kind](place, tmp_path / "cache"))
    assert "can't" not in str(straight)
    for index in place.glob("*.index"):
        index.unlink()
    with pauses_of(0.0), failing_disk(place, share) as disk:
        source = KINDS[kind](place, tmp_path / "other")
        while_indexing = disk.failures
        assert not source.known_bad()
        assert rows(source, workers) == straight
    assert while_indexing > 5
    assert workers or disk.failures > while_indexing + 5


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_disk_that_is_gone(
    place: Path, tmp_path: Path, kind: str, number: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vxl.data.order.worker.AFTER_WORKER", 600)  # however late a worker begins
    source = KINDS[kind](place, tmp_path / "cache")
    with pauses_of(0.01, limit=0.05), failing_disk(place, 1, number), pytest.raises(LostError) as lost:
        rows(source, workers, patience=0.1)
    assert not multiprocessing.active_children()
    text = str(lost.value)
    assert text.startswith(str(place))
    assert "the same command goes on" in text
    assert "Traceback" not in text
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError(), OSError(errno.EIO, "EIO")])
def test_a_server_that_fails_now_and_then(tmp_path: Path, error: Exception) -> None:
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    for path in write_shards(members(), tmp_path, "a-{:03d}.tar"):
        with fsspec.open(f"memory://web/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    Flaky.share, Flaky.error = 0.0, error
    source = partial(IndexedShards, "flaky://web/a-*.tar")
    straight = rows(source(cache=tmp_path / "one"))
    Flaky.share, Flaky.failures = 0.5, 0
    with pauses_of(0.0):
        assert rows(source(cache=tmp_path / "two")) == straight
    assert Flaky.failures > 5
    Flaky.share = 1.0
    with pauses_of(0.01, limit=0.05), pytest.raises(LostError, match="flaky://web"):
        source(cache=tmp_path / "three")
    Flaky.share = 0.0


def test_a_folder_that_does_not_answer_is_not_empty(place: Path, tmp_path: Path) -> None:
    """A listing that fails gives no fewer shards: neither a wildcard, nor braces, nor a folder."""
    for pattern in ("*.tar", "{a,b}-000.tar", "", "[ab]-*.tar"):
        with pauses_of(0.0), failing_disk(place, 0.5) as disk:
            source = IndexedShards(str(place / pattern), cache=tmp_path / "cache")
        assert (len(source), disk.failures > 2) == (COUNT, True)


def test_what_is_no_video_is_still_a_bad_sample(place: Path, tmp_path: Path) -> None:
    """Content is told apart from faults also where both come together."""
    members_ = [*members(), TarMember("broken", {"mp4": b"no video" * 99, "json": talk()})]
    write_shards(members_, tmp_path, "c-{:03d}.tar")
    with pauses_of(0.0), failing_disk(tmp_path, 0.5):
        (bad,) = IndexedShards(str(tmp_path / "c-*.tar"), cache=tmp_path / "cache").known_bad()
    assert bad.key == "broken"
    assert "can't be read as a video" in bad.reason
