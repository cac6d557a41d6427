from dataclasses import replace

import pytest

from tests.small_model import frames, head, model, video
from vxl.errors import DataError
from vxl.generate import ask, watch
from vxl.generate.length import refuse_longer


def test_exactly_as_long_as_trained_for_is_allowed_and_one_more_is_not() -> None:
    refuse_longer(1000, 1000, 8)
    refuse_longer(10**9, None, 8)
    with pytest.raises(DataError, match="1001 tokens to read, but the language model was trained for 1000"):
        refuse_longer(1001, 1000, 8)


def test_the_frames_that_would_fit_are_named() -> None:
    with pytest.raises(DataError, match=r"5 of the 10 frames fit:  video\.max_frames=5"):
        refuse_longer(2000, 1000, 10)
    with pytest.raises(DataError) as caught:
        refuse_longer(20_000, 1000, 10)
    assert "frames fit" not in str(caught.value)
    with pytest.raises(DataError, match=r"4 of the 10 frames fit"):
        refuse_longer(2200, 1000, 10, asked=200)
    with pytest.raises(DataError) as caught:  # the question alone is too long: no frame less mends that
        refuse_longer(60_043, 32_768, 8, asked=60_000)
    assert "frames fit" not in str(caught.value)


def test_a_question_may_fill_a_context_to_the_last_position() -> None:
    m = model()
    tokens = len(head(video(2)))
    watch(m, head(video(2)), [frames(8)], most=tokens)
    with pytest.raises(DataError, match=rf"{tokens} tokens to read"):
        watch(m, head(video(2)), [frames(8)], most=tokens - 1)
    context = watch(m, head(video(2)), [frames(8)], most=tokens + 3)
    ask(context, [5, 6, 7], max_new_tokens=1)
    more = watch(m, head(video(2)), [frames(8)], most=tokens + 5)
    whole, cut = (ask(one, [5, 6, 7], max_new_tokens=9).tokens for one in (replace(more, most=None), more))
    assert cut == whole[:3]  # the third is said behind the last position, and not fed
    with pytest.raises(DataError, match=rf"{tokens + 4} tokens to read"):
        ask(context, [5, 6, 7, 8], max_new_tokens=1)
