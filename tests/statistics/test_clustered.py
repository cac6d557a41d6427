import math

import numpy as np
import pytest

from vxl.errors import DataError
from vxl.statistics import ItemScore, bootstrap, difference, estimate, holm, mcnemar, sign_flip, wilson
from vxl.statistics.clustered import linearised, quantile


def items(values: list[float], clusters: list[int], strata: list[str] | None = None) -> list[ItemScore]:
    names = strata or [""] * len(values)
    rows = zip(values, clusters, names, strict=True)
    return [ItemScore(str(n), v, c, s) for n, (v, c, s) in enumerate(rows)]


def test_clusters_of_one_give_the_plain_error() -> None:
    values = [float(n % 3 == 0) for n in range(60)]
    found = estimate(items(values, list(range(60))))
    assert found.se == pytest.approx(found.se_iid)
    assert found.design_effect == pytest.approx(1.0)
    deviation = np.std(values, ddof=1) / math.sqrt(60)
    assert found.se_iid == pytest.approx(deviation)


def test_copies_in_a_cluster_inflate_the_variance() -> None:
    values = [float(n % 2) for n in range(50) for _ in range(4)]
    found = estimate(items(values, [n // 4 for n in range(200)]))
    assert found.design_effect == pytest.approx(4.0, rel=0.02)
    assert found.interval is not None
    assert found.interval.low < 0.5 < found.interval.high


def test_few_clusters_have_no_interval_and_all_equal_scores_have_wilsons() -> None:
    assert estimate(items([1.0, 0.0] * 8, [n % 4 for n in range(16)])).interval is None
    found = estimate(items([1.0] * 40, [n // 2 for n in range(40)]))
    assert found.interval == wilson(20, 20)
    with pytest.raises(DataError):
        estimate([])


def test_a_macro_mean_weighs_tasks_alike_and_its_error_is_that_of_the_bootstrap() -> None:
    generator = np.random.default_rng(0)
    strata = ["a"] * 60 + ["b"] * 20
    values = [float(generator.random() < (0.7 if s == "a" else 0.3)) for s in strata]
    clusters = [n % 40 for n in range(80)]
    rows = items(values, clusters, strata)
    found = estimate(rows, macro=True)
    assert found.mean == pytest.approx((np.mean(values[:60]) + np.mean(values[60:])) / 2)

    low, high = bootstrap(rows, macro=True)
    assert found.interval is not None
    assert high - low == pytest.approx(found.interval.high - found.interval.low, rel=0.1)


@pytest.mark.parametrize("macro", [False, True])
def test_the_bootstrap_computes_each_draw_anew(macro: bool) -> None:
    """Against drawing the clusters' items one by one; the rare task is in few draws."""
    values = [float(n % 3 == 0) for n in range(30)]
    rows = items(values, [n // 3 for n in range(30)], ["rare" if n < 2 else "often" for n in range(30)])
    draws = np.random.default_rng(7).multinomial(10, np.full(10, 0.1), size=40)
    metrics = []
    for counts in draws:
        drawn = [row for row in rows for _ in range(counts[row.cluster])]
        tasks = [[r.score for r in drawn if not macro or r.stratum == s] for s in ("rare", "often")]
        metrics.append(np.mean([np.mean(task) for task in tasks if task]))
    expected = np.quantile(metrics, (0.025, 0.975))
    assert bootstrap(rows, macro=macro, repeats=40, seed=7) == pytest.approx(tuple(expected))


def test_a_paired_difference_is_sharper_than_the_parts() -> None:
    first = items([float(n % 2) for n in range(200)], [n // 2 for n in range(200)])
    second = [row._replace(score=1.0) if n < 20 else row for n, row in enumerate(first)]
    found = difference(first, second)
    assert found.estimate.mean == 0.05
    assert (found.first_only, found.second_only) == (0, 10)
    assert found.mcnemar == pytest.approx(2 / 2**10)
    assert found.sign_flip < 0.01
    assert found.detectable == pytest.approx(2.8 * (found.estimate.se or 0))
    assert (found.estimate.se or 1) < (estimate(first).se or 0) / 2 or estimate(first).se == 0
    assert difference(first, list(reversed(first))).mcnemar == 1.0
    with pytest.raises(DataError, match="the same items: got 200 and 199"):
        difference(first, second[1:])


def test_p_values() -> None:
    assert mcnemar(112, 103) == pytest.approx(0.585, abs=5e-4)
    assert mcnemar(0, 0) == 1.0
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert sign_flip(np.zeros(5)) == 1.0
    assert sign_flip(np.ones(12), repeats=2000) < 0.01


def test_an_item_of_a_macro_mean_weighs_by_its_task_and_deviates_from_its_tasks_mean() -> None:
    rows = items([1.0, 1.0, 0.0, 1.0], [0, 1, 2, 3], ["a", "a", "a", "b"])
    weights_I, centred_I, mean = linearised(rows, macro=True)
    assert weights_I.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])
    assert centred_I.tolist() == pytest.approx([1 / 3, 1 / 3, -2 / 3, 0.0])
    assert mean == pytest.approx((2 / 3 + 1) / 2)


def test_few_clusters_take_students_quantile() -> None:
    assert quantile(12) == pytest.approx(2.201, abs=5e-4)
    assert quantile(39) == pytest.approx(2.024, abs=5e-4)
    assert quantile(40) == 1.96
