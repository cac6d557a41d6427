"""What a number from few questions or few seeds is worth: intervals, spreads and paired comparisons.

May enter: functions of scores and their groups, which know neither benchmarks nor runs. Contract: a number
of too few clusters has no interval; equal scores give equal numbers.
"""

from vxl.statistics.basic import Interval, Paired, Spread, paired, spread, wilson
from vxl.statistics.clustered import Estimate, ItemScore, estimate
from vxl.statistics.comparison import Difference, difference, paired_difference
from vxl.statistics.resampling import adjusted_by_holm, bootstrap, holm, mcnemar, sign_flip
from vxl.statistics.seeds import OverSeeds, over_seeds

__all__ = [
    "Difference",
    "Estimate",
    "Interval",
    "ItemScore",
    "OverSeeds",
    "Paired",
    "Spread",
    "adjusted_by_holm",
    "bootstrap",
    "difference",
    "estimate",
    "holm",
    "mcnemar",
    "over_seeds",
    "paired",
    "paired_difference",
    "sign_flip",
    "spread",
    "wilson",
]
