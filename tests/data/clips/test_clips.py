"""The embedded clips as shards."""

import json
import multiprocessing
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from vxl.data.clips.clips import Clips, ClipsConfig, cut_clip
from vxl.data.clips.drawn import KINDS
from vxl.errors import ConfigError, DataError
from vxl.video.decode import decode


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """The default option, prepared."""
    data = Clips(ClipsConfig(), cache=tmp_path_factory.mktemp("cache"))
    data.prepare()
    return data


@pytest.fixture
def few(tmp_path):
    """A folder with one short real clip."""
    return folder_of(tmp_path / "few")


def folder_of(folder):
    folder.mkdir()
    source = Path(__file__).parents[3] / "examples/clips"
    (entry,) = (
        clip for clip in json.loads((source / "clips.json").read_text()) if clip["video"] == "bunny.mp4"
    )
    (folder / "clips.json").write_text(json.dumps([entry]))
    (folder / "bunny.mp4").write_bytes((source / "bunny.mp4").read_bytes())
    return folder


def samples(source):
    return [source.record(number) for number in range(len(source))]


def questions_of(source):
    return [sample for sample in samples(source) if sample.question is not None]


def test_there_are_enough_questions(clips):
    assert len(questions_of(clips.training(0).sources["clips"])) >= 200
    assert len(questions_of(clips.validation())) >= 100
    assert len(samples(clips.validation())) == len(questions_of(clips.validation()))


def test_letters_are_balanced_to_a_question(clips):
    for source in (clips.training(0).sources["clips"], clips.validation()):
        counts = Counter(sample.question.answer for sample in questions_of(source))
        assert max(counts.values()) - min(counts.values()) <= 1
        assert {len(sample.question.options) for sample in questions_of(source)} == {4}


def test_no_question_is_trained_on_and_held_out(clips):
    def asked(source):
        return {
            (s.visuals[0].name, s.visuals[0].frames, s.question.question, s.question.options)
            for s in questions_of(source)
            if s.source not in KINDS
        }

    assert not asked(clips.training(0).sources["clips"]) & asked(clips.validation())


def test_drawn_clips_are_trained_on_or_held_out(clips):
    def media(source):
        found = [n for n, sample in enumerate(samples(source)) if sample.source in KINDS]
        return {source.load(n).media[0] for n in found[::5]}

    assert not media(clips.training(0).sources["clips"]) & media(clips.validation())


def test_the_source_of_a_sample_is_its_kind(clips):
    kinds = Counter(sample.source for sample in samples(clips.validation()))
    assert set(kinds) == {"given", "time", "segment", "next", "order", *KINDS}


def test_whole_clips_and_segments_are_described(clips):
    described = [s for s in samples(clips.training(0).sources["clips"]) if s.source == "caption"]
    assert len(described) == 4 + 22
    assert any(sample.turns[1].text == "The title Sintel under a tree emblem." for sample in described)


def test_members_are_h264_that_decodes(clips):
    source = clips.validation()
    for number in (0, len(source) - 1):
        loaded = source.load(number)
        visual = loaded.sample.visuals[0]
        frames_FCHW = decode(loaded.media[0], range(visual.frames))
        assert frames_FCHW.shape == (visual.frames, 3, visual.height, visual.width)
        assert visual.fps == 4.0


def test_a_segment_is_as_long_as_it_is_said_to_be(clips):
    found = {s.key: s.visuals[0].seconds for s in samples(clips.training(0).sources["clips"])}
    assert found["sintel_trailer-segment-00"] == 7.5
    assert found["sintel_trailer-caption"] == pytest.approx(52.2, abs=0.3)


def test_preparing_again_writes_nothing(clips):
    before = {path: path.stat().st_mtime_ns for path in clips.cache.rglob("*")}
    Clips(ClipsConfig(), cache=clips.cache).prepare()
    assert {path: path.stat().st_mtime_ns for path in clips.cache.rglob("*")} == before


def test_equal_settings_give_equal_bytes(few, tmp_path):
    config = ClipsConfig(folder=str(few), drawn=4)
    written = []
    for name in "ab":
        data = Clips(config, cache=tmp_path / name)
        data.prepare()
        written.append({p.name: p.read_bytes() for p in sorted(data.place.rglob("*.tar"))})
    assert written[0] == written[1]
    assert written[0]


def test_other_settings_or_clips_are_another_place(few, tmp_path):
    def place(**changes):
        return Clips(ClipsConfig(**{"folder": str(few), **changes}), cache=tmp_path).place

    assert len({place(), place(drawn=3), place(drawing_seed=1), place(folder=None)}) == 4
    before = place()
    (few / "clips.json").write_text((few / "clips.json").read_text().replace("rabbit", "hare"))
    assert place() != before


def prepare(folder, cache):
    Clips(ClipsConfig(folder=str(folder), drawn=2), cache=cache).prepare()


def test_two_processes_prepare_once(few, tmp_path):
    cache = tmp_path / "cache"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=prepare, args=(few, cache)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(path.name.partition("-")[0] for path in cache.iterdir()) == [".clips.lock", "clips"]
    assert len(Clips(ClipsConfig(folder=str(few), drawn=2), cache=cache).validation()) > 0


def test_what_is_left_of_a_killed_preparation_is_no_hindrance(few, tmp_path):
    data = Clips(ClipsConfig(folder=str(few), drawn=1), cache=tmp_path / "cache")
    half = data.cache / f".{data.place.name}.1.partial" / "train"
    half.mkdir(parents=True)
    (half / "shard-000000.tar").write_bytes(b"half")
    data.prepare()
    assert len(data.validation()) > 0


def test_an_error_leaves_nothing_behind(few, tmp_path):
    (few / "bunny.mp4").write_bytes((few / "bunny.mp4").read_bytes()[:1000])
    data = Clips(ClipsConfig(folder=str(few)), cache=tmp_path / "cache")
    with pytest.raises(DataError, match=r"bunny\.mp4"):
        data.prepare()
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".clips.lock"]


def test_a_folder_without_clips(tmp_path):
    with pytest.raises(ConfigError, match=r"data\.folder=FOLDER"):
        Clips(ClipsConfig(folder=str(tmp_path)), cache=tmp_path).prepare()


def test_a_cache_that_cannot_be_written(few, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / ".clips.lock").mkdir()  # stands for a read-only folder, which root could write to
    with pytest.raises(DataError, match=r"paths\.cache=FOLDER"):
        Clips(ClipsConfig(folder=str(few)), cache=tmp_path / "cache").prepare()


def test_cutting_keeps_at_least_one_frame():
    frames_FHWC = np.arange(8)[:, None, None, None]
    assert cut_clip(frames_FHWC, 0.5, 1.0)[:, 0, 0, 0].tolist() == [2, 3]
    assert cut_clip(frames_FHWC, 1.9, 1.9)[:, 0, 0, 0].tolist() == [7]
    assert len(cut_clip(frames_FHWC, None, None)) == 8
