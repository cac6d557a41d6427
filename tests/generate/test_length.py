import pytest

from vxl.errors import DataError
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
