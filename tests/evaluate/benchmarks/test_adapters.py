import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.evaluate.benchmarks import fixtures
from vxl.errors import ConfigError, DataError
from vxl.evaluate.benchmarks import (
    charades_sta,
    egoschema,
    longvideobench,
    lvbench,
    mlvu,
    mvbench,
    tempcompass,
    vdc,
    videomme,
    videommmu,
    vnbench,
)
from vxl.evaluate.benchmarks.annotations import Counts
from vxl.evaluate.benchmarks.json import JsonList, JsonListConfig
from vxl.evaluate.benchmarks.official import Official
from vxl.evaluate.benchmarks.subtitles import Cue, interleave, read_lines, read_srt
from vxl.evaluate.item import BenchmarkItem
from vxl.evaluate.missing import missing_message
from vxl.video.probe import VideoInfo


def adapter(kind: type[Any], config: Any) -> Any:
    return kind(config, data={}, cache=Path())


def said_of(item: BenchmarkItem) -> str:
    """The right answer; TempCompass has no letters for yes and no."""
    return item.options["AB".index(item.gold)] if item.kind == "yes_no" else item.gold


def every(root: Path) -> dict[str, Official]:
    srt = root / "vmme" / "subtitle"
    fixtures.write(srt / "vid0.srt", fixtures.SRT)
    vmme = str(fixtures.videomme(root / "vmme"))
    made = {
        "longvideobench": (longvideobench.LongVideoBench, longvideobench.LongVideoBenchConfig),
        "mlvu": (mlvu.Mlvu, mlvu.MlvuConfig),
        "lvbench": (lvbench.LvBench, lvbench.LvBenchConfig),
        "vnbench": (vnbench.VnBench, vnbench.VnBenchConfig),
        "charades_sta": (charades_sta.CharadesSta, charades_sta.CharadesStaConfig),
        "mvbench": (mvbench.MvBench, mvbench.MvBenchConfig),
        "egoschema": (egoschema.EgoSchema, egoschema.EgoSchemaConfig),
        "tempcompass": (tempcompass.TempCompass, tempcompass.TempCompassConfig),
        "videommmu": (videommmu.VideoMmmu, videommmu.VideoMmmuConfig),
        "vdc": (vdc.Vdc, vdc.VdcConfig),
    }
    found = {
        name: adapter(kind, config(annotations=str(getattr(fixtures, name)(root / name))))
        for name, (kind, config) in made.items()
    }
    found["videomme"] = adapter(videomme.VideoMme, videomme.VideoMmeConfig(annotations=vmme))
    found["videomme_subtitles"] = adapter(
        videomme.VideoMmeSubtitles, videomme.VideoMmeSubtitlesConfig(annotations=vmme, subtitles=str(srt))
    )
    return found


def test_every_adapter_reads_asks_and_scores_its_own_golds(tmp_path: Path) -> None:
    for name, found in every(tmp_path).items():
        items = found.items()
        assert [item.index for item in items] == list(range(len(items))), name
        for preset in dict.fromkeys(("vxl", "lmms", *found.presets)):
            asked = [
                found.ask(item, found.preset(preset) if preset == "lmms" else preset, [0.5]) for item in items
            ]
            assert all(a.user for a in asked), (name, preset)
        graded = [found.grade(item, said_of(item)) for item in items]
        assert [g.key for g in graded] == [item.key for item in items]
        assert all(g.right for g in graded if g.options), name
        assert not any(found.grade(item, "").right for item in items), name
        metrics = found.metrics(graded)
        assert all(metric.estimate.mean == 1.0 for metric in metrics[:1] if name != "vdc"), name
        assert found.protocol()["benchmark"] == name
        assert found.counts is not None
        assert found.counts.differences(Counts.of(items))  # six rows are not the real file


