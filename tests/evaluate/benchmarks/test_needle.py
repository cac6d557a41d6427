import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.run_directories import CLIP
from vxl.errors import ConfigError, DataError
from vxl.evaluate.benchmarks.haystack import Haystack, Needle, clip_files, needle_places
from vxl.evaluate.benchmarks.needle import NeedleConfig, NeedleGrid
from vxl.video.sample import Fps, FpsConfig
from vxl.video.transform import PixelSpec
from vxl.video.virtual import stream_virtual

PIXELS = PixelSpec(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def grid(**settings: Any) -> NeedleGrid:
    return NeedleGrid(NeedleConfig(**settings), data={}, cache=Path())


def shown(media: Any, frames: int = 16) -> torch.Tensor:
    stream = stream_virtual(media, Fps(FpsConfig(max_frames=frames)), PIXELS, piece=4)
    return torch.cat(list(stream.pieces))


def test_ten_hours_are_the_same_frames_every_time_and_never_written() -> None:
    made = Haystack(clip_files(), 36_000.0, seed=3)
    assert made.info.frames == 36_000
    first = made.frames([35_999], PIXELS)
    assert torch.equal(first, Haystack(clip_files(), 36_000.0, seed=3).frames([35_999], PIXELS))
    others = [made.frames([n * 3_000], PIXELS) for n in range(6)]
    assert len({tuple(frame.flatten()[:200].tolist()) for frame in others}) > 2
    assert clip_files(without="city.mp4") == tuple(f for f in clip_files() if not f.endswith("city.mp4"))


def test_needles_take_the_places_of_shown_frames_at_their_depth() -> None:
    red = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    red[..., 0] = 255
    for depth, at in ((0.0, 0), (0.5, 8), (1.0, 12)):
        frames_FCHW = shown(Haystack(clip_files(), 600.0, (Needle(red, depth),), needle_frames=4))
        is_red = ((frames_FCHW[:, 0] == 255) & (frames_FCHW[:, 1] == 0)).flatten(1).all(1)
        assert is_red.nonzero().flatten().tolist() == list(range(at, at + 4))


def test_needles_that_would_meet_are_moved_apart() -> None:
    assert needle_places([0.0, 0.5, 1.0], 16, 4) == [0, 8, 12]
    assert needle_places([1.0, 1.0], 16, 4) == [8, 12]
    assert needle_places([0.9, 0.1], 16, 4) == [12, 1]
    with pytest.raises(DataError, match="do not fit"):
        needle_places([0.1] * 5, 16, 4)


def test_a_grid_has_an_item_a_needle_and_its_letters_take_turns() -> None:
    items = grid(minutes=[5.0, 600.0], depths=[0, 100], needles=4).items()
    assert len(items) == 16
    assert len({item.video for item in items}) == 16
    for cell in {item.cluster for item in items}:
        assert sorted(item.gold for item in items if item.cluster == cell) == list("ABCD")
    assert items[0].options == ("red", "green", "blue", "yellow")


@pytest.mark.parametrize("variant", ["retrieve", "order", "count"])
def test_what_is_shown_is_what_is_right(variant: Any) -> None:
    made = grid(minutes=[5.0], depths=[25], needles=4, variant=variant)
    for item in made.items():
        (look,) = made.looks(item)
        needles = look.media.needles
        means = [
            needle.frames_FHWC[0].reshape(-1, 3)[needle.frames_FHWC[0].reshape(-1, 3).max(1) > 80]
            for needle in needles
        ]
        strongest = [tuple(np.median(pixels, axis=0).astype(int)) for pixels in means]
        if variant == "count":
            assert len(needles) == "ABCD".index(item.gold) + 1
            assert len(set(strongest)) == 1
            continue
        named = {
            "red": (220, 40, 40),
            "green": (40, 170, 60),
            "blue": (50, 80, 230),
            "yellow": (240, 215, 40),
        }
        assert strongest[0] == named[item.options["ABCD".index(item.gold)]]
        if variant == "order":
            assert needles[0].depth < needles[1].depth
            assert strongest[0] != strongest[1]


def test_natural_needles_are_not_in_their_own_haystack() -> None:
    made = grid(minutes=[5.0], depths=[50], needles=2, kind="natural")
    item = made.items()[0]
    (look,) = made.looks(item)
    assert len(look.media.sources) == len(clip_files()) - 1
    assert look.media.needles[0].frames_FHWC.shape[0] == 4
    assert made.grade(item, item.gold).right


def test_both_published_forms_are_read(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8, 3), 200, dtype=np.uint8)).save(tmp_path / "a.png")
    longva = [{"path": "a.png", "prompt": "\nFind it. What colour?", "answer": "Yellow"}]
    (tmp_path / "needles.json").write_text(json.dumps(longva))
    made = grid(
        minutes=[5.0], depths=[0], needles=1, files=str(tmp_path), haystack=str(CLIP), form="teacher_forced"
    )
    (item,) = made.items()
    assert made.ask(item, "vxl").user == "\nFind it. What colour?"
    assert made.grade(item, "yellow.").score == 1.0
    assert made.grade(item, "It is yellow").score == 0.0
    assert shown(made.looks(item)[0].media).shape == (16, 3, 32, 32)
    videoxl = {"retrieval_question": ["Question: …(A) x"], "answer": ["D"], "needle": ["a.png"]}
    (tmp_path / "needles.json").write_text(json.dumps(videoxl))
    made = grid(minutes=[5.0], depths=[0], needles=1, files=str(tmp_path))
    (item,) = made.items()
    assert made.ask(item, "vxl").prefill == "Best option:("
    assert made.grade(item, "D) reading").score == 1.0
    assert made.grade(item, "A) D").score == 0.0
    (tmp_path / "needles.json").write_text("{}")
    with pytest.raises(DataError, match="neither form"):
        made.items()


def test_the_heat_map_and_mistakes(tmp_path: Path) -> None:
    made = grid(minutes=[5.0, 120.0], depths=[0, 100], needles=1)
    graded = [made.grade(item, item.gold) for item in made.items()]
    assert made.draw(graded, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="0 to 100"):
        NeedleConfig(depths=[101])
    with pytest.raises(ConfigError, match="drawn needles"):
        NeedleConfig(variant="count", kind="natural")
    with pytest.raises(DataError, match="no such file"):
        grid(haystack="/gone.mp4").items()
