"""Where windows end, which ratio they have, and where their beacons stand."""

from typing import Any

import numpy as np
import pytest

from vxl.errors import ConfigError
from vxl.kv.segments import ROOM, Fits
from vxl.kv.vst import VST, Progress, VSTConfig, WindowSegment

FRAME = 4
"""Visual tokens of a group."""


def cut(
    vst: VST, groups: int, *, ended: bool = True, most: int = 32768, changes: Any = None
) -> list[WindowSegment]:
    """Segments of two tokens of text, a video and one more token of text (none where it has not ended)."""
    kind = np.array([0, 0, *[2] * FRAME * groups, *[0] * ended])
    group = np.array([-1, -1, *np.repeat(np.arange(groups), FRAME), *[-1] * ended])
    segments, _, _ = vst.segments(
        kind,
        np.where(kind == 2, 0, -1),
        group,
        Progress(),
        ended=ended,
        seeds=(0, 7),
        entries=0,
        most=most,
        similarity=lambda columns: changes,
    )
    return segments


def shape(segments: list[WindowSegment]) -> list[tuple[int, int]]:
    """(tokens, beacons) of each segment."""
    return [(segment.stop - segment.start, len(segment.after)) for segment in segments]


def test_a_beacon_follows_every_ratio_tokens_and_closes_the_window() -> None:
    segments = cut(VST(VSTConfig(ratio=3, groups=2)), 5)
    assert [segment.after.tolist() for segment in segments] == [[], [4, 7, 9], [12, 15, 17], [20, 21], []]
    assert shape(segments) == [(2, 0), (8, 3), (8, 3), (4, 2), (1, 0)]
    assert [segment.kept for segment in segments] == [2, 3, 3, 2, 1]


def test_published_remainders_carry_over_and_are_lost_in_the_end() -> None:
    segments = cut(VST(VSTConfig(ratio=3, groups=2, published_partial=True)), 5)
    assert [segment.after.tolist() for segment in segments] == [[], [4, 7], [10, 13, 16], [19], []]
    none = cut(VST(VSTConfig(ratio=16, window=12, published_partial=True)), 4)
    assert shape(none) == [(2, 0), (12, 0), (4, 1), (1, 0)]
    assert none[1].kept == 0


def test_ratio_0_is_one_pass() -> None:
    assert shape(cut(VST(VSTConfig(ratio=0, groups=2)), 5)) == [(23, 0)]


def test_windows_count_groups_or_tokens() -> None:
    assert shape(cut(VST(VSTConfig(ratio=4, window=6)), 4)) == [(2, 0), (6, 2), (6, 2), (4, 1), (1, 0)]
    assert shape(cut(VST(VSTConfig(ratio=4, groups=3)), 4)) == [(2, 0), (12, 3), (4, 1), (1, 0)]


def test_a_window_that_may_go_on_waits() -> None:
    assert shape(cut(VST(VSTConfig(groups=2)), 5, ended=False)) == [(2, 0), (8, 1), (8, 1)]
    assert shape(cut(VST(VSTConfig(groups=2)), 4, ended=False)) == [(2, 0), (8, 1)]
    assert shape(cut(VST(VSTConfig(window=8)), 4, ended=False)) == [(2, 0), (8, 1), (8, 1)]
    assert shape(cut(VST(VSTConfig(density=True)), 4, ended=False)) == [(2, 0)]


def test_windows_end_where_the_picture_changes() -> None:
    changes = np.array([0.99, 0.98, 0.2, 0.97, 0.99, 0.1])
    segments = cut(VST(VSTConfig(ratio=4, density=True, density_alpha=0.5)), 7, changes=changes)
    assert shape(segments) == [(2, 0), (12, 3), (12, 3), (4, 1), (1, 0)]


def ratios(groups: int = 24, most: int = 32768, **settings: Any) -> list[float]:
    """Visual tokens a beacon of each window."""
    settings = {"groups": 4, "ratios": [2, 4, 8]} | settings
    return [
        tokens / count for tokens, count in shape(cut(VST(VSTConfig(**settings)), groups, most=most))[1:-1]
    ]


def test_ratios_are_drawn_by_seed_and_place() -> None:
    drawn = ratios()
    assert set(drawn) == {2, 4, 8}
    assert drawn == ratios()
    assert len(set(ratios(draw="sample"))) == 1
    assert ratios(draw="sequence") == [2, 4, 8, 2, 4, 8]
    vst = VST(VSTConfig(ratios=[2, 4, 8, 16]))
    by_place = [[vst.ratio(window, 16, (0, place), NO_LIMIT) for window in range(40)] for place in (1, 1, 2)]
    assert by_place[0] == by_place[1] != by_place[2]
    assert [vst.ratio(window, 16, (1, 1), NO_LIMIT) for window in range(40)] != by_place[0]
    counts = np.bincount([vst.ratio(window, 16, (0, 0), NO_LIMIT) for window in range(4000)])
    assert counts[[2, 4, 8, 16]].min() > 900


NO_LIMIT: Any = lambda ratio: True  # noqa: E731


def test_no_drawn_ratio_is_longer_than_its_window() -> None:
    assert set(ratios(groups=12, ratios=[2, 4, 64])) <= {2, 4}


def test_the_published_generator_draws_as_it_did() -> None:
    assert ratios(groups=60, window=48, published_draw=True, published_partial=True) == [2, 8, 4, 4, 4]


def test_a_ratio_is_chosen_that_fits_the_trained_length() -> None:
    assert ratios(draw="adapt") == [2] * 6
    text, window = 1024 + 2, 16
    assert ratios(draw="adapt", most=text + window + 96 // 2) == [2] * 6
    assert ratios(draw="adapt", most=text + window + 96 // 2 - 1) == [4] * 6
    assert ratios(draw="adapt", most=10) == [8] * 6


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ratio": -1}, "ratio=-1 is none"),
        ({"ratios": [2, -4]}, "ratio=-4 is none"),
        ({"groups": 0}, "groups=0 is no number of them"),
        ({"truncate": 0}, "truncate=0 is no number of them"),
        ({"projections": []}, "projections=[] are none of a block"),
        ({"projections": ["q", "z"]}, "projections=[q,z] are none of a block"),
        ({"density": True, "window": 8}, "window=8 and density=true both say where windows end"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        VSTConfig(**settings)
    assert str(caught.value).startswith(said)


def test_windows_of_every_video_begin_at_its_own_first_group() -> None:
    vst = VST(VSTConfig(groups=4))
    group_S = np.repeat(np.arange(3, 9), FRAME)
    window_S = vst.windows(
        np.arange(len(group_S)), group_S, np.ones(len(group_S), dtype=bool), 3, lambda _: _
    )
    assert window_S.tolist() == [0] * 4 * FRAME + [1] * 2 * FRAME


def test_what_a_ratio_leaves_is_rounded_up() -> None:
    fits = Fits(visual=7, before=0, window=0, most=ROOM + 2)
    assert [ratio for ratio in (1, 2, 3, 4, 6, 7) if fits(ratio)] == [4, 6, 7]