def test_the_known_defects_of_mlvu(tmp_path: Path) -> None:
    found = adapter(mlvu.Mlvu, mlvu.MlvuConfig(annotations=str(fixtures.mlvu(tmp_path))))
    items = {item.key: item for item in found.items()}
    assert "dev/topic_reasoning/26" not in items
    assert found.dropped == ["7_topic_reasoning.json item 26: the row is empty"]
    assert items["dev/needle/34"].gold == "A"
    assert items["dev/plotQA/1"].accepted == ("A", "C")
    assert items["dev/plotQA/0"].gold == "B"
    assert items["dev/count/0"].options == ("1", "2", "3", "4")
    assert len(found.mended) == 2
    doubled = items["dev/plotQA/1"]
    assert found.grade(doubled, "C").right
    legacy = adapter(mlvu.Mlvu, replace(found.config, scoring="legacy"))
    assert not legacy.grade(doubled, "A").right
    assert legacy.grade(doubled, "C").right
    assert not legacy.grade(items["dev/plotQA/0"], "B. blue").right
    both = [found.grade(item, "A") for item in items.values()]
    names = [metric.name for metric in found.metrics(both)]
    assert names == ["M-Avg", "micro accuracy"]
    assert "7_topic_reasoning/movie_0.mp4" in found.names_of(items["dev/topic_reasoning/0"])
    assert "topic_reasoning/movie_0.mp4" in found.names_of(items["dev/topic_reasoning/0"])
    generated = adapter(mlvu.Mlvu, replace(found.config, generation=True)).items()
    assert [item.asks for item in generated[-2:]] == ["open", "open"]


def test_lvbench_takes_options_out_of_the_question_and_knows_lost_videos(tmp_path: Path) -> None:
    found = adapter(lvbench.LvBench, lvbench.LvBenchConfig(annotations=str(fixtures.lvbench(tmp_path))))
    items = found.items()
    assert items[0].question == "What does the host hold?"
    assert items[0].options == ("a mug", "a book", "a mug", "a pen")
    assert items[1].accepted == ("A", "C")
    assert items[0].labels["question_type"] == ("ER", "TG")
    assert not found.is_known_missing(items[0])
    assert found.is_known_missing(items[-1])
    gone = missing_message(found, [items[0], items[-1]], items + items[:1])
    assert "2 of 2 videos are not there.\n  missing: AbCdEfGhIjK\n" in gone
    assert "  known to be lost for everybody: idZkam9zqAs\n" in gone
    flat = [
        {
            "video": "00000900",
            "type": "tv",
            "question": "What does the host hold?",
            "candidates": ["(A) a mug", "(B) a book", "(C) a phone", "(D) a pen"],
            "answer": "(B) a book",
            "question_type": ["entity recognition"],
            "time_reference": "03:15-03:19",
        }
    ] * 2
    path = fixtures.write(tmp_path / "lvbench_clean.json", flat)
    copies = adapter(lvbench.LvBench, lvbench.LvBenchConfig(annotations=str(path))).items()
    assert [item.key for item in copies] == ["00000900/0", "00000900/1"]
    assert copies[0].options[1] == "a book"
    assert copies[0].gold == "B"
    legacy = adapter(lvbench.LvBench, replace(found.config, scoring="legacy"))
    (item, *_) = legacy.items()
    assert legacy.preset() == "lmms"
    assert not legacy.grade(item, "It is B").right  # the authors' reader takes the first character
    assert legacy.preset("videoxl2") == "videoxl2"
    assert legacy.grade(item, "It is B").right  # the family's the first letter that stands alone
    user = found.ask(copies[0], "videoxl2").user
    assert "\nA. (A) a mug\nB. (B) a book\n" in user


