"""Long videos made of scenes: what is shown is what the script says, and parts of the data share no clip."""

import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vxl.data.batch.answer import format_question
from vxl.data.clips.drawn import COLOURS
from vxl.data.long import Long, LongConfig
from vxl.data.long.scenes import FPS, LOOKS, clips_of, draw_on, scenes_of
from vxl.data.long.script import Event, write_script
from vxl.data.long.windows import NOTHING
from vxl.data.sample import PLACEHOLDER, Turn
from vxl.errors import ConfigError, DataError
from vxl.video.transform import PixelSpec
from vxl.video.virtual import Part, Segments

PIXELS = PixelSpec(48, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SETTINGS = {"videos": 6, "held_out_videos": 3, "needle_seconds": 2.0, "minutes": [0.5, 2.0]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Long:
    """Of two clips."""
    folder = tmp_path_factory.mktemp("two")
    for name in ("bunny.mp4", "monitors.mp4"):
        (folder / name).symlink_to(clips / name)
    made = Long(LongConfig(**SETTINGS, folder=str(folder)), cache=tmp_path_factory.mktemp("cache"))
    made.prepare()
    return made


def test_every_video_is_asked_about_in_every_way(data: Long) -> None:
    source = data.training(0).sources["long"]
    assert len(source) == data.count() == 42
    samples = [source.record(number) for number in range(len(source))]
    assert len({sample.key for sample in samples}) == 42
    assert len({sample.visuals for sample in samples}) == 6
    assert [sample.source for sample in samples[:7]] == data.config.kinds
    assert source.known_bad() == []
    assert len(list(data.texts())) >= 42


def test_a_conversation_asks_the_same_questions_in_another_order(data: Long) -> None:
    one_by_one = data.training(0).sources["long"]
    talking = Long(replace(data.config, together=True), cache=data.cache)
    together = talking.training(0).sources["long"]
    assert len(together) == talking.count() == 6
    orders = set()
    for video in range(6):
        sample = together.record(video)
        alone = [one_by_one.record(7 * video + part) for part in range(7)]
        assert sample.visuals == alone[0].visuals
        assert sample.question is None
        assert sample.turns[0].text.startswith(PLACEHOLDER)
        assert sum(turn.text.count(PLACEHOLDER) for turn in sample.turns) == 1
        asked = texts_of_turns(sample.turns)
        questions = [one.question for one in alone if one.question is not None]
        assert set(asked) == {(format_question(question), question.answer) for question in questions}
        texts = [format_question(question) for question in questions]
        orders.add(tuple(texts.index(text) for text, _ in asked))
        assert together.load(video).media == one_by_one.load(7 * video).media
    assert len(orders) > 1
    held_out = talking.validation()
    assert [held_out.record(n) for n in range(21)] == [data.validation().record(n) for n in range(21)]


def test_further_rounds_ask_more_of_the_same_video_and_nothing_twice(data: Long) -> None:
    talking = Long(replace(data.config, together=True), cache=data.cache).training(0).sources["long"]
    longer = Long(replace(data.config, together=True, rounds=3), cache=data.cache).training(0).sources["long"]
    assert len(longer) == len(talking)
    for video in range(6):
        once, thrice = (texts_of_turns(source.record(video).turns) for source in (talking, longer))
        assert thrice[:7] == once
        assert 7 < len(thrice) <= 21
        asked = [text for text, _ in thrice]
        assert len(set(asked)) == len(asked)


def test_windows_cut_the_whole_video_and_tell_all_of_it(data: Long) -> None:
    config = replace(data.config, together=True, windows=2)
    long = Long(config, cache=data.cache)
    source = long.training(0).sources["long"]
    each = 3
    assert len(source) == long.count() == 6 * each
    keys = [source.record(number).key for number in range(len(source))]
    assert len(set(keys)) == len(keys)
    for video in range(6):
        script = write_script(config, "train", video)
        lengths = set()
        for part in (1, 2):
            loaded = source.load(each * video + part)
            sample = loaded.sample
            assert sample.source == "windows"
            assert loaded.media == (source.load(each * video).media[0],) * len(sample.visuals)
            cuts = [0.0, *(clip.end for clip in sample.visuals)]
            assert [clip.start for clip in sample.visuals] == cuts[:-1]
            assert cuts[-1] == script.seconds
            lengths |= {clip.end - clip.start for clip in sample.visuals}
            told = [answer for _, answer in texts_of_turns(sample.turns) if len(answer) > 1]
            assert len(told) == len(sample.visuals)
            expected = [f"A {event.colour} {event.shape}, {event.place}." for event in script.events]
            assert " ".join(answer for answer in told if answer != NOTHING) == " ".join(expected)
            assert sum(turn.text.count(PLACEHOLDER) for turn in sample.turns) == len(sample.visuals)
        assert all(length % config.needle_seconds == 0 for length in lengths)
    assert len(long.validation()) == 21


def texts_of_turns(turns: Sequence[Turn]) -> list[tuple[str, str]]:
    """Questions and answers, in order."""
    pairs = zip(turns[::2], turns[1::2], strict=True)
    return [(user.text.removeprefix(f"{PLACEHOLDER}\n"), letter.text) for user, letter in pairs]


def test_the_video_shows_what_the_script_says_when_it_says(data: Long) -> None:
    source = data.validation()
    for number in range(3):
        (video,) = source.load(7 * number).media
        assert isinstance(video, Segments)
        script = write_script(data.config, "held_out", number)
        assert video.info.frames == source.record(7 * number).visuals[0].frames == script.seconds * FPS
        for event in script.needles:
            first = round(event.start * FPS)
            frames_FCHW = video.frames([first, first + 7], None)
            for frame_CHW in frames_FCHW:
                assert shown(frame_CHW, event) > 150
            for outside in {max(first - 1, 0), min(first + 8, video.info.frames - 1)} - {first, first + 7}:
                assert shown(video.frames([outside], None)[0], event) < 150


def shown(frame_CHW: torch.Tensor, event: Event) -> int:
    """Pixels of an event's colour in the quarter of a frame where it is."""
    left, top = "left" in event.place, "top" in event.place
    quarter_CHW = frame_CHW[:, :36, :] if top else frame_CHW[:, 36:, :]
    quarter_CHW = quarter_CHW[:, :, :64] if left else quarter_CHW[:, :, 64:]
    apart_CHW = (quarter_CHW.int() - torch.tensor(COLOURS[event.colour])[:, None, None]).abs()
    return int((apart_CHW.amax(0) < 40).sum())


def test_a_shape_has_many_looks_and_all_of_them_are_used(data: Long) -> None:
    """On one frame alone a model learns the frame."""
    source = data.source("train")
    looks = [
        (part.file, part.start)
        for video in range(60)
        for part in source.segments(source.script(video), video).parts
        if part.file.rpartition("/")[2].startswith("white")
    ]
    by_file = Counter(looks)
    assert len({start for _, start in by_file}) == LOOKS
    frames = {look: Segments((Part(*look, 2.0),), 4.0, 128, 72).frames([0], None) for look in by_file}
    pictures = {tensor.numpy().tobytes() for tensor in frames.values()}
    assert len(pictures) == len(by_file)


def test_frames_do_not_depend_on_which_others_are_asked_for(data: Long) -> None:
    (video,) = data.validation().load(0).media
    assert isinstance(video, Segments)
    indices = list(range(0, video.info.frames, 5))
    together = video.frames(indices, PIXELS)
    assert together.shape == (len(indices), 3, 48, 48)
    for number in (0, 7, len(indices) - 1):
        assert (video.frames([indices[number]], PIXELS)[0] == together[number]).all()


def test_parts_of_the_data_share_no_clip(data: Long, clips: Path) -> None:
    parts = clips_of(clips, 0)
    assert sorted([*parts["train"], *parts["held_out"]]) == sorted(clips.glob("*.mp4"))
    assert [len(parts[split]) for split in ("train", "held_out")] == [3, 1]
    files: dict[str, set[str]] = {"train": set(), "held_out": set()}
    for split, names in files.items():
        for number in range(3):
            (video,) = data.source(split).load(7 * number).media
            names |= {Path(part.file).name for part in video.parts}
    clips_shown = {split: {name for name in names if name[-7:-6] == "-"} for split, names in files.items()}
    assert all(clips_shown.values())
    assert not clips_shown["train"] & clips_shown["held_out"]


def test_scenes_are_the_clip_one_after_another(clips: Path) -> None:
    scenes = list(scenes_of(clips / "monitors.mp4"))
    assert all(scene.shape[1:] == (72, 128, 3) for scene in scenes)
    assert {len(scene) for scene in scenes[:-1]} <= {32}


def test_a_shape_has_the_size_that_was_asked_for() -> None:
    grey = np.full((2, 72, 128, 3), 90, dtype=np.uint8)
    drawn = draw_on(grey, "circle", (220, 40, 40), "top left", 0.25)
    rows = np.flatnonzero((drawn[0] == (220, 40, 40)).all(-1).any(1))
    assert len(rows) == pytest.approx(18, abs=2)
    assert rows[0] <= 2
    assert (grey == 90).all()


def test_scenes_are_written_once_and_a_worker_gets_a_copy(data: Long) -> None:
    before = {path: path.stat().st_mtime_ns for path in data.place.rglob("*")}
    Long(data.config, cache=data.cache).prepare()
    assert before == {path: path.stat().st_mtime_ns for path in data.place.rglob("*")}
    source = pickle.loads(pickle.dumps(data.validation()))
    assert source.record(4) == data.validation().record(4)
    assert source.fingerprint() == data.validation().fingerprint()
    assert source.fingerprint() != data.source("train").fingerprint()


def test_too_few_clips_and_damaged_scenes(tmp_path: Path, data: Long, clips: Path) -> None:
    (tmp_path / "one.mp4").symlink_to(clips / "bunny.mp4")
    with pytest.raises(ConfigError, match="finds 1 videos"):
        Long(LongConfig(folder=str(tmp_path)), cache=tmp_path / "cache").prepare()
    damaged = Long(data.config, cache=tmp_path / "cache")
    (damaged.place / "train").mkdir(parents=True)
    (damaged.place / "train" / "scenes.json").write_text("[")
    with pytest.raises(DataError, match="it is written again if you remove"):
        damaged.source("train")
