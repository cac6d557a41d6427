import pytest

from tests.kv.first_seen import learn

pytestmark = pytest.mark.slow


# By hand with seeds 0, 1 and 2: after 60 steps each of the six answers all of 200 questions.
@pytest.mark.parametrize("ratio", [2, 8])
def test_what_was_seen_seven_windows_ago_is_remembered(ratio: int) -> None:
    assert learn(ratio) >= 0.9