def test_videos_on_another_level_are_found_and_said_to_be_there(tmp_path: Path) -> None:
    annotations = str(fixtures.mlvu(tmp_path))

    def said(videos: Path) -> str:
        found = adapter(mlvu.Mlvu, mlvu.MlvuConfig(annotations=annotations, videos=str(videos)))
        items = found.items()
        return missing_message(found, items, items)

    assert f"there is no such folder: {tmp_path / 'gone'}" in said(tmp_path / "gone")
    fixtures.write(tmp_path / "MLVU" / "film" / "other.txt", "x")
    assert "expected there: 1_plotQA/plot_0.mp4\n  it holds: film" in said(tmp_path / "MLVU")
    fixtures.write(tmp_path / "MLVU" / "video" / "1_plotQA" / "plot_0.mp4", "x")
    for wrong in (tmp_path / "MLVU", tmp_path, tmp_path / "MLVU" / "video" / "2_needle"):
        wrong.mkdir(exist_ok=True)
        text = said(wrong)
        assert f"they are on another level:  benchmark.videos={tmp_path / 'MLVU' / 'video'}" in text
        assert "missing=skip" not in text


def test_vnbench_counts_a_video_right_only_with_all_four_tries(tmp_path: Path) -> None:
    found = adapter(vnbench.VnBench, vnbench.VnBenchConfig(annotations=str(fixtures.vnbench(tmp_path))))
    items = found.items()
    assert {item.cluster for item in items} == {"v_AbC_dEf"}
    assert {item.kind for item in items} == {"cnt_edit1", "ret_insert1"}
    assert len(found.mended) == 1
    graded = [found.grade(item, item.gold if n else "") for n, item in enumerate(items)]
    values = {metric.name: metric.estimate.mean for metric in found.metrics(graded)}
    assert values["overall (4 of 4)"] == 0.5
    assert values["accuracy of single tries"] == 7 / 8
    name, text = found.submission(graded)
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[5]["question_id"] == "v_AbC_dEf_ret_insert1_1"
    assert lines[5]["type"] == "ret_insert2"
    assert name == "vnbench_results.jsonl"
    broken = json.loads((tmp_path / "VNBench-main-4try.json").read_text())
    broken[0]["gt_option"] = "C"
    path = fixtures.write(tmp_path / "broken.json", broken)
    with pytest.raises(DataError, match="VideoNIAH issue 1"):
        adapter(vnbench.VnBench, vnbench.VnBenchConfig(annotations=str(path))).items()


def test_intervals_are_read_in_every_form_and_never_guessed() -> None:
    read = charades_sta.parse_interval
    assert read("The event happens in the 3.2 - 11.5 seconds.") == (3.2, 11.5)
    assert read("from 3s to 7s") == (3.0, 7.0)
    assert read("between 3 and 7 seconds") == (3.0, 7.0)
    assert read("[7, 3]") == (3.0, 7.0)
    assert read("01:05 - 01:12.5") == (65.0, 72.5)
    assert read("It was 1 - 2, no: 4 to 9") == (4.0, 9.0)
    assert read("Start: 4.0, end: 9.5") == (4.0, 9.5)
    assert read("at 5 seconds") is None
    assert read("1, 2 or 3") is None
    assert read("-3 to 5") is None
    assert read("") is None
    assert charades_sta.overlap((0, 10), (5, 15)) == pytest.approx(1 / 3)
    assert charades_sta.overlap((0, 1), (2, 3)) == 0.0
    assert charades_sta.overlap((1, 1), (1, 1)) == 0.0


def test_charades_prints_the_blind_row_and_counts_what_is_unparsed(tmp_path: Path) -> None:
    place = fixtures.charades_sta(tmp_path)
    found = adapter(charades_sta.CharadesSta, charades_sta.CharadesStaConfig(annotations=str(place)))
    items = found.items()
    assert items[2].question == "person sits ## down."
    assert items[2].reference == (20.0, 31.0)
    graded = [
        found.grade(items[0], "3.2 - 11.5"),
        found.grade(items[1], "?"),
        found.grade(items[2], "20-25.5"),
    ]
    assert [g.score for g in graded] == [1.0, 0.0, 0.5]
    assert graded[1].parsed is None
    values = {metric.name: metric.estimate.mean for metric in found.metrics(graded)}
    assert values["mIoU"] == 0.5
    assert values["R@1 IoU 0.5"] == pytest.approx(2 / 3)
    blind = [charades_sta.overlap((0.0, 10.0), item.reference) for item in items]
    assert values["mIoU of [0, 10] for all"] == pytest.approx(sum(blind) / 3)
    assert values["R@1 IoU 0.5 of [0, 10] for all"] == pytest.approx(sum(b >= 0.5 for b in blind) / 3)
    assert len(values) == 16


