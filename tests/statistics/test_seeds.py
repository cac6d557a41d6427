import math

import numpy as np
import pytest
from scipy.stats import t

from vxl.errors import DataError
from vxl.statistics import ItemScore, over_seeds
from vxl.statistics.seeds import Error, around, t_test, together


def scores(values: list[float]) -> list[ItemScore]:
    return [ItemScore(f"q{n}", value, f"v{n // 2}") for n, value in enumerate(values)]


def test_one_seed_is_the_estimate_itself() -> None:
    found = over_seeds([scores([0.0, 1.0] * 20)])
    assert found.interval == found.estimate.interval
    assert found.seeds.deviation is None


def test_seeds_widen_the_interval_as_the_formula_says() -> None:
    random = np.random.default_rng(0)
    runs = [scores(list((random.random(60) < share).astype(float))) for share in (0.4, 0.5, 0.7)]
    found = over_seeds(runs)
    assert found.estimate.se is not None
    assert found.interval is not None
    a, b = found.estimate.se**2, np.var([np.mean([s.score for s in run]) for run in runs], ddof=1) / 3
    freedom = (a + b) ** 2 / (a**2 / 29 + b**2 / 2)
    half = t.ppf(0.975, freedom) * math.sqrt(a + b)
    assert found.interval.high - found.estimate.mean == pytest.approx(half)


def test_seeds_must_have_the_same_items() -> None:
    with pytest.raises(DataError, match="the same items"):
        over_seeds([scores([1.0] * 20), scores([1.0] * 18)])


def test_errors_add_as_variances_and_their_degrees_by_welch() -> None:
    se, freedom = together([Error(3.0, 10), Error(4.0, 5)])
    assert se == 5.0
    assert freedom == pytest.approx(625 / (81 / 10 + 256 / 5))
    assert t_test(5.0, [Error(3.0, 10), Error(4.0, 5)]) == pytest.approx(2 * t.sf(1.0, freedom))
    assert around(2.0, [Error(1.0, 8)], bounded=False).low == pytest.approx(2 - t.ppf(0.975, 8))
    assert around(0.9, [Error(1.0, 8)]).high == 1.0
