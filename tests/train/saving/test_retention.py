import pytest

from vxl.errors import ConfigError
from vxl.train.saving.retention import RetentionConfig, best_step, steps_to_keep

SCORES = {2: 0.5, 4: 0.3, 6: 0.3, 8: 0.9}


def test_the_newest_and_the_best_stay():
    assert steps_to_keep([2, 4, 6, 8], SCORES, RetentionConfig(keep_last=2)) == {4, 6, 8}
    assert steps_to_keep([2, 4, 6, 8], SCORES, RetentionConfig(keep_last=1, mode="max")) == {8}
    assert steps_to_keep([2, 4, 6, 8], SCORES, RetentionConfig(keep_last=1, best=None)) == {8}


def test_the_best_is_among_those_that_were_measured_and_are_there():
    assert best_step([2, 4, 6, 8], SCORES, RetentionConfig()) == 4  # the earlier of equals
    assert best_step([2, 8], SCORES, RetentionConfig()) == 2
    assert best_step([2, 8], SCORES, RetentionConfig(mode="max")) == 8
    assert best_step([3], SCORES, RetentionConfig()) is None


@pytest.mark.parametrize("values", [{"keep_last": 0}, {"every": -1}])
def test_impossible_rules(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        RetentionConfig(**values)