def test_mvbench_finds_cut_clips_frames_and_single_options(tmp_path: Path) -> None:
    place = fixtures.mvbench(tmp_path)
    videos = tmp_path / "video"
    for name in ("star/Charades_segment/action_sequence.mp4", "ssv2_video/action_antonym.webm"):
        fixtures.write(videos / name, "x")
    fixtures.write(videos / "tvqa/frames_fps3_hq/show_s01/00001.jpg", "x")
    config = mvbench.MvBenchConfig(annotations=str(place), videos=str(tmp_path))
    found = adapter(mvbench.MvBench, config)
    items = {item.kind: item for item in found.items()}
    assert found.file_of(items["action_sequence"]).name == "action_sequence.mp4"
    assert found.part_of(items["action_sequence"]) == (None, None)
    assert found.file_of(items["action_antonym"]).suffix == ".webm"
    assert found.file_of(items["episodic_reasoning"]).is_dir()
    assert found.part_of(items["episodic_reasoning"]) == (0.0, 1.0)
    assert found.file_of(items["state_change"]) is None
    assert items["counterfactual_inference"].options == ("They collide",)
    official = adapter(mvbench.MvBench, replace(config, prompt="official", scoring="legacy"))
    asked = official.ask(items["action_sequence"], "official")
    assert asked.prefill == "Best option:("
    assert asked.system.startswith("Carefully watch the video")
    assert official.grade(items["action_sequence"], "").right  # as published: an empty answer is right


def test_video_mme_with_subtitles_and_as_video_xl_2_asks(tmp_path: Path) -> None:
    found = every(tmp_path)
    items = found["videomme"].items()
    assert items[0].options[0] == "One."
    assert items[5].accepted == ("A", "D")
    user = found["videomme"].ask(items[0], "videoxl2").user
    assert "\n['A. One.', 'B. Two.', 'C. Three.', 'D. Four.']\n\nAnswer with the option's letter" in user
    said = found["videomme_subtitles"]
    items = said.items()
    assert said.notes[0].startswith(
        "another revision, or not complete: items: expected 2700, got 6; videos: "
    )
    assert said.notes[1:] == ["2 of 3 videos have no subtitles"]
    text = said.ask(items[0], "lmms", [0.5, 2.0]).user
    assert "hello and welcome\nfirst line second line\nSelect the best answer" in text
    assert "first line" not in said.ask(items[0], "lmms", [0.5]).user
    assert "No subtitles available" in said.ask(items[5], "lmms", [0.5]).user
    assert "\n['A. One.', 'B. Two.', 'C. Three.', 'D. Four.']\n" in said.ask(items[0], "videoxl2", [0.5]).user
    bare = videomme.VideoMmeSubtitles(replace(said.config, subtitles=None), data={}, cache=Path())
    with pytest.raises(DataError, match=r"benchmark\.subtitles=FOLDER"):
        bare.items()


def test_video_mmes_published_rule_takes_lines_of_frames_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lmms-eval counts in whole frames of 32 spread ones, whatever is shown, and reads a cue's first line."""
    said = every(tmp_path)["videomme_subtitles"]
    fixtures.write(tmp_path / "clips" / "vid0.mp4", "x")
    legacy = adapter(
        videomme.VideoMmeSubtitles,
        replace(said.config, scoring="legacy", videos=str(tmp_path / "clips")),
    )
    monkeypatch.setattr(videomme, "probe", lambda _: VideoInfo(900, 30.0, 1, 1))
    item = legacy.items()[0]
    text = legacy.ask(item, "lmms", [100.0]).user
    assert "listed below: \nhello and welcome\nfirst line\nSelect" in text
    monkeypatch.setattr(videomme, "probe", lambda _: VideoInfo(9000, 30.0, 1, 1))  # 32 frames: one in 9.7 s
    assert "listed below: \nhello and welcome\nSelect" in legacy.ask(item, "lmms", [2.0]).user
    assert "welcome\nfirst line\nSelect" in legacy.ask(item, "videoxl2", [2.0]).user  # 128: one in 2.4 s
    assert legacy.protocol()["subtitles"] != said.protocol()["subtitles"]


