"""What bad input gets: one row a case, with the exact text that the user reads."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from vxl.config.compose import compose
from vxl.errors import VxlError

ROOT = Path(__file__).parents[2]
DTS = "ratio, temporal, spatial, grid, slice, pool, published_layout, published_relative_key"
VISION = "clip_l_336, dinov2_b, dinov2_s, dinov2_s_fetched, siglip_so400m, tiny"

COMMANDS = {
    "a typo in a key": (
        "compressor.raito=8",
        "compressor.raito=8: compressor.raito is not a key.\n  did you mean compressor.ratio?\n"
        f"  valid keys of compressor: {DTS}",
    ),
    "a typo behind +": (
        "+compressor.raito=8",
        f"compressor.raito is not a key.\n  did you mean compressor.ratio?\n  valid keys: {DTS}",
    ),
    "a typo behind ++": (
        "++compressor.raito=8",
        f"compressor.raito is not a key.\n  did you mean compressor.ratio?\n  valid keys: {DTS}",
    ),
    "a wrong type": (
        "compressor.ratio=abc",
        "compressor.ratio=abc has the wrong type (text).\n  expected: int\n  e.g.  compressor.ratio=16",
    ),
    "an option that does not exist": (
        "vision=siglipp",
        "vision=siglipp: there is no option siglipp in vision.\n  did you mean vision=siglip_so400m?\n"
        f"  options of vision: {VISION}",
    ),
    "a ratio that does not fit": (
        "compressor.ratio=6",
        "compressor.ratio=6 does not fit a grid of 4 x 4 patches.\n"
        "  ratios that fit: 1, 2, 4, 8, 16, 32, 64, 128\n  e.g.  compressor.ratio=4",
    ),
    "zero frames": (
        "video.max_frames=0",
        "video.max_frames=0 asks for no frame.\n  allowed: 1 or more",
    ),
    "a sequence too short for the video": (
        "data.max_tokens=8",
        "data.max_tokens=8 is too short for a video of video.max_frames=8:\n  2 groups x 4 = 8 visual.\n"
        "  allowed: data.max_tokens above 8 plus the text, or at most 4 frames\n  e.g.  data.max_tokens=512",
    ),
    "more devices than the strategy uses": (
        "trainer.devices=2",
        "strategy=single uses one device; got trainer.devices=2 trainer.num_nodes=1.\n"
        "  allowed: trainer.devices=1 trainer.num_nodes=1",
    ),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_commands(case: str) -> None:
    word, expected = COMMANDS[case]
    with pytest.raises(VxlError) as error:
        compose("train", [word])
    assert str(error.value) == expected


def test_several_mistakes_come_at_once() -> None:
    with pytest.raises(VxlError) as error:
        compose("train", ["compressor.raito=8", "vision=siglipp", "trainer.max_step=3"])
    text = str(error.value)
    assert all(part in text for part in ("compressor.ratio?", "siglip_so400m?", "trainer.max_steps?"))


def truncated_video(folder: Path) -> None:
    from vxl.video.probe import probe

    file = folder / "cut.mp4"
    file.write_bytes((ROOT / "examples/clips/city.mp4").read_bytes()[:100_000])
    probe(file)


def shards_that_match_nothing(folder: Path) -> None:
    from vxl.data.source import IndexedShards

    IndexedShards(str(folder / "*.tar"), cache=folder)


def json_without_conversations(folder: Path) -> None:
    from vxl.data.sample import parse

    parse({"id": "1"}, (), shard="a.tar", key="1")


INPUTS: dict[Callable[[Path], None], str] = {
    truncated_video: r"cut\.mp4.*(\n|.)*byte",
    shards_that_match_nothing: r"match nothing\.\n  looked for .*\*\.tar",
    json_without_conversations: r"conversations",
}


@pytest.mark.parametrize("make", INPUTS, ids=lambda make: make.__name__)
def test_inputs(make: Callable[[Path], None], tmp_path: Path) -> None:
    with pytest.raises(VxlError) as error:
        make(tmp_path)
    assert re.search(INPUTS[make], str(error.value)), str(error.value)
