"""Samples to examples."""

import json

import pytest
import torch

from tests.data.media import image, video
from tests.data.talking import prompt, written
from tests.video.numbered import write as numbered
from vxl.data.batch.examples import Examples, without_labels
from vxl.data.sample import BadSample, Question, Sample, SampleWithMedia, Turn, Visual
from vxl.data.source.headers import describe_media
from vxl.errors import DataError
from vxl.video.decode import decode
from vxl.video.load import load_image, load_video
from vxl.video.sample import Fps, FpsConfig
from vxl.video.tiles import TilesConfig, cut_into_views, views_of
from vxl.video.transform import PixelSpec

PIXELS = PixelSpec(size=28, mean=(0.5,) * 3, std=(0.5,) * 3)
TALK = (Turn("user", "<image>\nWhat is it?"), Turn("assistant", "A cat."))


@pytest.fixture
def examples():
    return Examples(prompt(), Fps(FpsConfig(max_frames=16)), PIXELS)


def film(frames, **cut):
    data = video(frames)
    fields = describe_media(data, "video", "v.mp4")
    return SampleWithMedia(Sample("s", TALK, (Visual("video", "v.mp4", **fields, **cut),)), (data,))


def test_a_video_is_sampled_as_its_record_says(examples):
    loaded = film(40)  # 10 s at 4 frames/s: one frame a second
    example = examples.make(loaded, 0)
    assert [shown.seconds for shown in examples.shown(loaded.sample)] == [tuple(float(n) for n in range(10))]
    expected = decode(loaded.media[0], range(0, 40, 4), pixels=PIXELS)
    assert torch.equal(example.frames_FCHW[:10], expected)
    assert len(example.frames_FCHW) == 12
    assert len(example.encoded) == examples.cost(loaded.sample)


def test_a_cut_shows_its_part(examples):
    loaded = film(40, start=5.0, end=7.0)
    example = examples.make(loaded, 0)
    assert torch.equal(example.frames_FCHW[:8], decode(loaded.media[0], range(20, 28), pixels=PIXELS))


def test_an_image_is_as_many_views_as_its_record_says():
    examples = Examples(prompt(images=TilesConfig(side=3)), Fps(FpsConfig()), PIXELS)
    data = image(70, 40)
    visual = Visual("image", "a.jpg", **describe_media(data, "image", "a.jpg"))
    loaded = SampleWithMedia(Sample("s", TALK, (visual,)), (data,))
    example = examples.make(loaded, 0)
    views = cut_into_views(load_image(data, None), PIXELS, TilesConfig(side=3))
    assert len(views) == views_of(visual.width, visual.height, 28, TilesConfig(side=3)) > 2
    assert torch.equal(example.frames_FCHW, views.repeat_interleave(4, dim=0))
    assert [(item.frames, item.groups) for item in example.encoded.items] == [(4 * len(views), len(views))]
    assert len(example.encoded) == examples.cost(loaded.sample)


def test_a_sideways_image_has_its_upright_size():
    from io import BytesIO

    from PIL import Image

    file, exif = BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(file, "jpeg", exif=exif)
    fields = describe_media(file.getvalue(), "image", "a.jpg")
    assert (fields["width"], fields["height"]) == (20, 40)
    assert load_image(file.getvalue(), None).shape == (3, 40, 20)


def test_a_question_brings_its_letters(examples):
    question = Question("What is it?", ("a", "b", "c"), "C")
    example = examples.make(SampleWithMedia(Sample("q", question=question)), 0)
    assert example.letters == tuple(prompt().letters(3))
    assert example.frames_FCHW.shape == (0, 3, 28, 28)


def test_mixed_visuals_stand_in_order(examples):
    data = [image(), video(8)]
    visuals = tuple(
        Visual(kind, name, **describe_media(media, kind, name))
        for kind, name, media in zip(("image", "video"), ("a.jpg", "v.mp4"), data, strict=True)
    )
    turns = (Turn("user", "<image> <image>"), Turn("assistant", "A"))
    example = examples.make(SampleWithMedia(Sample("s", turns, visuals), tuple(data)), 0)
    assert [(item.kind, item.frames) for item in example.encoded.items] == [("image", 4), ("video", 8)]
    assert len(example.frames_FCHW) == 12


def test_a_video_without_frames_in_its_cut(examples):
    with pytest.raises(DataError, match=r"v\.mp4: no frame between"):
        examples.cost(film(8, start=60.0).sample)


def test_media_that_cannot_be_read(examples):
    loaded = film(8)
    with pytest.raises(DataError, match=r"v\.mp4"):
        examples.make(SampleWithMedia(loaded.sample, (loaded.media[0][:600],)), 0)


def test_a_masked_example_teaches_nothing(examples):
    bad = BadSample("a.tar", "k", "cut off")
    example = examples.masked(bad)
    assert example.bad == bad
    assert set(example.encoded.labels) == {-100}
    assert len(example.encoded) == 1
    assert example.frames_FCHW.shape == (0, 3, 28, 28)


def test_a_filling_keeps_its_frames(examples):
    example = examples.make(film(8), 0)
    filling = without_labels(example)
    assert filling.padding
    assert set(filling.encoded.labels) == {-100}
    assert filling.encoded.tokens == example.encoded.tokens
    assert set(example.encoded.labels) != {-100}
    assert torch.equal(filling.frames_FCHW, example.frames_FCHW)


def test_a_variable_rate_is_trained_on_at_its_own_times(examples, tmp_path):
    """Eight frames a second for a second, then one a second: from an index as from the file itself."""
    times = [*(n / 8 for n in range(8)), *(1.0 + n for n in range(9))]
    path = numbered(tmp_path / "v.mkv", frames=len(times), pts_ms=lambda n: round(1000 * times[n]))
    fields = json.loads(json.dumps(describe_media(str(path), "video", "v.mkv")))
    loaded = SampleWithMedia(Sample("s", TALK, (Visual("video", "v.mkv", **fields),)), (str(path),))
    (shown,) = examples.shown(loaded.sample)
    assert shown.seconds == tuple(float(n) for n in range(10))
    frames_FCHW = examples.make(loaded, 0).frames_FCHW
    assert torch.equal(frames_FCHW[:10], decode(path, [0, *range(8, 17)], pixels=PIXELS))
    streamed = load_video(path, examples.sampler, PIXELS)
    assert tuple(streamed.seconds) == shown.seconds
    assert torch.equal(streamed.frames_FCHW, frames_FCHW[:10])
    assert "Time 8.0s:" in written(examples.make(loaded, 0).encoded)