def test_longvideobench_interleaves_and_shifts_subtitles(tmp_path: Path) -> None:
    place = fixtures.longvideobench(tmp_path)
    config = longvideobench.LongVideoBenchConfig(
        annotations=str(place), subtitles=str(tmp_path / "subtitles"), videos=str(tmp_path)
    )
    found = adapter(longvideobench.LongVideoBench, config)
    items = found.items()
    assert items[1].options == ("a spoon", "a pan", "a towel", "a knife")
    assert found.needs_times
    assert found.protocol()["subtitles"] == "list"
    assert found.notes[0].startswith("subtitles=list: ")
    bare = adapter(longvideobench.LongVideoBench, replace(config, subtitles=None))
    assert bare.ask(bare.items()[0], "lmms").user.startswith("After the")
    assert (bare.notes[0], bare.protocol()["subtitles"]) == ("without subtitles", "none")
    assert found.ask(items[0], "lmms", [0.5, 20.0]).user.startswith("now the salt\nand stir\nAfter the")
    assert found.ask(items[0], "lmms", [40.0]).user.startswith("and stir\nAfter")
    assert found.ask(items[2], "official", [0.1]).user.startswith("Question: ")


def test_blank_lines_do_not_tell_one_line_of_subtitles_from_the_next(tmp_path: Path) -> None:
    """Within a text one stands, between two none; so pysubs2 reads them, which lmms-eval uses."""
    file = tmp_path / "a.srt"
    first, second = (
        "1\n00:00:01,000 --> 00:00:02,000\nA --> B\n\nin 2024",
        "00:00:03,0 --> 00:00:04,0\nC\n42\n",
    )
    for between in ("\n2\n", "\n\n2\n", "\n\n"):
        file.write_text(first + between + second)
        assert read_srt(file) == [Cue(1.0, 2.0, "A --> B in 2024"), Cue(3.0, 4.0, "C 42")]


def test_subtitles_that_cannot_be_read(tmp_path: Path) -> None:
    for name, text, message in (
        ("a.srt", b"\xff\xfe\x00", "can't be read as subtitles"),
        ("b.srt", b"WEBVTT\n\nhello", "holds no subtitles"),
        ("c.srt", b"1\nnow --> then\nhello", "is no time"),
    ):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(DataError, match=message):
            read_srt(tmp_path / name)
    for value, message in (
        ({"a": 1}, "expected a list of lines"),
        ([{"timestamp": [1.2], "text": "x"}], "a line is"),
        ([{"start": "00:00:01", "line": "x"}], "a line is"),
        ('[{"timestamp"', "cut off"),
    ):
        with pytest.raises(DataError, match=message):
            read_lines(fixtures.write(tmp_path / "d.json", value), 0.0, 10.0)


def test_lines_stand_behind_the_frames_up_to_their_middle_if_a_frame_is_inside() -> None:
    cues = [
        Cue(0.0, 4.0, "middle 2"),
        Cue(4.2, 4.8, "short: widened to 4.0 to 5.0, but 4 is its end and not inside"),
        Cue(5.8, 6.4, "short: widened to 5.6 to 6.6"),
        Cue(8.0, 10.0, "8 and 10 are its ends"),
        Cue(1.0, 3.0, "late in the file"),
    ]
    assert interleave(cues, [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]) == [
        *(0.0, 2.0, "middle 2", 4.0, 6.0, "short: widened to 5.6 to 6.6"),
        *(8.0, "late in the file", 10.0),
    ]


