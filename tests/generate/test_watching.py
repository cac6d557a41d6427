import threading
import time
from typing import Any

import pytest
import torch

from tests.generate.watched import CLIP, recomputed, watched
from tests.small_model import IMAGE, frames, head, model, video
from vxl.data.batch.encoded import BatchedVisual
from vxl.errors import DataError
from vxl.generate import ask, watch
from vxl.generate.watching import pieces
from vxl.kv.full import FullConfig
from vxl.llm.cache import Cache
from vxl.prefill.full import FullConfig as FullPrefillConfig


@pytest.fixture(scope="module")
def m() -> Any:
    return model()


@pytest.mark.parametrize("by", [1, 3, 18])
@pytest.mark.parametrize("groups", [1, 3, 16])
def test_pieces_of_any_size_change_nothing(m: Any, by: int, groups: int) -> None:
    expected = ask(watched(m), [5, 6], max_new_tokens=20).tokens
    other = model(prefill=FullPrefillConfig(groups=groups))
    assert ask(watched(other, by=by), [5, 6], max_new_tokens=20).tokens == expected


def test_single_frames_and_generators_are_taken(m: Any) -> None:
    expected = ask(watched(m), [5, 6], max_new_tokens=20).tokens
    context = watch(m, head(video(5)), [(frame for frame in CLIP)])
    assert ask(context, [5, 6], max_new_tokens=20).tokens == expected
    assert (context.frames, context.visual_tokens, context.tokens) == (20, 20, len(head(video(5))))


def test_frames_are_taken_a_few_pieces_ahead(m: Any) -> None:
    taken = [0]
    lead: list[int] = []

    def stream() -> Any:
        for frame in frames(4 * 40):
            taken[0] += 1
            yield frame

    def on_piece(done: int, total: int) -> None:
        assert total == 40
        time.sleep(0.05)  # a slow model
        lead.append(taken[0] // 4 - done)

    watch(m, head(video(40)), [stream()], on_piece=on_piece)
    assert len(lead) == 20
    assert max(lead) == 6  # of two groups a piece: two pieces wait, one is in the thread's hands


def test_errors_of_a_stream_come_in_their_turn(m: Any) -> None:
    done: list[int] = []

    def stream() -> Any:
        yield CLIP[:8]
        raise DataError("the file breaks off")

    with pytest.raises(DataError, match="the file breaks off"):
        watch(m, head(video(5)), [stream()], on_piece=lambda groups, total: done.append(groups))
    assert done == [2]


def test_a_stream_is_closed_when_watching_ends_early(m: Any) -> None:
    closed = threading.Event()

    def stream() -> Any:
        try:
            while True:
                yield CLIP[:4]
        finally:
            closed.set()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        watch(m, head(video(500)), [stream()], on_piece=stop)
    assert closed.is_set()
    assert threading.active_count() == before


def test_images_several_visuals_and_text_alone(m: Any) -> None:
    image, other = frames(1, seed=3), frames(6, seed=4)
    items: list[BatchedVisual] = [IMAGE, video(2)]
    both = torch.cat([image.expand(4, -1, -1, -1), other, other[-1:], other[-1:]])
    context = watch(m, head(*items), [image, other])
    assert list(ask(context, [5], max_new_tokens=12).tokens) == recomputed(m, head(*items), both, [5], 12)
    text = ask(watch(m, head()), [5, 6], max_new_tokens=12)
    assert list(text.tokens) == recomputed(m, head(), CLIP[:0], [5, 6], 12)


@pytest.mark.parametrize("count", [0, 15, 16, 21, 30])
def test_frames_that_do_not_fit_their_place(m: Any, count: int) -> None:
    with pytest.raises(DataError, match="expected: 17 to 20 frames"):
        watch(m, head(video(5)), [frames(count).split(3)])


def test_visuals_that_the_prompt_does_not_show(m: Any) -> None:
    with pytest.raises(DataError, match="the prompt shows 1 visuals, but 2 were given"):
        watch(m, head(video(5)), [CLIP, CLIP])


def test_pieces_cover_the_head_and_end_at_groups() -> None:
    encoded = head(video(5), IMAGE, video(1))
    found = list(pieces(encoded, 2))
    assert [part[:2] for part in found] == [
        (a, b) for a, b in zip([0] + [p[1] for p in found], [p[1] for p in found], strict=False)
    ]
    assert found[-1][1] == len(encoded)
    assert [part[2:] for part in found if part[3]] == [(0, 2), (0, 2), (0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize(("held", "room"), [({}, True), ({"bits": 8}, False), ({"offload": True}, False)])
def test_room_is_made_for_everything_where_it_stays_as_it_comes(held: dict[str, Any], room: bool) -> None:
    caches: list[Cache] = []
    reserved: list[int] = []
    watch(
        model(kv=FullConfig(**held), prefill=FullPrefillConfig(groups=2)),
        head(video(5)),
        [CLIP],
        into=caches.append,
        on_piece=lambda done, total: reserved.append(caches[0].reserve),
    )
    assert len(reserved) > 1
    assert [size > 0 for size in reserved] == [room] * len(reserved)
