"""`vxl shards`, as typed."""

import argparse
import json

import pytest

from tests.data.media import image, talk, video, write, write_json
from vxl.cli.shards import register_shards
from vxl.errors import ConfigError, DataError


def vxl(*words):
    parser = argparse.ArgumentParser()
    register_shards(parser.add_subparsers())
    parsed = parser.parse_args(["shards", *map(str, words)])
    parsed.run(parsed)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "v.mp4").write_bytes(video())
    (tmp_path / "media" / "i.jpg").write_bytes(image())
    return tmp_path


def items():
    questions = [{"question": "q?", "options": ["x", "y"], "answer": "B"}]
    return [
        {"id": "a", "video": "v.mp4", **talk("It gets brighter.")},
        {"id": "b", "image": "i.jpg", "caption": "red", "questions": questions},
        {"id": "t", **talk()},
    ]


def test_write_then_stats(folder, capsys):
    write_json(folder / "list.json", items())
    vxl("write", "out", "--json", "list.json", "--videos", "media")
    assert capsys.readouterr().out == "4 samples in 1 shard in out\n"
    for source in (["out"], ["list.json", "--videos", "media"]):
        vxl("stats", *source, "--as-json")
        found = json.loads(capsys.readouterr().out)
        assert found["members"] == 3
        assert (found["samples"], found["questions"], found["text only"]) == (4, 1, 1)
        assert (found["videos"], found["images"], found["frames"], found["bad"]) == (1, 1, 8, 0)
        assert found["seconds"] == {"min": 2.0, "median": 2.0, "max": 2.0, "sum": 2.0}
    vxl("stats", "out")
    assert "sizes      32x24 1   20x10 1" in capsys.readouterr().out
    with pytest.raises(DataError, match="--overwrite"):
        vxl("write", "out", "--json", "list.json", "--videos", "media")


def test_write_stops_at_bad_samples_before_it_writes(folder, capsys):
    write_json(
        folder / "list.json", [*items(), {"id": "w", "video": "v.mp4"}, {"video": "none.mp4", **talk()}]
    )
    with pytest.raises(DataError, match="2 of 5 samples are bad"):
        vxl("write", "out", "--json", "list.json", "--videos", "media")
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("list.json, sample 'w': the JSON has no 'conversations'")
    assert "none.mp4" in said[1]
    assert not (folder / "out").exists()
    vxl("write", "out", "--json", "list.json", "--videos", "media", "--skip-bad")
    assert capsys.readouterr().out == "4 samples in 1 shard in out, 2 members left out\n"


def test_write_from_a_folder(folder, capsys):
    (folder / "media" / "v.txt").write_text("it gets brighter")
    write_json(folder / "media" / "i.json", talk())
    vxl("write", "out", "--folder", "media")
    assert capsys.readouterr().out == "2 samples in 1 shard in out\n"


def test_lint_says_everything(folder, capsys):
    write_json(folder / "list.json", [*items(), {"id": "w", "video": "v.mp4"}])
    write(folder / "cut", 5)[0].write_bytes(write(folder / "whole", 5)[0].read_bytes()[:2000])
    with pytest.raises(DataError, match="2 problems"):
        vxl("lint", "cut", "whole", "list.json", "--videos", "media")
    first, second = capsys.readouterr().out.splitlines()
    assert "s-0-000.tar is cut off" in first
    assert "list.json, sample 'w'" in second
    vxl("lint", "whole")
    assert capsys.readouterr().out == "nothing is wrong\n"


def test_lint_decodes(folder, capsys):
    """The tables of the file are whole, the pictures between them are zeros."""
    broken = bytearray(video(60))
    at = broken.index(b"mdat")
    size = int.from_bytes(broken[at - 4 : at], "big")
    broken[at + 4 : at - 4 + size] = bytes(size - 8)
    (folder / "media" / "v.mp4").write_bytes(broken)
    write_json(folder / "list.json", items())
    vxl("lint", "list.json", "--videos", "media")
    with pytest.raises(DataError, match="1 problem"):
        vxl("lint", "list.json", "--videos", "media", "--decode")
    assert "v.mp4" in capsys.readouterr().out


def test_index(folder, capsys):
    path = write(folder / "cut", 5)[0]
    path.write_bytes(path.read_bytes()[:2000])
    write(folder / "whole", 5)
    with pytest.raises(DataError, match="vxl shards index --keep-good"):
        vxl("index", "cut", "whole")
    assert capsys.readouterr().out == "whole/s-0-000.tar: 5 samples\n"
    vxl("index", "--keep-good", "cut")
    assert capsys.readouterr().out == "cut/s-0-000.tar: 1 samples, cut off at byte 2000\n"
    vxl("index", "--again", "whole")
    assert capsys.readouterr().out == "whole/s-0-000.tar: 5 samples\n"


@pytest.mark.parametrize(
    "words", [("--pattern", "x{"), ("--pattern", "{name}.tar"), ("--max-mb", "nan"), ("--max-mb", "-1")]
)
def test_settings_that_no_shards_can_have(folder, words):
    write_json(folder / "list.json", items())
    with pytest.raises((DataError, ConfigError), match="has no"):
        vxl("write", "out", "--json", "list.json", "--videos", "media", *words)