def test_tempcompass_reads_yes_and_no_as_words(tmp_path: Path) -> None:
    place = fixtures.tempcompass(tmp_path)
    found = adapter(tempcompass.TempCompass, tempcompass.TempCompassConfig(annotations=str(place)))
    items = {item.kind: item for item in found.items()}
    assert found.grade(items["yes_no"], "No, it sleeps.").right
    assert found.grade(items["yes_no"], "Not sure").parsed is None
    assert found.grade(items["caption_matching"], "Caption B").right
    assert found.grade(items["caption_matching"], "The dog sleeps.").right
    assert found.grade(items["multi-choice"], "A. running").right
    assert items["yes_no"].labels["finer"] == ("fine-grained",)
    assert "finer" not in items["caption_matching"].labels  # the file has none of this aspect


def test_open_numbers_of_videommmu(tmp_path: Path) -> None:
    assert videommmu.parse_open("So the answer is 1,200.50.", "1200.5") == "1,200.50"
    assert videommmu.same("1,200.50", "1200.5")
    assert videommmu.parse_open("thinking 3 then 4", "9") == "4"
    assert videommmu.parse_open("", "9") is None
    place = fixtures.videommmu(tmp_path)
    found = adapter(videommmu.VideoMmmu, videommmu.VideoMmmuConfig(annotations=str(place)))
    adaptation = found.items()[2]
    assert found.grade(adaptation, "The answer is 1200.5").score == 1.0
    assert found.names_of(adaptation)[0] == "Art/new_Art_900"


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    rows = [
        {"video": "a.mp4", "question": "What?", "options": ["a dog", "a cat"], "answer": "B"},
        {"video": "a.mp4", "question": "What?", "options": ["a dog", "a cat"], "answer": 0, "kind": "pet"},
        {"video": "b.mp4", "question": "What?", "options": [1, 2], "answer": 2},
        {"video": "b.mp4", "question": "Who sings?", "answer": "A red bird"},
        {"video": "b.mp4", "question": "Describe."},
    ]
    path = fixtures.write(tmp_path / "mine.json", rows)
    found = adapter(JsonList, JsonListConfig(json=str(path)))
    items = found.items()
    assert [item.gold for item in items] == ["B", "A", "B", "A red bird", ""]
    assert found.grade(items[3], "It is a red bird!").score == 1.0
    assert found.grade(items[3], "a redbird").score == 0.0
    assert found.metrics([found.grade(item, "B") for item in items])[0].estimate.items == 4
    for row, message in (
        ({"question": "What?"}, "no 'video'"),
        (rows[0] | {"answer": "Z"}, "none of the options"),
        (rows[0] | {"answer": 7}, "expected 0 to 1"),
    ):
        with pytest.raises(DataError, match=message):
            adapter(JsonList, JsonListConfig(json=str(fixtures.write(tmp_path / "bad.json", [row])))).items()


def test_messages_for_wrong_folders_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs the authors' annotations: https"):
        adapter(mlvu.Mlvu, mlvu.MlvuConfig()).items()
    fixtures.write(tmp_path / "video" / "x.mp4", "x")
    with pytest.raises(DataError, match="which holds: video"):
        adapter(mlvu.Mlvu, mlvu.MlvuConfig(annotations=str(tmp_path))).items()
    cut = fixtures.write(tmp_path / "lvb_val.json", '[{"id": "a", "question"')
    with pytest.raises(DataError, match="cut off"):
        adapter(
            longvideobench.LongVideoBench, longvideobench.LongVideoBenchConfig(annotations=str(cut))
        ).items()
    config = mlvu.MlvuConfig(annotations="x", prompt="videoxl")
    assert adapter(mlvu.Mlvu, config).preset() == "videoxl"
    with pytest.raises(ConfigError, match="no such wording"):
        adapter(egoschema.EgoSchema, egoschema.EgoSchemaConfig(prompt="official")).preset()
    assert adapter(mlvu.Mlvu, mlvu.MlvuConfig()).preset("videoxl2") == "videoxl2"
    assert adapter(mlvu.Mlvu, mlvu.MlvuConfig()).preset(None) == "lmms"
